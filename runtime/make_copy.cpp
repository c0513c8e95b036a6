// SPDX-License-Identifier: Apache-2.0
// From the arguments of `copy` to an operation, or to why there is none.

#include <algorithm>

#include <wye/copy.hpp>

#include "engine.hpp"

namespace wye::detail {

namespace {

engine* engine_of(const slice& a, const slice& b) noexcept
{
    if (a.of && a.of->engine) return a.of->engine;
    return b.of ? b.of->engine : nullptr;
}

made refuse(engine* e, const error_code& why) noexcept
{
    return {nullptr, e ? &e->loop() : loop_of_this_thread(), why};
}

error_code unusable(engine* e, const copy_options& o) noexcept
{
    if (!e) return errc::invalid_slice;
    if (o.notify.size() > wire::most_key || o.payload.size() > wire::most_payload) return errc::bad_name;
    if (!e->loop().here()) return errc::wrong_thread;
    if (e->loop().shut()) return errc::shut_down;
    return {};
}

bool is_whole_object(const slice& s) noexcept
{
    return s.length == slice::whole && s.of && is_object(*s.of);
}

/// An object named without a length is as long as the other side says. An empty slice is refused for what it is.
void fit(extent& x, const slice& from, const slice& to) noexcept
{
    x.whole = is_whole_object(from);
    x.failed = from.of && to.of && from.length != to.length && !x.whole && !is_whole_object(to);
    if (from.length == slice::whole) x.length = to.length;
}

/// False when the two sides differ in length.
bool fill(extent& place, const slice& from, const slice& to, std::size_t index) noexcept
{
    extent& x = *new (&place) extent;
    x.from = from.of;
    x.to = to.of;
    x.from_offset = from.offset;
    x.to_offset = to.offset;
    x.length = from.length;
    x.index = static_cast<std::uint32_t>(index);
    if (from.length != to.length || from.length == slice::whole) fit(x, from, to);
    return !x.failed;
}

/// What was filled, unless its sides differ and nobody could be told which.
made filled(operation& op, bool fit) noexcept
{
    if (fit || op.status) return {&op, op.on, {}};
    engine* const by = op.by;
    op.free(&op);
    return refuse(by, errc::length_mismatch);
}

[[gnu::always_inline]] inline made attempt(const slice& from, const slice& to, const copy_options& o)
{
    engine* e = engine_of(from, to);
    if (const error_code why = unusable(e, o)) return refuse(e, why);
    operation& op = *e->make(1, o);
    return filled(op, fill(op.one, from, to, 0));
}

made attempt(std::span<const transfer> batch, const copy_options& o)
{
    if (batch.empty()) return refuse(nullptr, {});
    engine* e = nullptr;
    for (const transfer& t : batch)
        if ((e = engine_of(t.from, t.to))) break;
    if (const error_code why = unusable(e, o)) {
        if (o.status.size() >= batch.size()) std::fill_n(o.status.begin(), batch.size(), why);
        return refuse(e, why);
    }
    operation& op = *e->make(batch.size(), o);
    bool fit = true;
    for (std::size_t i = 0; i < batch.size(); ++i) fit &= fill(op.extents[i], batch[i].from, batch[i].to, i);
    return filled(op, fit);
}

made attempt(const selection& from, const selection& to, const copy_options& o)
{
    const std::size_t n = from.indices.size();
    if (n == 0 && to.indices.empty()) return refuse(nullptr, {});
    const auto within = [](const selection& s) {
        return s.side && std::all_of(s.indices.begin(), s.indices.end(), [&](auto i) { return i < s.side->size(); });
    };
    engine* e = from.side && from.side->size() ? (*from.side)[0].of->engine : nullptr;
    if (const error_code why = unusable(e, o)) return refuse(e, why);
    if (n != to.indices.size()) return refuse(e, errc::length_mismatch);
    if (!within(from) || !within(to)) return refuse(e, errc::out_of_range);
    const auto source = [&](std::size_t i) -> const slice& { return (*from.side)[from.indices[i]]; };
    const auto target = [&](std::size_t i) -> const slice& { return (*to.side)[to.indices[i]]; };
    operation& op = *e->make(n, o);
    bool fit = true;
    for (std::size_t i = 0; i < n; ++i) fit &= fill(op.extents[i], source(i), target(i), i);
    return filled(op, fit);
}

/// A copy that is not even begun holds no stream, and says so to who looks.
void tell(const made& m, const copy_options& o) noexcept
{
    if (m.op || !o.before.status) return;
    const gpu_status s = m.error.failed() ? gpu_status::failed : gpu_status::landed;
    *o.before.status = static_cast<std::uint32_t>(s);
}

// What is made is returned where it was made: to copy it costs as much as to make it.
template <class... Sides>
[[gnu::always_inline]] inline made attempt_and_tell(const copy_options& o, const Sides&... sides)
{
    made m = attempt(sides..., o);
    tell(m, o);
    return m;
}

} // namespace

[[gnu::flatten]] made make_copy(const slice& from, const slice& to, const copy_options& o)
{
    return attempt_and_tell(o, from, to);
}

made make_copy(std::span<const transfer> batch, const copy_options& o) { return attempt_and_tell(o, batch); }

made make_copy(const selection& from, const selection& to, const copy_options& o) { return attempt_and_tell(o, from, to); }

void begin_copy(pending* p) noexcept
{
    auto* op = static_cast<operation*>(p);
    if (op->count == 1 && !op->verify && !op->status && !op->progress && !op->notify && !op->ordered)
        op->by->begin_one(*op);
    else op->by->begin(*op);
}

} // namespace wye::detail
