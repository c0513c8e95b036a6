// SPDX-License-Identifier: Apache-2.0
// Rails pull: the next piece goes to the rail that would be done with it first, by what it has in flight and
// the rate that it was seen to have. If that one has no room, a slower one may have the piece if it would be
// done with it before all that waits is done; else the piece waits.

#include <algorithm>
#include <utility>

#include "engine.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t line_burst = 1_MiB;    // bytes that a line may have in a row while others wait
constexpr std::uint64_t drift_every = 1'000'000, drift_after = 10'000'000; // nanoseconds
constexpr std::uint64_t look_slack = 50'000;
/// How long a piece of background's may take: who waits for the rail waits for a few of them.
constexpr double shallow_ns = 1e6;
constexpr std::size_t shallow_least = 64_KiB;
/// One sample may say that a rail is so much slower or faster than was known, no more: a clock may jump.
constexpr double most_change = 4;

double ns_per_byte(const wye::limits& l) noexcept { return 1e9 / std::max(l.bytes_per_second, 1.0); }

} // namespace

port::port(driver& d, std::uint64_t t)
    : by{&d}, pulls{d.rails() > 1 || d.may_lose_rails()}, watched{d.may_lose_rails()}, now{t}, looked{t},
      lanes(std::max(1u, d.rails()))
{
    fire = [](timer*) noexcept {}; // it wakes the loop: what has come is polled for before anything is missed
    for (std::uint32_t r = 0; r < most_rails; ++r) use(r, r < lanes.size());
    for (std::uint32_t r = 0; r < lanes.size(); ++r) {
        lane& l = lanes[r];
        l.by = by;
        l.of = this;
        l.rail = r;
        l.limits = many() ? d.rail_limits(r) : d.limits();
        l.one_of_many = many();
        l.shallow_bytes = l.limits.chunk_bytes;
        forecasts.push_back({0, 0, static_cast<double>(l.limits.latency.count())});
        learn(r, ns_per_byte(l.limits));
    }
}

void port::learn(std::uint32_t rail, double ns_per_byte) noexcept
{
    forecasts[rail].ns_per_byte = ns_per_byte;
    refresh(rail);
    if (!many()) return;
    const wye::limits& l = lanes[rail].limits;
    const auto shallow = static_cast<std::size_t>(std::min(shallow_ns / ns_per_byte, 1e15)) / 4096 * 4096;
    lanes[rail].shallow_bytes = std::clamp(shallow, std::min(shallow_least, l.chunk_bytes), l.chunk_bytes);
}

line& port::line_of(std::uint64_t rails, std::uint64_t near, std::uint32_t index)
{
    rails &= every_rail();
    near = rails & near ? rails & near : rails;
    for (auto& w : lines)
        if (w->rails == rails && w->near == near) return *w;
    line& w = *lines.emplace_back(std::make_unique<line>());
    w.of = this;
    w.index = index;
    w.rails = rails;
    w.near = near;
    for (std::uint32_t r = 0; r < most_rails; ++r) {
        w.others.set(r, !(rails >> r & 1));
        w.farther.set(r, !(near >> r & 1));
    }
    w.limits = by->limits();
    w.straight_bytes = w.limits.chunk_bytes;
    if (!many()) {
        w.only = &lanes.front();
    } else if (std::popcount(near) > 1) {
        w.spread = static_cast<std::uint8_t>(std::bit_width(2 * static_cast<unsigned>(std::popcount(near)) - 1));
        w.straight_bytes = std::min(w.limits.chunk_bytes, w.limits.spread_bytes);
    }
    return w;
}

double port::horizon(std::uint64_t rails, double more) const noexcept
{
    double rate = 0, latency = 0;
    for (std::uint64_t left = rails; left; left &= left - 1) {
        const forecast& f = forecasts[static_cast<std::size_t>(std::countr_zero(left))];
        more += f.bytes;
        rate += 1 / f.ns_per_byte;
        latency = std::max(latency, f.latency_ns);
    }
    return more / rate + latency;
}

void port::presume(const lane& l) noexcept
{
    if (l.paced.known) return;
    double best = ns_per_byte(l.limits);
    for (const lane& other : lanes)
        if (other.paced.known) best = std::min(best, forecasts[other.rail].ns_per_byte);
    learn(l.rail, best);
}

void port::drift(std::uint64_t at) noexcept
{
    if (at - drifted < drift_every) return;
    drifted = at;
    for (lane& l : lanes) {
        if (l.chunks || !l.paced.known || at - l.paced.latest < drift_after) continue;
        l.paced.latest = at;
        const double cost = forecasts[l.rail].ns_per_byte;
        learn(l.rail, std::max(std::min(cost, ns_per_byte(l.limits)), cost / 2));
    }
}

[[gnu::noinline]] void engine::took(lane& l, piece& p) noexcept
{
    port& d = *l.of;
    d.forecasts[l.rail].bytes += static_cast<double>(p.bytes);
    d.refresh(l.rail);
    if (!room(l, urgent)) d.full.set(l.rail, true);
    if (d.watched) expect(l, p);
    if (l.chunks != 1) return;
    d.working |= l.bit();
    l.paced.since = d.now;
    l.paced.bytes = 0;
    l.paced.from_rest = true;
}

[[gnu::noinline]] void engine::gave(lane& l, piece& p, std::uint64_t landed) noexcept
{
    port& d = *l.of;
    p.unlink();
    if (std::exchange(p.stuck, false)) { // it left the window long ago
        p.at = nullptr;
        if (landed == 0) return;
        l.landed_at = d.judged();
        if (link* const v = via(p)) heard(*v, d.now);
        return;
    }
    forecast& f = d.forecasts[l.rail];
    pace& s = l.paced;
    const bool rests = l.chunks == 0;
    f.bytes = rests ? 0 : f.bytes - static_cast<double>(p.bytes);
    if (rests) d.working &= ~l.bit();
    if (!l.refused && room(l, urgent)) d.full.set(l.rail, false);
    d.refresh(l.rail);
    if (landed != 0) {
        link* const v = via(p);
        if (v) heard(*v, d.now);
        l.landed_at = d.judged();
        if (p.since >= l.landed_since) {
            l.landed_since = p.since;
            l.landed_for = v;
        }
    }
    s.bytes += landed;
    if (s.bytes < (rests ? l.limits.spread_bytes : 2 * l.limits.chunk_bytes)) return;

    double time = static_cast<double>(d.now - s.since);
    if (!rests && time < 2 * f.latency_ns) return;
    if (s.from_rest) time = std::max(time / 8, time - f.latency_ns);
    double seen = std::max(time, 1.0) / static_cast<double>(s.bytes);
    if (s.known) seen = std::clamp(seen, f.ns_per_byte / most_change, f.ns_per_byte * most_change);
    d.learn(l.rail, s.known ? (f.ns_per_byte + seen) / 2 : seen);
    s = {d.now, 0, d.now, false, true};
}

/// The rail for the next piece of this line at this priority; null when there is none now.
lane* engine::fit(line& w, std::size_t p) noexcept
{
    const bool all_open = w.of->barred.empty();
    const std::uint64_t avoid = all_open ? 0 : barred(w, p);
    const bool near = (w.near & w.of->usable & ~avoid) != 0;
    const barrier& farther = near ? w.farther : w.others;
    const std::uint64_t rails = near ? w.near : w.rails;
    if (all_open) [[likely]] return fit(w, p, farther, rails);
    barrier others = farther;
    for (std::uint64_t left = avoid; left; left &= left - 1) others.set(static_cast<std::uint32_t>(std::countr_zero(left)), true);
    return fit(w, p, others, rails & ~avoid);
}

[[gnu::always_inline]] inline lane* engine::fit(line& w, std::size_t p, const barrier& others, std::uint64_t rails) noexcept
{
    port& d = *w.of;
    double bytes = 0, rest = 0; // of the piece; and of what waits with it
    if (const piece* waits = w.ready[p].front()) {
        bytes = static_cast<double>(waits->bytes);
    } else {
        const leg& g = w.legs[p].front();
        if (g.cursor != g.end) {
            const extent& x = g.op->extents[g.cursor];
            bytes = static_cast<double>(piece_size(w, x));
            rest = static_cast<double>(x.length - x.cut) +
                   static_cast<double>(x.length) * (g.end - g.cursor - 1);
        }
    }
    std::uint32_t r = d.soonest<false>(others, bytes);
    if (r == most_rails) return nullptr;
    if (d.full.words[r]) {
        r = d.soonest<true>(others, bytes);
        if (r == most_rails || d.forecasts[r].of(bytes) > d.horizon(rails & d.usable, rest)) return nullptr;
    }
    return room(d.lanes[r], p) ? &d.lanes[r] : nullptr;
}

/// As `choose` does for one rail.
engine::match engine::next(line& w) noexcept
{
    if (!w.asked) return {};
    if (!w.of->barred.empty()) set_aside(w);
    const bool later = w.waiting(background);
    const bool due = later && w.owed >= background_share * w.limits.chunk_bytes;
    if (due)
        if (lane* const l = fit(w, background)) return {&w, l, background};
    for (std::size_t p = urgent; p < background; ++p) {
        if (!w.waiting(p)) continue;
        lane* const l = fit(w, p);
        return l ? match{&w, l, p} : match{};
    }
    if (later && !due)
        if (lane* const l = fit(w, background)) return {&w, l, background};
    return {};
}

/// Of the lines that can go, one of the highest priority; of equals they have it in turns.
engine::match engine::next(port& d) noexcept
{
    match best;
    const std::size_t lines = d.lines.size();
    for (std::size_t i = 0, at = d.next_line; i < lines; ++i, at = at + 1 == lines ? 0 : at + 1) {
        const match m = next(*d.lines[at]);
        if (m.from && m.priority < best.priority) best = m;
    }
    if (!best.from || lines == 1) return best;
    best.from->burst += best.from->limits.chunk_bytes;
    if (best.from->burst >= line_burst) {
        best.from->burst = 0;
        d.next_line = (d.next_line + 1) % lines;
    }
    return best;
}

/// Lets the piece go; false when the driver would not have it.
bool engine::carry(const match& m) noexcept
{
    line& w = *m.from;
    lane& l = *m.by;
    l.of->next_rail = (l.rail + 1) % static_cast<std::uint32_t>(l.of->lanes.size());
    if (piece* const made = w.ready[m.priority].pop()) {
        if (made->landed_elsewhere) {
            spare_posting(*made);
            return true;
        }
        if (parked(w, *made)) return false;
        made->rail = l.rail;
        admit(w, l, *made);
        took(l, *made);
        return post(l, *made);
    }
    leg& g = w.legs[m.priority].front();
    if (parked(g)) return false;
    if (g.simple) {
        const extent& x = g.op->extents[g.cursor];
        if (x.length == 0 || x.failed) {
            skip(g);
            return true;
        }
        piece& made = cut_express(w, l, g);
        took(l, made);
        rotate(w, g, m.priority);
        return post(l, made);
    }
    piece* const made = cut_admitted(w, l, g, m.priority);
    return !made || post(l, *made); // without one, the leg went on elsewhere
}

/// What is in windows already, and was put off.
std::size_t engine::pull_resumed(port& d, turn t) noexcept
{
    if (!d.again) return 0;
    d.again = false;
    std::size_t n = 0;
    for (lane& l : d.lanes) {
        while (!l.refused && !(n != 0 && t.over())) {
            piece* const p = l.resumed.pop();
            if (!p || !post(l, *p)) break;
            ++n;
        }
        d.again = d.again || !l.resumed.empty();
    }
    return n;
}

std::size_t engine::pull(port& d, turn t) noexcept
{
    std::size_t n = pull_resumed(d, t);
    while (!(n != 0 && t.over())) {
        const match m = next(d);
        if (!m.from) break;
        n += carry(m);
    }
    return n;
}

/// A round of a driver with several rails.
std::size_t engine::poll_rails(port& d, turn t) noexcept
{
    const auto anyone_waits = [](const auto& w) { return w->asked != 0; };
    const bool asked = d.again || std::any_of(d.lines.begin(), d.lines.end(), anyone_waits);
    const bool attentive = d.by->busy() || d.by->attentive();
    if (!asked && d.working == 0 && d.look_at == 0 && !attentive) return 0;
    d.now = loop_.stamp();
    std::size_t n = asked ? pull(d, t) : 0;
    if (d.posted) {
        d.posted = false;
        d.by->flush();
    }
    const std::size_t reaped = d.working || attentive ? d.by->poll(t) : 0;
    for (lane& l : d.lanes) {
        if (!l.refused || (!reaped && l.out != 0)) continue;
        l.refused = false;
        if (room(l, urgent)) d.full.set(l.rail, false);
    }
    n += reaped;
    // As long as something comes there may be more of it, but not for ever.
    if (d.look_at && d.now >= d.look_at + (reaped ? look_slack : 0)) {
        look(d);
        ++n;
    }
    return n;
}

} // namespace wye::detail
