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

/// A fault that was injected, and its stream.
struct hazard {
    sim::fault fault;
    random_stream random;
};

/// An agent and the runtime that is its own.
struct party {
    party(universe&, std::string name, machine&, const agent_options&);
    wye::runtime rt;
    std::optional<wye::agent> it;
    machine& on;
};

/// What a world is made of, as its devices see it.
struct universe final : virtual_clock {
    explicit universe(std::uint64_t seed);
    ~universe();

    bool pass(time_point next) noexcept override;
    void at(time_point, std::function<void()>);
    void jump(duration by) noexcept { now_ += by; }
    /// The active fault of this kind that strikes now, or null; at most one does.
    hazard* strikes(fault_kind, const device&) noexcept;
    void complain(std::string what) { complaints.push_back(std::move(what)); }
    void note(std::initializer_list<std::uint64_t> words) noexcept;
    std::size_t poll_all();
    time_point next_timer() const noexcept;

    const std::uint64_t seed;
    random_stream random;
    std::deque<hazard> hazards;
    std::map<std::string, std::shared_ptr<const stored_object>> objects;
    std::vector<std::string> complaints;
    observer* seen_by = nullptr;
    std::uint64_t digest = 0, happened = 0;
    std::deque<machine> machines;
    machine& host_of(const agent&) noexcept;
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
/// What `theirs` is to an agent of another host.
std::unique_ptr<segment> remote_segment(driver& nic, machine& there, std::uint32_t peer, const slice& theirs);
std::unique_ptr<driver> memory_driver(machine&);
std::unique_ptr<driver> gpu_driver(machine&);
std::unique_ptr<driver> disk_driver(machine&);
std::unique_ptr<driver> store_driver(machine&);

} // namespace wye::sim::detail
