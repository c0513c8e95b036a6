// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wye/sim.hpp>

#include "random.hpp"

namespace wye::sim::detail {

using time_point = virtual_clock::time_point;
using bytes = std::vector<std::byte>;

/// The part of a host that does things, shared by the drivers of all its agents.
struct device {
    std::string name;
    device_model model;
    std::vector<time_point> free_at; ///< by channel
    time_point stalled_until{}, refuses_until{};
    std::size_t held = 0, most_held = 0;
    bool on_hold = false;
    std::vector<std::function<void()>> parked; ///< what would have happened while it was
};

/// A rail, shared by the drivers of all agents of its host.
struct rail {
    rail_model model;
    rail_state state = rail_state::up;
    double speed = 1;
    time_point out_free{}, in_free{};
    std::uint64_t carried = 0;
    std::size_t held = 0;
    std::vector<std::function<void()>> parked; ///< what would have happened while it was dark
};

struct nic {
    device self;                 ///< what all devices have
    nic_model model;
    std::vector<rail> rails;
    time_point processor_free{}; ///< when it may post again
};

struct machine {
    machine(universe&, std::string name, const host_options&);
    device* find(std::string_view device_name) noexcept;

    universe& in;
    const std::string name;
    const std::uint64_t disk_bytes;
    device memory, gpu, disk, store;
    detail::nic nic;
    std::map<std::string, std::shared_ptr<bytes>> files;
};

class rails_driver;

/// A way into some memory, for those who have its key.
struct door {
    machine* of = nullptr;
    std::uint64_t endpoint = 0; ///< whose process has to live for it; 0: nobody's
    const segment* what = nullptr;
    std::byte* base = nullptr;
    std::uint64_t length = 0;
    wye::access allows{};
};

/// A fault that was injected, and its stream.
struct hazard {
    sim::fault fault;
    random_stream random;
};

/// An agent and the runtime that is its own.
struct party {
    party(universe&, std::string name, machine&, const agent_options&);
    ~party();
    wye::runtime rt;
    std::optional<wye::agent> it;
    machine& on;
    bool crashed = false;
    time_point stalled_until{};
    bool runs(time_point now) const noexcept { return !crashed && now >= stalled_until; }
};

/// What a world is made of, as its devices see it.
struct universe final : virtual_clock {
    explicit universe(std::uint64_t seed);
    ~universe();

    bool pass(time_point next) noexcept override;
    std::uint64_t draw() noexcept override { return names.next(); }
    bool lives(std::uint64_t endpoint) const { return endpoint == 0 || endpoints.contains(endpoint); }
    void at(time_point, std::function<void()>);
    void jump(duration by) noexcept { now_ += by; }
    /// The active fault of this kind that strikes now, or null; at most one does.
    hazard* strikes(fault_kind, const device&) noexcept;
    void complain(std::string what) { complaints.push_back(std::move(what)); }
    void note(std::initializer_list<std::uint64_t> words) noexcept;
    std::size_t poll_all();
    time_point next_timer() const noexcept;

    const std::uint64_t seed;
    random_stream random, names;
    std::deque<hazard> hazards;
    std::map<std::uint64_t, rails_driver*> endpoints; ///< those that listen
    std::map<std::uint64_t, machine*> homes;          ///< of all that ever were
    std::map<std::uint64_t, door> doors;              ///< by key
    std::uint64_t endpoints_made = 0, doors_made = 0;
    std::map<std::string, std::shared_ptr<const stored_object>> objects;
    std::vector<std::string> complaints;
    observer* seen_by = nullptr;
    std::uint64_t digest = 0, happened = 0;
    std::deque<machine> machines;
    party& party_of(const agent&) noexcept;
    machine& host_of(const agent& a) noexcept { return party_of(a).on; }
    std::optional<wye::runtime> director;
    std::vector<std::unique_ptr<party>> parties;

private:
    struct event {
        time_point when;
        std::uint64_t order;
        std::function<void()> what;
    };
    static bool later(const event& a, const event& b) noexcept
    {
        return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
    void happen();

    std::vector<event> events_; // a heap
    std::uint64_t order_ = 0;
};

/// When the world begins: not at the epoch, which stands for no time at all.
inline constexpr time_point beginning{std::chrono::hours{1}};

/// The drivers that give an agent what its host has.
void equip(agent&, machine&);
std::unique_ptr<driver> nic_driver(machine&);
std::unique_ptr<driver> memory_driver(machine&);
std::unique_ptr<driver> gpu_driver(machine&);
std::unique_ptr<driver> disk_driver(machine&);
std::unique_ptr<driver> store_driver(machine&);

} // namespace wye::sim::detail
