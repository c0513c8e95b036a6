// SPDX-License-Identifier: Apache-2.0
// The short way, for pieces that go over one hop with nothing to open, to stage or to sum: memory to memory, and
// memory to file and back. It does what transfers.cpp, scheduler.cpp and pipeline.cpp do, in a fifth of the
// instructions, and hands whatever turns out otherwise (a short count, an error) to them.

#include <wye/progress.hpp>

#include "engine.hpp"

namespace wye::detail {

/// What most extents are: sound, and between segments that nothing is known about.
bool engine::plain(const extent& x) const noexcept
{
    return x.from && x.to && x.from->engine == this && x.to->engine == this && x.to->access == access::read_write &&
           x.length != slice::whole && !x.to->sums && within(x);
}

/// One transfer that asks for nothing special, which is most of them.
[[gnu::flatten]] void engine::begin_one(operation& op) noexcept
{
    ++active_;
    ++begun_;
    operations_.push_back(op);
    op.left = 1;
    extent& x = op.one;
    if (plain(x)) x.route = by_kinds_[x.from->kind * kinds_.size() + x.to->kind];
    if (!x.route || !x.route->simple) { // a first time, or something to see to
        if (const errc e = check_extent(op, x); e != errc{}) {
            op.error = e;
            op.stopping = true;
            x.failed = true;
            return finish(op);
        }
        forget_sums(x);
    }
    const route& r = *x.route;
    op.alike = r.simple;
    x.held = true;
    ++x.from->in_flight;
    ++x.to->in_flight;
    r.pair->busy.begin(loop_);
    if (sampled(begun_, x.length)) op.began = loop_.stamp();
    const bool straight = op.alike && nobody_waits(*r.first, x);
    if (straight && moved_at_once(*r.first->only, op)) return finish(op);
    if (op.when != steady::time_point{}) loop_.timers().add(op);
    if (!straight || !express_at_once(*r.first, op)) {
        op.legs = &op.only;
        op.leg_count = 1;
        op.only.op = &op;
        op.only.end = 1;
        op.only.simple = r.simple;
        queue(op.only);
    }
    loop_.nudge();
}

/// A piece as `spare` keeps it: everything but what `cut_simple` sets is as it must be.
piece& engine::simple_piece() noexcept
{
    if (piece* p = spares_) {
        spares_ = static_cast<piece*>(p->next);
        return *p;
    }
    auto* p = new (loop_.memory().allocate(sizeof(piece))) piece{};
    p->stage = stage::last_hop;
    p->simple = true;
    return *p;
}

void engine::spare(piece& p) noexcept
{
    p.next = spares_;
    spares_ = &p;
}

piece& engine::cut_simple(const line& w, lane& l, operation& op, extent& x) noexcept
{
    piece& p = simple_piece();
    const std::uint64_t left = x.length - x.cut;
    std::uint64_t bytes = left <= w.straight_bytes ? left : piece_size(w, x);
    if (op.priority == priority::background) bytes = std::min<std::uint64_t>(bytes, l.shallow_bytes);
    p.op = &op;
    p.of = &x;
    p.urgent = op.priority == priority::urgent;
    p.rail = l.rail;
    p.place = x.cut;
    p.bytes = bytes;
    p.order = mark_of(op);
    p.from = {x.from, x.from_offset + x.cut, bytes};
    p.to = {x.to, x.to_offset + x.cut, bytes};
    x.at = phase::moving;
    x.cut += bytes;
    ++x.out;
    op.moved = true;
    return p;
}

/// The next piece of this leg, in the window.
piece& engine::cut_express(line& w, lane& l, leg& g) noexcept
{
    operation& op = *g.op;
    extent& x = op.extents[g.cursor];
    piece& made = cut_simple(w, l, op, x);
    g.burst += static_cast<std::uint32_t>(made.bytes);
    if (x.cut == x.length && ++g.cursor == g.end) g.unlink();
    admit(w, l, made);
    return made;
}

/// An extent with nothing to move, which may be the end of the operation; or one that is over, since a piece of it failed.
[[gnu::noinline]] void engine::skip(leg& g) noexcept
{
    operation& op = *g.op;
    extent& x = op.extents[g.cursor];
    if (++g.cursor == g.end) g.unlink();
    if (x.at == phase::over) return;
    x.at = phase::moving;
    settle(op, x);
}

/// Posts pieces of this leg until it is used up, has had its share, or the window or the turn ends.
[[gnu::flatten]] std::size_t engine::express(line& w, lane& l, leg& g, std::size_t p, turn t) noexcept
{
    operation& op = *g.op;
    std::size_t n = 0;
    do {
        const extent& x = op.extents[g.cursor];
        if (x.length == 0 || x.failed) {
            skip(g);
            return n;
        }
        if (!post(l, cut_express(w, l, g))) break;
        ++n;
    } while (g.is_linked() && g.burst < burst_bytes && room(l, p) && !t.over());
    rotate(w, g, p);
    return n;
}

/// A copy in one piece that finds nobody waiting goes straight to the driver, unless the caller of this pass counts
/// the microseconds.
bool engine::nobody_waits(const line& w, const extent& x) const noexcept
{
    return w.only && x.length != 0 && x.length <= w.straight_bytes && !w.only->refused && !w.asked &&
           w.only->resumed.empty() && !loop_.in_bounded_turn();
}

/// Where the driver can do a little there and then, there is nothing to queue, to poll or to wait for. Not out of a
/// peer's memory while other handlers of this pass may ask for more of it, which is one call then.
bool engine::moved_at_once(lane& l, operation& op) noexcept
{
    extent& x = op.one;
    if (x.length > l.limits.at_once_bytes || (via(x) && !loop_.runs_the_last())) return false;
    op.moved = true; // in part, it may be
    if (!l.by->move_at_once(x.source(), x.target())) return false;
    l.meter.busy.begin(loop_);
    l.meter.busy.end();
    ++l.meter.operations;
    l.meter.bytes += x.length;
    if (op.began) l.meter.latency.add(duration{static_cast<duration::rep>(loop_.stamp() - op.began)});
    x.route->pair->bytes += x.length;
    x.at = phase::over;
    op.bytes = x.length;
    op.express = true;
    op.left = 0;
    return true;
}

bool engine::express_at_once(line& w, operation& op) noexcept
{
    extent& x = op.one;
    lane& l = *w.only;
    if (!room(l, static_cast<std::size_t>(op.priority))) return false;
    piece& made = cut_simple(w, l, op, x);
    admit(w, l, made);
    op.express = post(l, made);
    return true;
}

template <bool of_rails>
[[gnu::always_inline]] inline void engine::land(piece& p) noexcept
{
    lane& l = *p.at;
    operation& op = *p.op;
    extent& x = *p.of;
    --l.out;
    ++l.meter.operations;
    l.meter.bytes += p.from.length;
    leave(p);
    if constexpr (of_rails) gave(l, p, p.bytes);
    op.bytes += p.bytes;
    x.route->pair->bytes += p.bytes;
    if (op.progress) op.progress->add(p.bytes);
    --x.out;
    spare(p);
    if (x.failed) return settle(op, x);
    if (x.out != 0 || x.cut != x.length) return;
    x.at = phase::over;
    if (--op.left == 0) finish(op);
}

[[gnu::flatten]] void engine::landed_simple(piece& p) noexcept
{
    if (p.began) return landed_timed(p);
    if (p.at->one_of_many) return landed_on_rail(p);
    land<false>(p);
}

[[gnu::noinline]] void engine::landed_on_rail(piece& p) noexcept
{
    if (p.ghost || p.stuck || p.sibling || p.landed_elsewhere) return hop_ended(p, {}, p.from.length);
    land<true>(p);
}

/// The rare one whose time is taken. Apart, so that the others need no registers saved for reading the clock.
[[gnu::noinline]] void engine::landed_timed(piece& p) noexcept
{
    p.at->meter.latency.add(duration{static_cast<duration::rep>(time_on(*p.at) - p.began)});
    p.began = 0;
    landed_simple(p);
}

} // namespace wye::detail
