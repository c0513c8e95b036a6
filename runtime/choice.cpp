// SPDX-License-Identifier: Apache-2.0
// One hop, or staged after all: of routes that go straight between VRAM and what stores.

#include <cstdio>

#include "engine.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t warming_up = 16_MiB; // each way, while memory is touched and pinned for the first time
constexpr std::uint64_t enough = 64_MiB;     // each way, after that

/// Neither a cancellation, nor a deadline, nor what the other way would meet as well: a full disk, the end of the file.
bool is_of_a_device(const error_code& e) noexcept
{
    return e.category() != wye_category() && e.category() != file_category() && e.category() != object_category() &&
           e != boost::asio::error::operation_aborted;
}

} // namespace

/// A route that goes straight. Kept for each two kinds, since the other way may be another for each.
const route* engine::remember_choice(const route& r, const segment& from, const segment& to)
{
    for (const route& known : routes_)
        if (known.first == r.first && known.either && known.either->from == from.kind && known.either->to == to.kind) return &known;
    route& made = routes_.emplace_back(r);
    made.either = &choices_.emplace_back(choice{.from = from.kind, .to = to.kind});
    made.either->on_trial = r.first->limits.on_trial;
    return &made;
}

/// Whether the straight way can carry this.
bool engine::suits(const route& r, const slice& from, const slice& to, bool verify) noexcept
{
    const auto place = [](const slice& s) { return reinterpret_cast<std::uintptr_t>(s.of->base) + s.offset; };
    const std::uint64_t length = from.length != slice::whole ? from.length : 0;
    return !verify && ((place(from) | place(to) | length) & (r.first->limits.granule - 1)) == 0;
}

/// Null when it cannot be staged.
const route* engine::detour(const route& straight, const segment& from, const segment& to)
{
    choice& c = *straight.either;
    if (c.detour) return c.detour;
    route r;
    r.pair = straight.pair;
    const slice a{const_cast<segment*>(&from), 0, 0}, b{const_cast<segment*>(&to), 0, 0};
    return stage_between(r, a, b) ? c.detour = remember(r) : nullptr;
}

/// The way of this extent, whose route goes straight.
const route* engine::choose(const operation& op, extent& x)
{
    const route& straight = *x.route;
    choice& c = *straight.either;
    if (!suits(straight, x.source(), x.target(), op.verify)) return detour(straight, *x.from, *x.to);
    if (!c.on_trial && !c.staged) return &straight;
    const route* const staged = detour(straight, *x.from, *x.to);
    if (!c.on_trial) return staged;
    if (!staged) return c.on_trial = false, &straight; // there is nothing to compare with
    // One way for all of an operation, and the other for the next.
    if (c.latest != begun_) c.latest = begun_, c.straight = !c.straight;
    x.on_trial = true;
    return c.straight ? &straight : staged;
}

/// An operation that went one of two ways is over. Both have the same company, so what they take for a byte tells which of them
/// is faster. Those that went partly elsewhere, or waited for a GPU, tell nothing; an error that is the straight way's own ends it.
void engine::judge(const operation& op, duration time)
{
    if (op.ordered) return;
    const extent& first = *op.extents;
    const route& straight = *route_between(*first.from, *first.to);
    if (!straight.either || !straight.either->on_trial) return;
    choice& c = *straight.either;
    if (first.route != &straight && first.route != c.detour) return; // there is a better driver since
    for (std::uint32_t i = 0; i < op.count; ++i)
        if (op.extents[i].route != first.route || !op.extents[i].on_trial) return;
    if (op.error.failed()) {
        if (first.route == &straight && is_of_a_device(op.error)) c.on_trial = false, c.staged = c.failed = true;
        return;
    }
    choice::record& r = first.route == &straight ? c.straightly : c.by_staging;
    r.bytes += op.bytes;
    r.ns += static_cast<std::uint64_t>(time.count());
    if (!r.warm && r.bytes >= warming_up) r = {0, 0, true};
    if (!c.straightly.tells() || !c.by_staging.tells()) return;
    c.on_trial = false;
    c.staged = c.by_staging.ns_per_byte() < c.straightly.ns_per_byte();
}

bool choice::record::tells() const noexcept { return warm && bytes >= enough; }

/// For `explain`: what the choice of this route rests on, beside what drivers say.
std::string engine::grounds(const route& straight)
{
    const choice& c = *straight.either;
    if (c.on_trial) return "on trial beside staging";
    if (!c.staged) return {};
    char words[48] = ": failed";
    const double ratio = c.straightly.ns_per_byte() / c.by_staging.ns_per_byte();
    if (!c.failed) std::snprintf(words, sizeof words, ": took %.2g times as long", ratio);
    return std::string{straight.first->of->by->name()} + words;
}

} // namespace wye::detail
