// SPDX-License-Identifier: Apache-2.0
#include "meeting.hpp"

#include <algorithm>
#include <cstdio>

namespace wye::sweep {

using namespace std::chrono_literals;
using sim::fault_kind;

std::string_view name_of(dealings w) noexcept
{
    constexpr std::string_view names[dealings_count] = {"mixed",     "pages", "large",    "tiny",  "cancellations",
                                                        "deadlines", "p5",    "thousand", "shares"};
    return names[static_cast<std::size_t>(w)];
}

std::string_view name_of(mishap_kind k) noexcept
{
    constexpr std::string_view names[mishap_kind_count] = {"fault", "outage",    "crash",  "leave",   "stall",
                                                           "anew",  "unpublish", "revoke", "destroy", "disconnect"};
    return names[static_cast<std::size_t>(k)];
}

namespace {

constexpr std::uint64_t p5_every = 50, thousand_every = 500, shares_every = 25;

duration some_time(dice& d, duration least, duration most)
{
    const auto ns = [](duration t) { return static_cast<double>(t.count()); };
    return duration{static_cast<duration::rep>(d.scale(ns(least), ns(most)))};
}

duration some_moment(dice& d, duration within)
{
    return duration{static_cast<duration::rep>(d.below(static_cast<std::uint64_t>(within.count())))};
}

sim::nic_model some_nic(dice& d, bool large, const sim::rail_model& like, bool alike)
{
    sim::nic_model n = sim::default_nic(d.between(1, 8), like);
    for (sim::rail_model& r : n.rails) {
        if (!alike) r.bytes_per_second = like.bytes_per_second * static_cast<double>(1u << d.below(4));
        r.queue_depth = static_cast<std::uint32_t>(d.one_in(2) ? 4096 : d.between(1, 64));
    }
    n.limits.chunk_bytes = (large ? 16_KiB : 2_KiB) << d.below(5);
    n.limits.window_bytes = n.limits.chunk_bytes << d.below(4);
    n.limits.window_chunks = static_cast<std::uint32_t>(d.between(1, 32));
    n.limits.background_chunks = static_cast<std::uint32_t>(d.between(1, 3));
    n.limits.spread_bytes = n.limits.chunk_bytes >> d.below(3);
    n.post_cost = some_time(d, 20ns, 500ns);
    n.fence_time = some_time(d, 5us, 500us);
    n.near = d.one_in(4);
    return n;
}

/// From one rate to eight times as much, and with windows that several urgent copies fill.
sim::nic_model unequal_nic(dice& d)
{
    sim::nic_model n = sim::default_nic(d.between(2, 8));
    for (sim::rail_model& r : n.rails) r.bytes_per_second = 1e9 * static_cast<double>(1u << d.below(4));
    n.limits.chunk_bytes = n.limits.spread_bytes = 64_KiB;
    n.limits.window_bytes = 256_KiB;
    return n;
}

agent_options some_agent(dice& d)
{
    agent_options a;
    a.staging_piece = 4_KiB << d.below(4);
    a.staging_bytes = a.staging_piece * d.between(2, 8);
    a.rails.quarantine = some_time(d, 2ms, 200ms);
    a.rails.give_up = some_time(d, 50ms, 2s);
    a.rails.probe = some_time(d, 2ms, 100ms);
    a.peers.secret = "s" + std::to_string(d.below(1000));
    a.peers.longest_gap = d.one_in(2) ? duration{} : some_time(d, 1ms, 1s);
    a.peers.lost_after = some_time(d, 100ms, 2s);
    a.peers.connect_within = some_time(d, 500ms, 5s);
    a.peers.drain_within = some_time(d, 500ms, 5s);
    return a;
}

/// What devices do now and then, rails above all; until the span is over.
sim::fault some_fault(dice& d, std::uint64_t index, duration span)
{
    constexpr fault_kind kinds[] = {fault_kind::dark,       fault_kind::broken,     fault_kind::slow,
                                    fault_kind::twice,      fault_kind::lose,       fault_kind::reorder,
                                    fault_kind::early_data, fault_kind::late_data,  fault_kind::refuse,
                                    fault_kind::shorten,    fault_kind::io_error,   fault_kind::registration,
                                    fault_kind::stall,      fault_kind::clock_jump, fault_kind::unavailable};
    sim::fault f;
    f.what = kinds[d.below(std::size(kinds))];
    f.chance = d.scale(0.002, 0.2);
    f.extent = some_time(d, 1us, d.one_in(4) ? 50ms : 1ms);
    f.seed = index;
    f.device = d.one_in(2) ? "nic" : "";
    f.until = 2 * span + 5ms;
    if (d.one_in(2)) {
        f.from = some_moment(d, span);
        f.until = f.from + some_time(d, 10us, span + 1ms);
        f.chance = std::min(0.5, 3 * f.chance);
    }
    if (f.what == fault_kind::clock_jump) f.extent = some_time(d, 1ms, 1h);
    return f;
}

/// A rail for a while: from the start now and then, and then it comes up late.
mishap some_outage(dice& d, const meeting& m)
{
    mishap o;
    o.what = mishap_kind::outage;
    o.who = static_cast<std::uint32_t>(d.below(m.hosts.size()));
    o.other = static_cast<std::uint32_t>(d.below(m.hosts[o.who].nic.rails.size()));
    o.at = d.one_in(4) ? duration{} : some_moment(d, m.span);
    o.extent = some_time(d, 10us, 200ms);
    o.state = static_cast<sim::rail_state>(d.below(3));
    if (o.state == sim::rail_state::up) o.speed = d.scale(0.01, 0.5);
    return o;
}

mishap some_life(dice& d, const meeting& m)
{
    mishap l;
    l.what = static_cast<mishap_kind>(d.between(static_cast<std::uint64_t>(mishap_kind::crash), mishap_kind_count - 1));
    l.who = static_cast<std::uint32_t>(d.below(m.agents.size()));
    l.other = static_cast<std::uint32_t>(d.below(m.agents.size()));
    l.name = d.below(4);
    l.at = some_moment(d, m.span);
    l.extent = some_time(d, 10us, m.span);
    l.again = !d.one_in(3);
    if (l.what != mishap_kind::stall) return l;
    const peer_options& p = m.agent.peers;
    // Clearly within what others put up with, or clearly beyond.
    l.extent = d.one_in(2) ? some_time(d, 10us, std::max(p.longest_gap, p.lost_after / 4)) : 2 * (p.longest_gap + p.lost_after);
    return l;
}

sim::host_options p5_host()
{
    sim::host_options h;
    h.nic = sim::default_nic(32);
    h.nic.near = true;
    h.gpus = 8;
    return h;
}

} // namespace

meeting::meeting(std::uint64_t s) : seed{s}
{
    dice d{s, 3};
    what = static_cast<dealings>(d.below(static_cast<std::uint64_t>(dealings::p5)));
    if (s % p5_every == 0) what = dealings::p5;
    if (s % thousand_every == thousand_every / 2 + 1) what = dealings::thousand;
    if (s % shares_every == 7) what = dealings::shares;
    agent = some_agent(d);
    span = some_time(d, 50us, 100ms);
    page_bytes = 256u << d.below(6);
    area_bytes = what == dealings::large ? 2_MiB : 256_KiB;
    constexpr std::size_t most[dealings_count] = {60, 8, 5, 200, 60, 60, 6, 0, 0};
    operations = d.between(most[static_cast<std::size_t>(what)] / 3, most[static_cast<std::size_t>(what)]);
    if (what == dealings::shares) {
        hosts.assign(2, {.nic = unequal_nic(d)});
        agent = {};
        agent.peers.secret = "shared";
        return;
    }
    const bool p5 = what == dealings::p5, many = what == dealings::thousand;
    const sim::rail_model like{d.scale(2e8, 2e10), d.scale(1e5, 1e8), some_time(d, 500ns, 50us)};
    const bool alike = d.one_in(2);
    const std::size_t count = p5 ? 2 : d.between(2, 4);
    const bool by_processor = dice{s, 7}.one_in(4);
    for (std::size_t i = 0; i < count; ++i) {
        sim::host_options h;
        h.nic = some_nic(d, what == dealings::large, like, alike);
        h.nic.by_processor = by_processor;
        h.gpus = 2;
        hosts.push_back(p5 ? p5_host() : many ? sim::host_options{.nic = sim::default_nic(4)} : h);
    }
    for (std::size_t i = 0; i < count && !many; ++i) agents.push_back(i);
    if (!p5 && !many && d.one_in(3)) agents.push_back(d.below(count)); // two on one host
    if (p5) {
        area_bytes = 20_MiB;
        page_bytes = 64_KiB;
        span = some_time(d, 50us, 2ms);
        agent.staging_piece = 512_KiB;
        agent.staging_bytes = 2_MiB;
    }
    if (many) { // all at once: the world looks at everybody after each event
        agent.peers.lost_after = 2s;
        span = 50us;
    }
    const std::uint64_t kind = d.below(8); // calm, rails, lives, or both
    const bool blind = dice{s, 11}.one_in(3) && !p5 && !many; // what is in VRAM is served
    for (auto& h : hosts) h.nic.hmem = !blind;
    if (kind == 0 || many) return;
    for (std::uint64_t n = kind < 6 ? d.between(1, 4) : 0, i = 0; i < n; ++i)
        mishaps.push_back({.what = mishap_kind::fault, .fault = some_fault(d, i, span)});
    for (std::uint64_t n = kind < 6 ? d.below(8) : 0; n != 0; --n) mishaps.push_back(some_outage(d, *this));
    for (std::uint64_t n = kind >= 4 ? d.between(1, 5) : 0; n != 0; --n) mishaps.push_back(some_life(d, *this));
    // Memory that is being served must not go.
    if (any(mishap_kind::destroy))
        for (auto& h : hosts) h.nic.hmem = true;
}

bool meeting::any(mishap_kind k) const noexcept
{
    return std::any_of(mishaps.begin(), mishaps.end(), [k](const mishap& m) { return m.what == k; });
}

bool meeting::any(sim::fault_kind k) const noexcept
{
    return std::any_of(mishaps.begin(), mishaps.end(),
                       [k](const mishap& m) { return m.what == mishap_kind::fault && m.fault.what == k; });
}

bool meeting::may_lose_rails() const noexcept
{
    return any(fault_kind::dark) || any(fault_kind::broken) || any(mishap_kind::outage);
}

bool meeting::may_lose_peers() const noexcept
{
    const auto blackout = [this](const mishap& m) {
        return m.what == mishap_kind::outage && m.extent > agent.peers.lost_after / 8;
    };
    return any(fault_kind::dark) || any(fault_kind::broken) || any(fault_kind::lose) ||
           std::any_of(mishaps.begin(), mishaps.end(), blackout);
}

bool meeting::is_long(const mishap& m) const noexcept
{
    return m.extent > std::max(agent.peers.longest_gap, agent.peers.lost_after / 4);
}

duration meeting::patience() const noexcept
{
    duration all = 2 * (agent.rails.give_up + agent.rails.quarantine + agent.peers.lost_after + agent.peers.longest_gap) + 2 * span + 1s;
    // The last of them goes through one staging buffer, each piece of it with a request of its own to a store.
    if (what == dealings::large)
        all += sim::default_store().latency * static_cast<std::int64_t>(operations * (longest / agent.staging_piece + 1));
    for (const mishap& m : mishaps) all += 2 * m.extent + 4 * (m.what == mishap_kind::fault ? m.fault.extent : duration{});
    return all;
}

std::string meeting::describe() const
{
    char line[240];
    std::string rails;
    for (const auto& h : hosts) rails += (rails.empty() ? "" : ", ") + std::to_string(h.nic.rails.size());
    std::snprintf(line, sizeof line, "  between hosts: %s, %zu operations in %.3f ms, %zu agents, rails %s\n",
                  std::string{name_of(what)}.c_str(), operations, static_cast<double>(span.count()) / 1e6, agents.size(),
                  rails.c_str());
    std::string all = line;
    const auto ms = [](duration t) { return t == duration::max() ? -1.0 : static_cast<double>(t.count()) / 1e6; };
    for (std::size_t i = 0; i < mishaps.size(); ++i) {
        const mishap& m = mishaps[i];
        if (m.what == mishap_kind::fault)
            std::snprintf(line, sizeof line, "  mishap %zu: %-12s %-7s chance %.4f, extent %.3f ms, from %.3f ms to %.3f ms\n", i,
                          std::string{sim::name_of(m.fault.what)}.c_str(), m.fault.device.c_str(), m.fault.chance,
                          ms(m.fault.extent), ms(m.fault.from), ms(m.fault.until));
        else
            std::snprintf(line, sizeof line, "  mishap %zu: %-12s at %.3f ms for %.3f ms, %u and %u, name %zu, state %u x %.2f%s\n", i,
                          std::string{name_of(m.what)}.c_str(), ms(m.at), ms(m.extent), m.who, m.other, m.name,
                          static_cast<unsigned>(m.state), m.speed, m.again ? ", again" : "");
        all += line;
    }
    return all;
}

} // namespace wye::sweep
