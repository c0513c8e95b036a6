// SPDX-License-Identifier: Apache-2.0
// Who is told of an operation, and what goes together with the word of it.

#include <algorithm>
#include <memory>

#include <wye/progress.hpp>

#include "engine.hpp"

namespace wye::detail {

/// Finds out whom to tell, while its segments are there: those of an extent that cannot begin are not held.
void engine::address(operation& op) noexcept
{
    std::vector<std::uint64_t>& to = op.notify->to;
    for (std::uint32_t i = 0; i < op.count; ++i)
        for (const segment* s : {op.extents[i].from, op.extents[i].to})
            if (s && s->via && std::find(to.begin(), to.end(), s->via->token) == to.end()) to.push_back(s->via->token);
}

/// Tells the peers that have part in it, and waits until they know; here, if there is none.
bool engine::tell(operation& op) noexcept
{
    const std::unique_ptr<note> n{std::exchange(op.notify, nullptr)};
    if (op.error.failed() && !op.moved) return false; // nobody knows of it
    n->aborted = op.error.failed();
    if (n->to.empty()) {
        notifications_.deliver({name_, std::move(n->key), std::move(n->payload), n->aborted});
        return false;
    }
    ++telling_;
    op.left = static_cast<std::uint32_t>(n->to.size());
    for (const std::uint64_t token : n->to) peers_.notify(token, *n, [this, &op](errc e) { told(op, e); });
    loop_.nudge();
    return true;
}

void engine::told(operation& op, errc e) noexcept
{
    if (e != errc{} && !op.error.failed()) op.error = e;
    if (--op.left != 0) return;
    --telling_;
    conclude(op);
}

/// A little for the memory of a peer goes in one message with the word of it. False: it has to go its own way.
///
/// What has been said cannot be taken back, so it is over as far as anybody here may stop it, and how it ends is for the
/// peer to say. That is nothing for who has a deadline.
bool engine::put(operation& op) noexcept
{
    const extent& x = *op.extents;
    const bool simple = op.count == 1 && x.to->via && !x.from->via && x.from->tier == tier::dram && x.to->tier == tier::dram;
    if (!simple || op.when != steady::time_point{}) return false;
    const wire::put all{x.to->epoch, x.to_offset, {x.from->base + x.from_offset, x.length}, op.notify->key, op.notify->payload};
    if (!peers_.put(*x.to->via, all, [this, &op](errc e) { put_ended(op, e); })) return false;
    delete std::exchange(op.notify, nullptr);
    op.over = true;
    op.hook::unlink();
    ++telling_;
    loop_.nudge();
    return true;
}

void engine::put_ended(operation& op, errc e) noexcept
{
    --telling_;
    extent& x = *op.extents;
    error_code result;
    if (e == errc{}) {
        arrived(op, x, x.length);
        if (op.progress) op.progress->add(x.length);
    } else {
        const errc known = out_of_reach(x);
        result = known != errc{} ? known : e;
        op.error = result;
        x.failed = true;
    }
    close(op, x, result);
    finish(op);
}

} // namespace wye::detail
