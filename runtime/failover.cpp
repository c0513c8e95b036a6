// SPDX-License-Identifier: Apache-2.0
// Rails that are lost. What a lost rail had is sent again over others, but its own piece is over only when
// the rail is fenced: a write that is late must not land in a page that its owner uses again. Pieces that
// carry the same bytes form a ring; the last of them to end does what a piece does when it has landed, so
// everything is counted once.

#include <algorithm>

#include "engine.hpp"
#include "nanoseconds.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t glance_ns = 25'000;         // between looks at a rail that is suspected
constexpr std::uint64_t late_ns = 200'000;          // by which a look may be late and yet be believed
constexpr std::uint64_t most_between_ns = 1'000'000'000;
constexpr std::uint64_t first_rest_ns = 1'000'000;  // before a fenced rail is tried again
constexpr std::uint64_t forgotten_ns = 10'000'000'000; // after which a rail's troubles are
constexpr double most_patience = 64;

std::size_t priority_of(const piece& p) noexcept { return static_cast<std::size_t>(p.op->priority); }

/// Takes it out of its ring, and out of any trouble; true when others were in it.
bool leave_ring(piece& p) noexcept
{
    piece* const next = p.sibling;
    p.sibling = nullptr;
    p.ghost = false;
    if (!next) return false;
    piece* before = next;
    while (before->sibling != &p) before = before->sibling;
    before->sibling = next == before ? nullptr : next;
    return true;
}

bool waits_in(const fifo<piece>& queue, const piece& p) noexcept
{
    for (const piece* q = queue.front(); q; q = static_cast<const piece*>(q->next))
        if (q == &p) return true;
    return false;
}

/// Rather than summed, or kept open.
bool carried(const piece& p) noexcept { return p.stage != stage::sum_before && p.stage != stage::session; }

void tell_ring(piece& p) noexcept
{
    for (piece* s = p.sibling; s && s != &p; s = s->sibling) s->landed_elsewhere = true;
}

} // namespace

line& engine::line_of(const piece& p) noexcept
{
    const route& r = *p.of->route;
    return r.second && p.stage == stage::last_hop ? *r.second : *r.first;
}

/// How long what it has in flight may take, and so many bytes more.
std::uint64_t engine::patience_of(const lane& l, std::size_t more) const noexcept
{
    const double predicted = l.of->forecasts[l.rail].of(more);
    const double most = std::max(static_cast<double>(ns(rails_.overdue_most)), 2 * predicted);
    return std::max({ns(rails_.overdue_least), ns(l.limits.stutter),
                     static_cast<std::uint64_t>(std::min(predicted * rails_.overdue, most) * l.patience)});
}

/// A window's piece that may be missed: when it will be.
void engine::expect(lane& l, piece& p) noexcept
{
    port& d = *l.of;
    p.due = d.judged() + patience_of(l);
    p.since = d.now;
    p.unlink();
    l.order.push_back(p);
    const std::uint64_t at = p.due + d.slip;
    if (d.look_at == 0 || at + glance_ns < d.look_at) look_by(d, at);
}

/// A look then, at the latest.
void engine::look_by(port& d, std::uint64_t at) noexcept
{
    if (d.look_at != 0 && d.look_at <= at) return;
    if (d.look_at == 0) d.looked = d.now;
    loop_.timers().remove(d);
    d.look_at = at;
    d.when = steady::time_point{duration{static_cast<duration::rep>(at)}};
    loop_.timers().add(d);
}

/// What was admitted to this rail and not posted goes to the others.
void engine::reroute(piece& p) noexcept
{
    quit(p);
    p.ghost = false;
    line_of(p).wait_first(p, priority_of(p));
}

void engine::evacuate(lane& l) noexcept
{
    while (piece* const p = l.resumed.pop()) reroute(*p);
}

/// The same bytes once more, over another rail.
void engine::send_again(piece& p, bool probes) noexcept
{
    if (p.op->stopping || p.of->failed || p.landed_elsewhere) return;
    piece& again = *make_piece(*p.op, *p.of);
    static_cast<chunk&>(again) = static_cast<const chunk&>(p);
    again.stage = p.stage;
    again.place = p.place;
    again.bytes = p.bytes;
    again.summed = p.summed;
    again.crc = p.crc;
    again.buffer = p.buffer;
    again.probes = probes;
    again.sibling = p.sibling ? p.sibling : &p;
    p.sibling = &again;
    line_of(p).wait_first(again, priority_of(p));
}

/// One of several that carry the same bytes is over, and did not fail.
void engine::forget(piece& p) noexcept
{
    p.landed_elsewhere = false;
    free(p);
}

/// A piece that need not be posted after all.
void engine::spare_posting(piece& p) noexcept
{
    quit(p);
    if (leave_ring(p)) return forget(p);
    if (!std::exchange(p.landed_elsewhere, false)) return drop(p, stop_error(*p.op));
    p.from.length = p.to.length = p.bytes; // short completions may have moved them on
    advance(p);
}

/// What a hop's end means on rails that may be lost; true when nothing else does.
bool engine::outlived(lane& l, piece& p, error_code& e) noexcept
{
    if (p.stage == stage::session) return false;
    if (e == errc::path_lost && via(p)) {
        turn_back(l, p);
        return true;
    }
    if (e == errc::rail_lost) {
        l.lost.push_back(p);
        if (!p.ghost) send_again(p);
        lose(l);
        return true;
    }
    if (p.ghost && !e.failed() && l.health == health::suspect) { // slow, then, and not dead
        l.patience = std::min(2 * l.patience, most_patience);
        trust(l);
    }
    if (!e.failed()) tell_ring(p);
    if (p.landed_elsewhere) e = {};
    if (!leave_ring(p)) {
        p.landed_elsewhere = false;
        return false;
    }
    operation& op = *p.op;
    extent& x = *p.of;
    ++op.left;
    forget(p);
    if (e.failed()) fail(op, x, e);
    if (--op.left == 0 && !op.over) finish(op);
    return true;
}

void engine::trust(lane& l) noexcept
{
    port& d = *l.of;
    l.health = health::good;
    for (piece& p : l.order) p.due = std::max(p.due, d.judged() + patience_of(l));
    d.use(l.rail, true);
    if (!l.refused && room(l, urgent)) d.full.set(l.rail, false);
    for (const barred_path& b : d.barred) // it may be the way for who has no other
        if (link* const v = peers_.find(b.token); v && v->cut_off != 0) unpark(*v);
}

/// Something is missing for too long: nothing more goes there until that has come, or the rail is fenced.
void engine::suspect(lane& l) noexcept
{
    if (l.health != health::good) return;
    l.health = health::suspect;
    l.since = l.of->judged();
    l.of->use(l.rail, false);
    evacuate(l);
}

/// The rail is given up. What it had is its own until the fence.
void engine::lose(lane& l) noexcept
{
    if (l.health != health::good && l.health != health::suspect) return;
    port& d = *l.of;
    l.health = health::fencing;
    d.use(l.rail, false);
    const bool again = l.opened && d.now - l.opened < forgotten_ns;
    l.rest = again ? std::min(std::max(2 * l.rest, first_rest_ns), ns(rails_.probe)) : first_rest_ns;
    ++l.meter.errors;
    evacuate(l);
    l.by->fence(l.rail, [this, &l] { fenced(l); });
}

void engine::lose(driver& by, std::uint32_t rail) noexcept
{
    for (auto& d : ports_)
        if (d->by == &by && d->watched && rail < d->lanes.size()) lose(d->lanes[rail]);
}

void engine::fenced(lane& l) noexcept
{
    port& d = *l.of;
    l.health = health::closed;
    l.patience = 1;
    l.since = d.now + l.rest;
    while (!l.lost.empty()) {
        piece& p = l.lost.front();
        l.lost.pop_front();
        spare_posting(p);
    }
    look_by(d, l.since);
}

void engine::opened(lane& l, const error_code& e) noexcept
{
    port& d = *l.of;
    if (e.failed()) {
        l.health = health::closed;
        l.rest = std::min(2 * l.rest, ns(rails_.probe));
        l.since = d.now + l.rest;
        return look_by(d, l.since);
    }
    l.opened = d.now;
    d.presume(l);
    trust(l);
    look_by(d, d.now); // what was stranded is not
}

/// Whether somebody waits for nothing but a piece that does not come back, or may, for its staging buffer.
bool engine::wanted(const piece& p) noexcept
{
    const bool needed = p.of->cut == p.of->length || p.buffer >= 0;
    return p.op->stopping || p.of->failed || (p.landed_elsewhere && needed);
}

bool engine::missed(const lane& l) const noexcept
{
    return l.chunks == 0 ||
           std::any_of(l.order.begin(), l.order.end(), [](const piece& p) { return p.ghost && wanted(p); });
}

/// A leg whose peer is silent waits apart, so that it takes no windows from others.
bool engine::parked(leg& g) noexcept
{
    if (g.cursor == g.end) return false;
    link* const v = via(g.op->extents[g.cursor]);
    if (!v || !v->quiet || !v->alive()) return false;
    g.unlink();
    v->parked.push_back(g);
    return true;
}

/// So does a piece, but for those that find out whether it is silent still.
bool engine::parked(line& w, piece& p) noexcept
{
    if (p.stage == stage::session) return false;
    const link* const v = via(p);
    if (!v || !v->quiet || !v->alive() || std::exchange(p.probes, false)) return false;
    w.parked.push(p);
    return true;
}

/// It leaves the window, though it may still land.
void engine::set_apart(lane& l, piece& p) noexcept
{
    if (!p.stuck) {
        leave(p);
        gave(l, p, 0);
        p.at = &l;
        p.stuck = true;
    }
    p.unlink();
    l.stuck.push_back(p);
}

/// Overdue, and its peer has been silent since on every rail: that is not this rail's fault. It is tried once
/// more elsewhere, in case it is.
void engine::stick(lane& l, piece& p) noexcept
{
    set_apart(l, p);
    link& v = *via(p);
    p.since = std::max(p.since, v.latest + 1); // it counts as heard by what comes from now on
    v.quiet = true;
    peers_.poke(v);
    if (p.sibling) return;
    p.ghost = true;
    send_again(p, true);
}

/// Whose peer has been heard again should come now; else it is the rail that is to blame.
void engine::unstick(lane& l) noexcept
{
    std::size_t ahead = 0;
    for (auto at = l.stuck.begin(); at != l.stuck.end();) {
        piece& p = *at++;
        if (const link& v = *via(p); v.latest < p.since || v.barred & l.bit()) continue;
        p.unlink();
        ahead += p.bytes;
        p.due = l.of->judged() + patience_of(l, ahead);
        l.order.push_back(p);
    }
}

/// What waited apart for it goes with all others.
void engine::unpark(link& v) noexcept
{
    v.cut_off = 0;
    while (!v.parked.empty()) {
        leg& g = v.parked.front();
        v.parked.pop_front();
        queue(g);
    }
    for (auto& d : ports_)
        for (auto& w : d->lines) {
            fifo<piece> others;
            while (piece* const p = w->parked.pop()) {
                if (via(*p) == &v) w->wait(*p, priority_of(*p));
                else others.push(*p);
            }
            w->parked = others;
        }
}

void engine::heard(link& v, std::uint64_t now) noexcept
{
    v.latest = now;
    if (!std::exchange(v.quiet, false)) return;
    unpark(v);
    for (auto& d : ports_)
        if (d->watched) look_by(*d, d->now);
}

/// Where a rail may stutter, one that lands what was posted before is slow, however far off its forecast was, and not
/// silent.
bool engine::goes_on(const lane& l, piece& p) noexcept
{
    const std::uint64_t later = l.landed_at + patience_of(l);
    if (l.limits.stutter == duration{} || l.landed_since > p.since || later <= l.of->judged()) return false;
    p.due = later;
    return true;
}

/// What is overdue is its peer's fault, or the way's to it, or the rail's. Whether it was somebody else's.
bool engine::blame(lane& l, std::uint64_t now) noexcept
{
    bool others = false;
    for (auto at = l.order.begin(); at != l.order.end();) {
        piece& p = *at++;
        if (p.due > now) break;
        if (!carried(p) || goes_on(l, p)) continue;
        const link* const v = waits_in(l.resumed, p) ? nullptr : via(p); // what the driver has not taken is nobody's silence
        if (v && v->latest < p.since && !p.stuck) {
            stick(l, p);
            others = true;
        } else if (v && l.landed_for != v && l.landed_since > p.since) {
            detour(l, p);
            others = true;
        } else {
            suspect(l); // which lets go what it has not posted
            break;
        }
    }
    return others;
}

/// What a suspected rail owes is sent again; and in the end it is given up, but for what peers owe who have not been heard
/// since.
void engine::judge(lane& l, std::uint64_t now, bool excused) noexcept
{
    const bool ends = now - l.since >= ns(rails_.quarantine);
    const std::uint64_t begun = l.since + l.of->slip;
    bool owes = false;
    for (auto at = l.order.begin(); at != l.order.end();) {
        piece& p = *at++;
        if (p.due > now) break;
        if (!carried(p)) continue;
        const link* const v = via(p);
        if (ends && v && v->latest < begun) {
            stick(l, p);
            excused = true;
            continue;
        }
        owes = true;
        if (std::exchange(p.ghost, true)) continue;
        send_again(p);
    }
    if (excused && !owes) trust(l);
    else if (ends || missed(l)) lose(l);
}

/// What is overdue, and what becomes of its rail.
void engine::look_at(lane& l, std::uint64_t now) noexcept
{
    if (!l.stuck.empty()) unstick(l);
    const bool excused = blame(l, now);
    if (l.health == health::good && hopeless(l)) lose(l);
    if (l.health == health::suspect) {
        judge(l, now, excused);
    } else if (l.health == health::closed && l.of->now >= l.since) {
        l.health = health::opening;
        l.by->open_rail(l.rail, [this, &l](const error_code& e) { opened(l, e); });
    }
}

/// What this leg would cut is lost; all of its operation, where nobody asks for the `status` of each.
void engine::strand(leg& g) noexcept
{
    operation& op = *g.op;
    if (!op.status) return stop(op, errc::rail_lost);
    ++op.left; // as in `stop`
    leave_queue(g);
    for (; g.cursor != g.end; ++g.cursor) {
        extent& x = op.extents[g.cursor];
        if (x.at == phase::over) continue;
        fail(op, x, errc::rail_lost);
        settle(op, x);
    }
    if (--op.left == 0) finish(op);
}

/// Nothing can carry what waits here, for too long.
void engine::strand(line& w) noexcept
{
    w.stranded = 0;
    for (std::size_t p = 0; p < priority_count; ++p) {
        while (piece* const made = w.ready[p].pop()) {
            if (made->stage == stage::session) {
                session_ended(*made, errc::rail_lost);
                continue;
            }
            if (!made->landed_elsewhere) fail(*made->op, *made->of, errc::rail_lost);
            spare_posting(*made);
        }
        while (!w.legs[p].empty()) strand(w.legs[p].front());
    }
}

/// Judges the rails by what has not come in time, once their driver was polled. A look that comes late itself
/// says nothing: the engine was paused, or the clock jumped.
void engine::look(port& d) noexcept
{
    const std::uint64_t planned = d.look_at > d.looked ? d.look_at - d.looked : 0;
    const bool late = d.look_at && d.now > d.look_at + std::max(late_ns, planned);
    if (late) d.slip += d.now - d.looked;
    d.between = late ? std::min(2 * std::max(d.between, glance_ns), most_between_ns) : d.between / 2;
    d.looked = d.now;
    std::uint64_t next = 0;
    const auto at = [&](std::uint64_t t) { next = next ? std::min(next, t) : t; };
    for (lane& l : d.lanes) {
        look_at(l, d.judged());
        if (l.health == health::suspect) at(d.now + std::max(glance_ns, (d.judged() - l.since) / 8));
        if (l.health == health::closed) at(l.since);
        if (l.health == health::good && !l.order.empty()) at(l.order.front().due + d.slip);
    }
    if (const std::uint64_t t = look_at_paths(d)) at(t);
    for (auto& w : d.lines) {
        const bool waits = w->waiting(0) || w->waiting(1) || w->waiting(2);
        if (!waits || w->rails & d.usable) {
            w->stranded = 0;
            continue;
        }
        if (w->stranded == 0) w->stranded = d.now;
        if (d.now - w->stranded >= ns(rails_.give_up)) strand(*w);
        else at(w->stranded + ns(rails_.give_up));
    }
    loop_.timers().remove(d);
    d.look_at = 0;
    if (next) look_by(d, std::max(next, d.now + d.between));
}

} // namespace wye::detail
