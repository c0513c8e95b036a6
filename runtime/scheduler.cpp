// SPDX-License-Identifier: Apache-2.0
// Which piece goes next on a lane. Posted work cannot be overtaken, so the decision is taken as late as the
// window allows, and background work is kept shallow in it.

#include <algorithm>

#include "engine.hpp"

namespace wye::detail {

namespace {

constexpr std::size_t urgent = 0, background = 2;
/// A sixteenth of the bytes is background's, whatever else wants to go.
constexpr std::uint64_t background_share = 15;
/// Bytes that an operation may have in a row while others of its priority wait.
constexpr std::uint32_t burst_bytes = 256 * 1024;

} // namespace

bool engine::room(const lane& l, std::size_t p) const noexcept
{
    if (l.chunks == 0) return true;
    if (l.chunks >= l.limits.window_chunks || l.bytes >= l.limits.window_bytes) return false;
    if (p != background || l.background_chunks == 0) return true;
    // Shallow in time, not in number: small pieces may be many.
    return l.background_bytes < l.limits.background_chunks * l.limits.chunk_bytes &&
           l.background_chunks < std::max(1u, l.limits.window_chunks / 2);
}

/// The priority whose turn it is, or `priority_count`.
std::size_t engine::choose(const lane& l) const noexcept
{
    const bool later = l.waiting(background) && room(l, background);
    if (later && l.owed >= background_share * l.limits.chunk_bytes) return background;
    for (std::size_t p = urgent; p < background; ++p)
        if (l.waiting(p)) return room(l, p) ? p : priority_count;
    return later ? background : priority_count;
}

void engine::admit(lane& l, piece& p) noexcept
{
    p.at = &l;
    ++l.chunks;
    l.bytes += p.bytes;
    l.meter.busy.begin();
    if (p.op->priority == priority::background) {
        ++l.background_chunks;
        l.background_bytes += p.bytes;
        l.owed = 0;
    } else if (l.waiting(background)) {
        l.owed += p.bytes;
    }
}

void engine::leave(piece& p) noexcept
{
    lane& l = *p.at;
    p.at = nullptr;
    --l.chunks;
    l.bytes -= p.bytes;
    l.meter.busy.end();
    if (p.op->priority == priority::background) {
        --l.background_chunks;
        l.background_bytes -= p.bytes;
    }
}

/// The next piece, in the window; null when nothing may go now.
piece* engine::next(lane& l) noexcept
{
    if (leg* g = l.streak) { // nothing can have come since it was chosen, so the choice stands
        if (g->is_linked() && g->burst < burst_bytes && room(l, l.streak_priority))
            return cut_admitted(l, *g, l.streak_priority);
        l.streak = nullptr;
    }
    if (piece* p = l.resumed.pop()) return p;
    for (;;) {
        const std::size_t p = choose(l);
        if (p == priority_count) return nullptr;
        if (piece* made = l.ready[p].pop()) {
            admit(l, *made);
            return made;
        }
        leg& g = l.legs[p].front();
        if (piece* made = cut_admitted(l, g, p)) return made;
    }
}

/// A piece of this leg, or null: it waits elsewhere now, had nothing to cut, or its piece is summed first.
piece* engine::cut_admitted(lane& l, leg& g, std::size_t p) noexcept
{
    piece* made = cut(l, g);
    if (!made) return nullptr;
    admit(l, *made);
    g.burst += static_cast<std::uint32_t>(made->bytes);
    if (!g.is_linked()) {
        l.streak = nullptr;
    } else if (g.burst >= burst_bytes) {
        g.burst = 0;
        g.unlink();
        l.legs[p].push_back(g);
        l.streak = nullptr;
    } else if (g.simple) {
        l.streak = &g;
        l.streak_priority = p;
    }
    if (made->stage != stage::sum_before) return made;
    summing_.push(*made);
    return nullptr;
}

/// Gives a piece to the driver; false when it will not have it now.
bool engine::post(lane& l, piece& p) noexcept
{
    if (sampled(l.meter.operations, p.bytes)) p.began = stamp();
    if (!l.by->submit(p)) {
        l.resumed.push_front(p);
        l.refused = true;
        ++l.meter.refusals;
        return false;
    }
    l.posted = true;
    ++l.out;
    return true;
}

/// A copy that finds nobody waiting goes straight to the driver, unless the caller's time is measured.
bool engine::post_at_once(lane& l, leg& g) noexcept
{
    const auto p = static_cast<std::size_t>(g.op->priority);
    if (!g.simple || l.refused || loop_.in_bounded_turn() || l.anything_waiting() || !room(l, p)) return false;
    piece* made = cut_simple(l, g);
    if (!made) return true;
    admit(l, *made);
    post(l, *made);
    return g.cursor == g.end;
}

std::size_t engine::pump(lane& l, turn t) noexcept
{
    std::size_t n = 0;
    while (!l.refused) {
        if (n != 0 && t.over()) break;
        piece* p = next(l);
        if (!p || !post(l, *p)) break;
        ++n;
    }
    l.streak = nullptr;
    return n;
}

} // namespace wye::detail
