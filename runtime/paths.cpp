// SPDX-License-Identifier: Apache-2.0
// Ways to one peer over one rail. One may be lost while the rail carries to others, as when the peer's own NIC fails: that
// peer's pieces then avoid the rail until its driver finds the way open again, and nobody else's do.

#include <algorithm>

#include "engine.hpp"
#include "nanoseconds.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t first_try_ns = 1'000'000; // until the driver is asked whether it is open again

} // namespace

void engine::bar(link& v, lane& l) noexcept
{
    port& d = *l.of;
    if (v.barred & l.bit()) return;
    v.barred |= l.bit();
    ++l.meter.errors;
    d.barred.push_back({v.token, l.rail, d.now + first_try_ns, first_try_ns, false});
    look_by(d, d.now + first_try_ns);
}

/// Overdue, though its peer is heard, and though what was posted later to others has landed: it is sent over another rail.
void engine::detour(lane& l, piece& p) noexcept
{
    bar(*via(p), l);
    set_apart(l, p);
    if (p.sibling) return;
    p.ghost = true;
    send_again(p);
}

/// The way that the piece was on is lost, and nothing of it is under way: it goes by another. Not into memory that has
/// been withdrawn meanwhile: its key may have ended, and over connections that shows as ways that break, for ever.
void engine::turn_back(lane& l, piece& p) noexcept
{
    bar(*via(p), l);
    const errc gone = out_of_reach(*p.of);
    if (gone != errc{} && !p.ghost && !p.landed_elsewhere) fail(*p.op, *p.of, gone);
    if (p.ghost || p.landed_elsewhere || p.of->failed || p.op->stopping) return spare_posting(p);
    line_of(p).wait_first(p, static_cast<std::size_t>(p.op->priority));
}

/// Whether no usable rail of the line leads to that peer.
bool engine::cut_off(const line& w, link* v) noexcept
{
    if (!v || !v->barred || !v->alive() || w.rails & w.of->usable & ~v->barred) return false;
    if (v->cut_off == 0) v->cut_off = w.of->now;
    return true;
}

/// What waits in front, and can go nowhere, lets others go first.
void engine::set_aside(line& w) noexcept
{
    for (std::size_t p = 0; p < priority_count; ++p) {
        while (piece* const made = w.ready[p].front()) {
            if (made->stage == stage::session || !cut_off(w, via(*made))) break;
            w.parked.push(*w.ready[p].pop());
        }
        while (w.ready[p].empty() && !w.legs[p].empty()) {
            leg& g = w.legs[p].front();
            link* const v = g.cursor == g.end ? nullptr : via(g.op->extents[g.cursor]);
            if (!cut_off(w, v)) break;
            g.unlink();
            v->parked.push_back(g);
        }
    }
}

/// The rails that must not carry what is first in a line.
std::uint64_t engine::barred(const line& w, std::size_t p) noexcept
{
    const link* v = nullptr;
    if (const piece* const made = w.ready[p].front()) {
        if (made->stage != stage::session) v = via(*made);
    } else if (const leg& g = w.legs[p].front(); g.cursor != g.end) {
        v = via(g.op->extents[g.cursor]);
    }
    return v && v->alive() ? v->barred : 0; // what is lost is passed over, not carried
}

/// Whether a piece that hangs in a barred way keeps somebody waiting, or has hung there for too long. Then the rail is fenced,
/// for there is no other means to be sure that it is over; others' pieces are sent again.
bool engine::hopeless(const lane& l) const noexcept
{
    return std::any_of(l.stuck.begin(), l.stuck.end(), [&](const piece& p) {
        if (!(via(p)->barred & l.bit())) return false;
        return wanted(p) || l.of->now - p.since >= ns(rails_.quarantine);
    });
}

/// Asks after barred ways, and gives those up who have had none for too long. When to look again; 0 is never.
std::uint64_t engine::look_at_paths(port& d) noexcept
{
    std::erase_if(d.barred, [&](const barred_path& b) { return !peers_.find(b.token); });
    std::uint64_t next = 0;
    std::vector<barred_path> due;
    for (barred_path& b : d.barred) {
        link& v = *peers_.find(b.token);
        if (v.cut_off != 0) {
            const std::uint64_t end = v.cut_off + ns(rails_.give_up);
            if (d.now >= end) v.cut_off = 0, abandon(v, errc::rail_lost);
            else next = next ? std::min(next, end) : end;
        }
        if (b.asking || !v.alive()) continue;
        if (d.now < b.at) next = next ? std::min(next, b.at) : b.at;
        else b.asking = true, due.push_back(b);
    }
    for (const barred_path& b : due) { // the answer may come at once
        link& v = *peers_.find(b.token);
        v.by->open_path(b.rail, v.number, [this, &d, token = b.token, rail = b.rail](const error_code& e) {
            path_opened(d, token, rail, e);
        });
    }
    return next;
}

void engine::path_opened(port& d, std::uint64_t token, std::uint32_t rail, const error_code& e) noexcept
{
    const auto b = std::find_if(d.barred.begin(), d.barred.end(),
                                [&](const barred_path& it) { return it.token == token && it.rail == rail; });
    if (b == d.barred.end()) return;
    if (e.failed()) {
        b->asking = false;
        b->rest = std::min(2 * b->rest, ns(rails_.probe));
        b->at = d.now + b->rest;
        return look_by(d, b->at);
    }
    d.barred.erase(b);
    link* const v = peers_.find(token);
    if (!v) return;
    v->barred &= ~d.lanes[rail].bit();
    unpark(*v);
    look_by(d, d.now); // what hangs there should come now
}

} // namespace wye::detail
