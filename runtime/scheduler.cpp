// SPDX-License-Identifier: Apache-2.0
// Which piece goes next on a lane of a driver with one rail; rails.cpp has those with several. Posted work
// cannot be overtaken, so the decision is taken as late as the window allows, and background work is kept
// shallow in it.

#include <algorithm>

#include "engine.hpp"

namespace wye::detail {

bool engine::room(const lane& l, std::size_t p) const noexcept
{
    if (l.chunks == 0) return true;
    if (l.chunks >= l.limits.window_chunks || l.bytes >= l.limits.window_bytes) return false;
    if (p != background || l.background_chunks == 0) return true;
    // Shallow in time, not in number: small pieces may be many.
    return l.background_bytes < l.limits.background_chunks * l.shallow_bytes &&
           l.background_chunks < std::max(1u, l.limits.window_chunks / 2);
}

/// The priority whose turn it is, or `priority_count`.
std::size_t engine::choose(const line& w, const lane& l) const noexcept
{
    if (!w.asked) return priority_count;
    const bool later = w.waiting(background) && room(l, background);
    if (later && w.owed >= background_share * w.limits.chunk_bytes) return background;
    for (std::size_t p = urgent; p < background; ++p)
        if (w.waiting(p)) return room(l, p) ? p : priority_count;
    return later ? background : priority_count;
}

void engine::admit(line& w, lane& l, piece& p) noexcept
{
    p.at = &l;
    if (l.chunks++ == 0) l.meter.busy.begin(loop_);
    l.bytes += p.bytes;
    if (p.op->priority == priority::background) {
        ++l.background_chunks;
        l.background_bytes += p.bytes;
        w.owed -= std::min<std::uint64_t>(w.owed, background_share * p.bytes); // what it has had of its share
    } else if (w.waiting(background)) {
        w.owed += p.bytes;
    }
}

void engine::leave(piece& p) noexcept
{
    lane& l = *p.at;
    p.at = nullptr;
    if (--l.chunks == 0) l.meter.busy.end();
    l.bytes -= p.bytes;
    if (p.op->priority == priority::background) {
        --l.background_chunks;
        l.background_bytes -= p.bytes;
    }
}

/// It is in the window, and to be posted (again).
void engine::resume(lane& l, piece& p) noexcept
{
    if (l.health != health::good) return reroute(p);
    if (l.of->watched) expect(l, p); // anew: the time that it was elsewhere is not the rail's
    l.resumed.push(p);
    l.of->again = true;
}

/// Lets others of its priority go first when it has had its share.
void engine::rotate(line& w, leg& g, std::size_t p) noexcept
{
    if (!g.is_linked() || g.burst < burst_bytes) return;
    g.burst = 0;
    g.unlink();
    w.wait(g, p);
}

/// A piece of this leg, in the window, or null: it waits elsewhere now, had nothing to cut, or its piece is summed
/// first.
piece* engine::cut_admitted(line& w, lane& l, leg& g, std::size_t p) noexcept
{
    const bool woken = std::exchange(g.woken, false);
    piece* made = cut(w, l, g);
    if (woken && !(made && made->buffer >= 0)) staging_freed();
    if (!made) return nullptr;
    admit(w, l, *made);
    if (l.one_of_many) took(l, *made);
    g.burst += static_cast<std::uint32_t>(made->bytes);
    rotate(w, g, p);
    if (made->stage != stage::sum_before) return made;
    summing_.push(*made);
    return nullptr;
}

/// Gives a piece to the driver; false when it will not have it now.
bool engine::post(lane& l, piece& p) noexcept
{
    if (sampled(++l.posts, p.bytes)) p.began = time_on(l);
    if (!l.by->submit(p)) {
        l.resumed.push_front(p);
        l.of->again = l.refused = true;
        l.of->full.set(l.rail, true);
        ++l.meter.refusals;
        return false;
    }
    l.of->posted = true;
    ++l.out;
    return true;
}

/// Posts what may go now, first what is in the window already; returns how much that was.
std::size_t engine::pump(line& w, lane& l, turn t) noexcept
{
    std::size_t n = 0;
    while (!l.refused && !(n != 0 && t.over())) {
        piece* made = l.resumed.pop();
        if (!made) {
            const std::size_t p = choose(w, l);
            if (p == priority_count) break;
            if ((made = w.ready[p].pop())) {
                made->rail = l.rail;
                admit(w, l, *made);
            } else {
                leg& g = w.legs[p].front();
                if (g.simple) {
                    n += express(w, l, g, p, t);
                    continue;
                }
                if (!(made = cut_admitted(w, l, g, p))) {
                    ++n; // it went on elsewhere, perhaps where this round has been already
                    continue;
                }
            }
        }
        if (!post(l, *made)) break;
        ++n;
    }
    return n;
}

} // namespace wye::detail
