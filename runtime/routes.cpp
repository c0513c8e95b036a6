// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "engine.hpp"

namespace wye {

std::string_view name_of(tier t) noexcept
{
    constexpr std::string_view names[tier_count] = {"DRAM", "VRAM", "FILE", "BLOCK", "OBJ"};
    return names[static_cast<std::size_t>(t)];
}

namespace detail {

std::uint32_t engine::kind_of(const segment& s)
{
    const auto same = [&](const kind& k) {
        return k.tier == s.tier && k.device == s.device && k.home == s.home && k.reach == s.reach && k.open_to == s.open_to;
    };
    const auto it = std::find_if(kinds_.begin(), kinds_.end(), same);
    if (it != kinds_.end()) return static_cast<std::uint32_t>(it - kinds_.begin());
    kinds_.push_back({s.tier, s.device, s.home, s.reach, s.open_to});
    by_kinds_.assign(kinds_.size() * kinds_.size(), nullptr);
    return static_cast<std::uint32_t>(kinds_.size() - 1);
}

const route* engine::learn_route(const segment& from, const segment& to)
{
    const route* found = find_route(from, to); // which may add a kind, and so move the table
    return by_kinds_[from.kind * kinds_.size() + to.kind] = found;
}

namespace {

/// What is another agent's has no address here: whoever made it known carries it, and nobody else, whatever they say of
/// its tier.
bool beyond(const slice& s, const driver& by) noexcept
{
    return (s.tier() <= tier::vram || s.of->served) && s.of->home && s.of->home != &by;
}

} // namespace

/// The driver that goes all the way; of several the fastest, and of equals the latest.
port* engine::carrier(const slice& from, const slice& to) noexcept
{
    const auto rate = [](const port& d) {
        double sum = 0;
        for (const lane& l : d.lanes) sum += l.limits.bytes_per_second;
        return sum;
    };
    port* best = nullptr;
    for (auto& d : ports_) {
        if (beyond(from, *d->by) || beyond(to, *d->by) || !d->by->carries(from, to)) continue;
        if (!best || rate(*d) >= rate(*best)) best = d.get();
    }
    if (best) return best;
    // A fabric may reach a GPU's memory from some places only. From elsewhere its owner does what it is asked.
    driver* const errands = peers_.asked();
    return errands && errands->carries(from, to) ? ports_[errands->id()].get() : nullptr;
}

bool engine::asks(const line* l) const noexcept { return l && l->of->by == peers_.asked(); }

/// The line of that driver for the rails that these two have in common.
line* engine::way(const slice& from, const slice& to)
{
    port* const d = carrier(from, to);
    if (!d) return nullptr;
    if (!d->many()) return &d->line_of(1, 1, lines_++);
    const std::uint64_t rails = d->by->rails_between(from, to) & d->every_rail();
    return rails ? &d->line_of(rails, d->by->near_rails(from, to), lines_++) : nullptr;
}

const route* engine::find_route(const segment& from, const segment& to)
{
    const slice a{const_cast<segment*>(&from), 0, 0}, b{const_cast<segment*>(&to), 0, 0};
    route r;
    r.pair = &pair(from.tier, to.tier);
    r.first = way(a, b);
    if (!r.first && !stage_between(r, a, b)) return nullptr;
    const bool to_store = (from.tier == tier::vram && is_storage(to.tier)) || (is_storage(from.tier) && to.tier == tier::vram);
    if (!r.second && to_store) return remember_choice(r, from, to);
    r.simple = !r.second && !is_object(from) && !is_object(to);
    return remember(r);
}

/// False when no two drivers carry it.
bool engine::stage_between(route& r, const slice& from, const slice& to)
{
    segment memory{tier::dram};
    const slice between{&memory, 0, 0};
    r.first = way(from, between);
    r.second = way(between, to);
    if (!r.first || !r.second) return false;
    if (!staging_.made()) {
        staging_.make(*this, kind_of(memory));
        for (auto& d : drivers_) enlist_staging(*d);
    }
    return true;
}

const route* engine::remember(route r)
{
    r.leans = asks(r.first) || asks(r.second);
    for (const route& known : routes_)
        if (known.first == r.first && known.second == r.second && known.pair == r.pair && !known.either) return &known;
    return &routes_.emplace_back(r);
}

namespace {

hop hop_of(const line& w, tier from, tier to, steady::time_point now, bool& measured)
{
    hop h{std::string{w.of->by->name()}, from, to, 0, w.limits.latency};
    for (const lane& l : w.of->lanes) {
        if (!(w.rails >> l.rail & 1)) continue;
        const bool known = l.meter.measured(now);
        measured = measured && known;
        h.bytes_per_second += known ? l.meter.bytes_per_second(now) : l.limits.bytes_per_second;
    }
    return h;
}

} // namespace

route_plan engine::explain(const slice& from, const slice& to)
{
    if (!from.of || !to.of || from.of->engine != this || to.of->engine != this)
        throw system_error(errc::invalid_slice);
    const route* const usual = route_between(*from.of, *to.of);
    const bool either = usual && usual->either;
    const bool suited = either && suits(*usual, from, to, false);
    const route* found = either && (!suited || usual->either->staged) ? detour(*usual, *from.of, *to.of) : usual;
    if (!found)
        throw system_error(errc::no_route, std::string{name_of(from.tier())} + " to " + std::string{name_of(to.tier())});
    const route& r = *found;
    route_plan plan;
    plan.measured = true;
    const tier middle = r.second ? tier::dram : to.tier();
    plan.hops.push_back(hop_of(*r.first, from.tier(), middle, loop_.now(), plan.measured));
    if (r.second) plan.hops.push_back(hop_of(*r.second, middle, to.tier(), loop_.now(), plan.measured));
    plan.hops.front().from_peer = from.of->via;
    plan.hops.back().to_peer = to.of->via;

    // Hops overlap: the slowest decides, and the first piece goes through all of them.
    const std::uint64_t bytes = from.length != slice::whole ? from.length : to.length != slice::whole ? to.length : 0;
    const std::uint64_t piece = std::min<std::uint64_t>(bytes, r.second ? staging_.piece_bytes() : bytes);
    double slowest = plan.hops.front().bytes_per_second, through = 0;
    for (const hop& h : plan.hops) {
        plan.estimate += h.latency;
        slowest = std::min(slowest, h.bytes_per_second);
        through += static_cast<double>(piece) / h.bytes_per_second;
    }
    const double seconds = static_cast<double>(bytes - piece) / slowest + through;
    plan.estimate += duration{static_cast<duration::rep>(seconds * 1e9)};
    if (suited) plan.note = grounds(*usual);
    if (r.second && !from.of->via && !to.of->via)
        for (auto d = drivers_.begin(); plan.note.empty() && d != drivers_.end(); ++d) plan.note = (*d)->declines(from, to);
    return plan;
}

} // namespace detail

std::string route_plan::to_string() const
{
    const auto end = [](tier t, bool of_peer) { return (of_peer ? "remote " : "") + std::string{name_of(t)}; };
    std::string s = hops.empty() ? std::string{} : end(hops.front().from, hops.front().from_peer);
    for (const hop& h : hops) s += " -> " + end(h.to, h.to_peer) + " (" + h.driver + ")";
    char time[32];
    std::snprintf(time, sizeof time, ", %.3g ms", std::chrono::duration<double, std::milli>(estimate).count());
    s = s + time + (measured ? "" : " (nominal)");
    if (note.empty()) return s;
    return hops.size() > 1 ? s + ", staged (" + note + ")" : s + ", " + note;
}

} // namespace wye
