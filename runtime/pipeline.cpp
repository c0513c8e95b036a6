// SPDX-License-Identifier: Apache-2.0
// The way of a piece: cut from an extent, over one hop or two, past a checksum, to its end.

#include <algorithm>
#include <utility>

#include <wye/progress.hpp>

#include "crc32c.hpp"
#include "engine.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t sum_slice = 64 * 1024; // ~6 us

} // namespace

piece* engine::make_piece(operation& op, extent& x) noexcept
{
    auto* p = new (loop_.memory().allocate(sizeof(piece))) piece; // not {}: that clears what members set anyway
    p->op = &op;
    p->of = &x;
    p->urgent = op.priority == priority::urgent;
    ++x.out;
    return p;
}

void engine::free(piece& p) noexcept
{
    --p.of->out;
    if (p.simple) return spare(p);
    loop_.memory().deallocate(&p, sizeof(piece));
}

/// The largest piece that every hop can take.
std::uint64_t engine::most(const extent& x) const noexcept
{
    const route& r = *x.route;
    if (!r.second) return r.first->limits.chunk_bytes;
    return std::min({r.first->limits.chunk_bytes, r.second->limits.chunk_bytes, staging_.piece_bytes()});
}

bool engine::must_open_source(const extent& x) const noexcept
{
    return is_object(*x.from) && !x.joined() && (x.length == slice::whole || x.length > most(x));
}

bool engine::must_open_target(const extent& x) const noexcept
{
    return is_object(*x.to) && !x.joined() && (x.length == slice::whole || x.length > most(x));
}

bool engine::sums(const operation& op, const extent& x) const noexcept
{
    return op.verify && (is_storage(x.from->tier) || is_storage(x.to->tier));
}

[[gnu::noinline]] std::uint64_t engine::piece_size(const line& w, const extent& x) const noexcept
{
    const std::uint64_t left = x.length - x.cut;
    std::uint64_t size = most(x);
    if (left <= size && w.spread == 0) return left;
    // An object that was not opened is read or put in one.
    const bool whole = (is_object(*x.from) && !(x.opened && x.opened->source_open)) ||
                       (is_object(*x.to) && !(x.opened && x.opened->target_open));
    if (w.spread != 0 && !whole)
        size = std::min(size, std::max<std::uint64_t>(w.straight_bytes, (left >> w.spread) / 4096 * 4096));
    if (left <= size) return left;
    const std::uint64_t unit = w.limits.alignment;
    if (unit > 1) {
        // So that the pieces after this one begin where the device likes it.
        const std::uint64_t stored = is_storage(x.from->tier) ? x.from_offset : x.to_offset;
        const std::uint64_t end = (stored + x.cut + size) / unit * unit;
        if (end > stored + x.cut) size = end - (stored + x.cut);
    }
    return size;
}

/// The next piece of the leg's extent, or null: the leg then waits elsewhere (for a session or a staging buffer)
/// or is used up.
piece* engine::cut(const line& w, lane& l, leg& g) noexcept
{
    operation& op = *g.op;
    while (g.cursor != g.end && op.extents[g.cursor].at == phase::over) ++g.cursor;
    if (g.cursor == g.end) {
        leave_queue(g);
        return nullptr;
    }
    extent& x = op.extents[g.cursor];
    if (x.at == phase::fresh && must_open_source(x)) return open_session(g, x, true);
    if (x.at < phase::moving && !(x.opened && x.opened->target_open) && must_open_target(x))
        return open_session(g, x, false);
    if (x.failed || (x.length == 0 && !is_object(*x.to))) { // nothing to move
        x.at = phase::moving;
        if (++g.cursor == g.end) leave_queue(g);
        settle(op, x);
        return nullptr;
    }

    const bool staged = x.route->second != nullptr;
    std::int32_t buffer = -1;
    if (staged && (buffer = staging_.take(g, op.priority)) < 0) {
        g.unlink();
        staging_.wait(g, op.priority);
        return nullptr;
    }
    x.at = phase::moving;
    piece* p = make_piece(op, x);
    p->place = x.cut;
    p->bytes = piece_size(w, x);
    if (l.one_of_many && op.priority == priority::background) p->bytes = std::min<std::uint64_t>(p->bytes, l.shallow_bytes);
    p->buffer = buffer;
    p->rail = l.rail;
    p->order = mark_of(op);
    p->from = {x.from, x.from_offset + x.cut, p->bytes};
    p->to = staged ? staging_.buffer(buffer, p->bytes) : slice{x.to, x.to_offset + x.cut, p->bytes};
    p->session = x.opened ? (x.opened->source_open ? x.opened->source : staged ? 0 : x.opened->target) : 0;
    p->total = x.joined() ? x.opened->total : x.length;
    p->sole = p->bytes == x.length && !x.joined() &&
              ((!staged && is_object(*x.to)) || (x.whole && !(x.opened && x.opened->source_open)));
    const bool sum_first = !staged && sums(op, x) && !is_storage(x.from->tier);
    p->stage = staged ? stage::hop : sum_first ? stage::sum_before : stage::last_hop;
    x.cut += p->bytes;
    op.moved = true;
    if (x.cut == x.length && ++g.cursor == g.end) g.unlink();
    return p;
}

piece* engine::open_session(leg& g, extent& x, bool of_source) noexcept
{
    operation& op = *g.op;
    if (!x.opened) x.opened = new (loop_.memory().allocate(sizeof(sessions))) sessions{};
    x.at = of_source ? phase::opening_source : phase::opening_target;
    g.unlink(); // until it is open

    piece* p = make_piece(op, x);
    p->stage = stage::session;
    p->step = step::open;
    (of_source ? p->from : p->to) = of_source ? x.source() : x.target(); // which of the two is being opened
    p->total = x.length;
    p->from_leg = &g;
    const route& r = *x.route;
    line& where = of_source || !r.second ? *r.first : *r.second;
    where.wait(*p, static_cast<std::size_t>(op.priority));
    return nullptr;
}

void engine::close_session(operation& op, extent& x, wye::step how, bool of_source) noexcept
{
    piece* p = make_piece(op, x);
    p->stage = stage::session;
    p->step = how;
    (of_source ? p->from : p->to) = of_source ? x.source() : x.target();
    p->total = x.length;
    p->session = of_source ? x.opened->source : x.opened->target;
    if (how == step::commit && sums(op, x)) {
        p->has_checksum = true;
        p->checksum = crc32c_finish(op.checks[&x - op.extents].sum, x.length);
    }
    const route& r = *x.route;
    line& where = of_source || !r.second ? *r.first : *r.second;
    where.wait(*p, static_cast<std::size_t>(op.priority));
}

void engine::session_ended(piece& p, error_code e) noexcept
{
    operation& op = *p.op;
    extent& x = *p.of;
    leg* const g = p.from_leg;
    const wye::step how = p.step;
    if (x.opened->step) return step_ended(p, e);
    if (how == step::open && !e) {
        const bool of_source = x.at == phase::opening_source;
        (of_source ? x.opened->source : x.opened->target) = p.session;
        (of_source ? x.opened->source_open : x.opened->target_open) = true;
        if (of_source) {
            if (x.length == slice::whole) x.length = p.total;
            else if (x.whole && p.total > x.length) e = errc::length_mismatch;
            else if (p.total != slice::whole && x.from_offset + x.length > p.total) e = errc::short_transfer;
            if (op.verify && p.has_checksum) {
                check& c = op.checks[&x - op.extents];
                c.expected = crc32c_finish(static_cast<std::uint32_t>(p.checksum), x.length); // its own inverse
                c.known = true;
            }
        }
    }
    ++op.left; // the operation may end here, but not before this function
    free(p);
    if (e) fail(op, x, e);
    else if (how == step::commit) arrived(op, x, x.length);
    if (g && !x.failed && !op.stopping) queue(*g);
    settle(op, x);
    if (--op.left == 0 && !op.over) finish(op);
}

/// A short count is asked for again, from where it ended.
bool engine::resume_short(piece& p, std::size_t bytes) noexcept
{
    lane& l = *p.at;
    l.meter.bytes += bytes;
    ++l.meter.retries;
    p.from = p.from.sub(bytes, p.from.length - bytes);
    p.to = p.to.sub(bytes, p.to.length - bytes);
    if (p.op->stopping || p.of->failed) return false;
    resume(l, p);
    return true;
}

/// What a driver says of a piece: the end of its hop, or of part of it.
void engine::ended(piece& p, const error_code& said, std::size_t bytes) noexcept
{
    if (p.simple && !said.failed() && bytes >= p.from.length) landed_simple(p);
    else hop_ended(p, said, bytes);
}

void engine::hop_ended(piece& p, const error_code& said, std::size_t bytes) noexcept
{
    lane& l = *p.at;
    --l.out;
    error_code e = said;
    if (!said.failed() && bytes < p.from.length && p.step == step::move) {
        if (bytes == 0) e = errc::short_transfer;
        else if (resume_short(p, bytes)) return;
        else e = stop_error(*p.op);
    }
    ++l.meter.operations;
    if (p.began) l.meter.latency.add(duration{static_cast<duration::rep>(time_on(l) - p.began)});
    p.began = 0;
    if (!p.stuck) leave(p);
    if (l.one_of_many) {
        gave(l, p, e.failed() ? 0 : p.bytes);
        if (l.of->watched && outlived(l, p, e)) return;
    }
    if (e.failed()) {
        ++l.meter.errors;
        return p.stage == stage::session ? session_ended(p, e) : drop(p, e);
    }
    if (p.stage == stage::session) return session_ended(p, e);
    l.meter.bytes += p.from.length;
    advance(p);
}

/// A hop is behind it.
void engine::advance(piece& p) noexcept
{
    operation& op = *p.op;
    const extent& x = *p.of;
    const bool given = std::exchange(p.has_checksum, false);
    const bool kept_sum = given && ((is_object(*x.from) && p.bytes == x.length) || is_served_file(*x.from));
    // Short completions moved the slices on; all of it has arrived now.
    if (p.stage == stage::hop) {
        p.to = staging_.buffer(p.buffer, p.bytes);
        if (op.stopping || x.failed) return drop(p, stop_error(op));
        if (!sums(op, x)) return second_hop(p);
        p.stage = stage::sum_between;
    } else {
        if (!sums(op, x) || !is_storage(x.from->tier) || p.buffer >= 0) return landed(p);
        p.to = {x.to, x.to_offset + p.place, p.bytes};
        p.stage = stage::sum_after;
    }
    if (kept_sum) {
        check& c = op.checks[&x - op.extents];
        c.expected = crc32c_finish(static_cast<std::uint32_t>(p.checksum), x.length);
        c.known = true;
    }
    summing_.push(p);
}

void engine::second_hop(piece& p) noexcept
{
    const extent& x = *p.of;
    p.stage = stage::last_hop;
    p.from = staging_.buffer(p.buffer, p.bytes);
    p.to = {x.to, x.to_offset + p.place, p.bytes};
    p.session = x.opened && x.opened->target_open ? x.opened->target : 0;
    p.sole = is_object(*x.to) && p.bytes == x.length && !x.joined();
    x.route->second->wait(p, static_cast<std::size_t>(p.op->priority));
}

/// Checksums, in slices small enough for a budget.
std::size_t engine::sum(turn t) noexcept
{
    std::size_t n = 0;
    while (piece* p = summing_.front()) {
        const std::byte* data = p->stage == stage::sum_before ? p->from.data() : p->to.data();
        const std::uint64_t size = std::min(p->bytes - p->summed, sum_slice);
        p->crc = crc32c_extend(p->crc, data + p->summed, size);
        p->summed += size;
        ++n;
        if (p->summed == p->bytes) {
            summing_.pop();
            summed(*p);
        }
        if (t.over()) break;
    }
    return n;
}

void engine::summed(piece& p) noexcept
{
    operation& op = *p.op;
    extent& x = *p.of;
    op.checks[&x - op.extents].sum ^= crc32c_shift(p.crc, x.length - p.place - p.bytes);
    if (p.stage == stage::sum_after) return landed(p);
    if (is_object(*x.to) && p.bytes == x.length) { // the put of it is its commit, too
        x.judged = true;
        if (const error_code bad = verdict(op, x)) return drop(p, bad);
        p.has_checksum = true;
        p.checksum = crc32c_finish(p.crc, p.bytes);
    }
    if (is_served_file(*x.to)) { // which is kept over there
        p.has_checksum = true;
        p.checksum = crc32c_finish(p.crc, p.bytes);
    }
    if (p.stage == stage::sum_between) return second_hop(p);
    p.stage = stage::last_hop;
    resume(*p.at, p);
}

void engine::landed(piece& p) noexcept
{
    operation& op = *p.op;
    const extent& x = *p.of;
    if (!(x.opened && x.opened->target_open) || x.opened->joined) arrived(op, x, p.bytes); // what is in a session arrives with its commit
    if (op.progress) op.progress->add(p.bytes);
    drop(p, {});
}

void engine::arrived(operation& op, const extent& x, std::uint64_t bytes) noexcept
{
    op.bytes += bytes;
    x.route->pair->bytes += bytes;
}

/// How much of a piece that failed is at its target all the same.
std::uint64_t engine::part(const piece& p) const noexcept
{
    if (p.stage == stage::sum_after) return p.bytes;
    return p.stage == stage::last_hop && !is_object(*p.of->to) ? p.bytes - p.to.length : 0;
}

/// It is in no window any more, if it was in one.
void engine::quit(piece& p) noexcept
{
    lane* const l = p.at;
    if (!l) return;
    leave(p);
    if (l->one_of_many) gave(*l, p, 0);
}

/// The end of a piece, with what it held given back.
void engine::drop(piece& p, error_code e) noexcept
{
    operation& op = *p.op;
    extent& x = *p.of;
    quit(p);
    const bool staged = p.buffer >= 0;
    if (staged) staging_.give_back(p.buffer, op.priority);
    if (e) arrived(op, x, part(p));
    ++op.left;
    free(p);
    if (e) fail(op, x, e);
    settle(op, x);
    if (--op.left == 0 && !op.over) finish(op);
    if (staged) staging_freed();
}

void engine::staging_freed() noexcept
{
    leg* const g = staging_.next_waiting();
    if (!g) return;
    g->woken = true;
    queue(*g);
}

/// What the checksums say at the end of an extent.
error_code engine::verdict(operation& op, extent& x) noexcept
{
    if (!sums(op, x) || x.length == 0) return {};
    const check& c = op.checks[&x - op.extents];
    if (!c.known) return is_storage(x.from->tier) ? errc::unverified : errc{};
    if (c.sum == c.expected) return {};
    ++corruptions;
    return errc::corrupt;
}

} // namespace wye::detail
