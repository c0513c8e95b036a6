// SPDX-License-Identifier: Apache-2.0
#include "universe.hpp"

#include <algorithm>

#include "rails_driver.hpp"

namespace wye::sim::detail {

namespace {

/// What a loop may be late by, as loops are: what happens meanwhile it finds all at once.
constexpr std::uint64_t most_late_ns = 3000;

device make_device(std::string name, device_model m, std::uint32_t pieces = 1)
{
    m.limits.latency = m.latency;
    m.limits.bytes_per_second = m.bytes_per_second;
    device d;
    d.name = std::move(name);
    d.free_at.resize(std::max(1u, m.channels) * std::max(1u, pieces));
    d.model = m;
    return d;
}

bool holds_for(const fault& f, const device& d, duration since_beginning) noexcept
{
    return (f.device.empty() || f.device == d.name) && since_beginning >= f.from && since_beginning < f.until;
}

} // namespace

machine::machine(universe& u, std::string n, const host_options& o)
    : in{u}, name{std::move(n)}, disk_bytes{o.disk_bytes}, memory{make_device("memory", o.memory)},
      gpu{make_device("gpu", o.gpu, o.gpus)}, disk{make_device("disk", o.disk)},
      store{make_device("store", o.store)}, nic{device{.name = "nic"}, o.nic, {}, {}}
{
    for (const rail_model& m : o.nic.rails) nic.rails.push_back({.model = m});
}

device* machine::find(std::string_view device_name) noexcept
{
    for (device* d : {&memory, &gpu, &disk, &store, &nic.self})
        if (d->name == device_name) return d;
    return nullptr;
}

party::party(universe& u, std::string name, machine& m, const agent_options& o)
    : rt{runtime_options{.idle = {}, .clock = &u}}, on{m}
{
    it.emplace(rt, std::move(name), o);
    equip(*it, m);
}

party::~party()
{
    if (crashed && !on.nic.rails.empty()) nic_of(*it).bury();
}

universe::universe(std::uint64_t s) : seed{s}, random{s}, names{s ^ 0x9e3779b97f4a7c15}
{
    now_ = beginning;
    director.emplace(runtime_options{.idle = {}, .clock = this});
}

universe::~universe()
{
    // What agents drop may be coroutines of the director's, which can only be where that still is.
    while (!parties.empty()) parties.pop_back();
    director.reset();
}

void universe::at(time_point when, std::function<void()> what)
{
    events_.push_back({std::max(when, now_), order_++, std::move(what)});
    std::push_heap(events_.begin(), events_.end(), later);
}

void universe::happen()
{
    std::pop_heap(events_.begin(), events_.end(), later);
    const event e = std::move(events_.back());
    events_.pop_back();
    now_ = std::max(now_, e.when);
    ++happened;
    e.what();
}

bool universe::pass(time_point next) noexcept
{
    const time_point first = events_.empty() ? time_point::max() : events_.front().when;
    if (first == time_point::max() && next == time_point::max()) return false;
    if (next < first) {
        now_ = std::max(now_, next);
        return true;
    }
    const duration late{random.below(2) ? random.below(most_late_ns) : 0};
    const time_point last = std::min(next, std::max(first, now_) + late);
    do happen();
    while (!events_.empty() && events_.front().when <= last);
    return true;
}

hazard* universe::strikes(fault_kind what, const device& d) noexcept
{
    hazard* first = nullptr;
    for (hazard& h : hazards) // all draw, so that none depends on the others
        if (h.fault.what == what && holds_for(h.fault, d, now_ - beginning) && h.random.chance(h.fault.chance) && !first)
            first = &h;
    return first;
}

void universe::note(std::initializer_list<std::uint64_t> words) noexcept
{
    for (const std::uint64_t w : words) {
        digest = (digest ^ w) * 0x9e3779b97f4a7c15;
        digest ^= digest >> 29;
    }
}

std::size_t universe::poll_all()
{
    std::size_t n = director->poll().progress;
    for (std::size_t i = 0; i < parties.size(); ++i)
        if (parties[i]->runs(now_)) n += parties[i]->rt.poll().progress;
    return n;
}

time_point universe::next_timer() const noexcept
{
    time_point next = director->next_timer();
    for (const auto& p : parties)
        if (!p->crashed) next = std::min(next, std::max(p->rt.next_timer(), p->stalled_until));
    return next;
}

party& universe::party_of(const agent& a) noexcept
{
    const auto is = [&](const auto& p) { return &*p->it == &a; };
    return **std::find_if(parties.begin(), parties.end(), is);
}

} // namespace wye::sim::detail
