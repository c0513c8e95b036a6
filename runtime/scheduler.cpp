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
    if (!l.asked) return priority_count;
    const bool later = l.waiting(background) && room(l, background);
    if (later && l.owed >= background_share * l.limits.chunk_bytes) return background;
    for (std::size_t p = urgent; p < background; ++p)
        if (l.waiting(p)) return room(l, p) ? p : priority_count;
    return later ? background : priority_count;
}

void engine::admit(lane& l, piece& p) noexcept
{
    p.at = &l;
    if (l.chunks++ == 0) l.meter.busy.begin(loop_);
    l.bytes += p.bytes;
    if (p.op->priority == priority::background) {
        ++l.background_chunks;
        l.background_bytes += p.bytes;
        l.owed -= std::min<std::uint64_t>(l.owed, background_share * p.bytes); // it has had so much of its share
    } else if (l.waiting(background)) {
        l.owed += p.bytes;
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

/// Lets others of its priority go first when it has had its share.
void engine::rotate(lane& l, leg& g, std::size_t p) noexcept
{
    if (!g.is_linked() || g.burst < burst_bytes) return;
    g.burst = 0;
    g.unlink();
    l.wait(g, p);
}

/// A piece of this leg, in the window, or null: it waits elsewhere now, had nothing to cut, or its piece is summed
/// first.
piece* engine::cut_admitted(lane& l, leg& g, std::size_t p) noexcept
{
    const bool woken = std::exchange(g.woken, false);
    piece* made = cut(l, g);
    if (woken && !(made && made->buffer >= 0)) staging_freed();
    if (!made) return nullptr;
    admit(l, *made);
    g.burst += static_cast<std::uint32_t>(made->bytes);
    rotate(l, g, p);
    if (made->stage != stage::sum_before) return made;
    summing_.push(*made);
    return nullptr;
}

/// Gives a piece to the driver; false when it will not have it now.
bool engine::post(lane& l, piece& p) noexcept
{
    if (sampled(++l.posts, p.bytes)) p.began = loop_.stamp();
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

/// Posts what may go now, first what is in the window already; returns how much that was.
std::size_t engine::pump(lane& l, turn t) noexcept
{
    std::size_t n = 0;
    while (!l.refused && !(n != 0 && t.over())) {
        piece* made = l.resumed.pop();
        if (!made) {
            const std::size_t p = choose(l);
            if (p == priority_count) break;
            if ((made = l.ready[p].pop())) {
                admit(l, *made);
            } else {
                leg& g = l.legs[p].front();
                if (g.simple) {
                    n += express(l, g, p, t);
                    continue;
                }
                if (!(made = cut_admitted(l, g, p))) {
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
