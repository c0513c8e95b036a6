// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scenario.hpp"

namespace wye::sweep {

/// What agents on different hosts do with each other.
enum class dealings : std::uint8_t { mixed, pages, large, tiny, cancellations, deadlines, p5, thousand, shares };
inline constexpr std::size_t dealings_count = 9;
std::string_view name_of(dealings) noexcept;

/// What may happen to agents, their memory and their rails.
enum class mishap_kind : std::uint8_t {
    fault,      ///< of devices, by chance
    outage,     ///< a rail is not as it was for a while
    crash,      ///< an agent is killed, and perhaps comes again under its name
    leave,      ///< an agent ends as it should
    stall,      ///< its thread is busy elsewhere
    anew,       ///< it publishes other memory under the same name
    unpublish,  ///< and publishes it again, later
    revoke,     ///< one peer is sent away
    destroy,    ///< published memory goes without a word
    disconnect, ///< a handle is dropped
};
inline constexpr std::size_t mishap_kind_count = 10;
std::string_view name_of(mishap_kind) noexcept;

struct mishap {
    mishap_kind what{};
    duration at{}, extent{};
    std::uint32_t who = 0, other = 0; ///< agents; of an outage a host and its rail
    std::size_t name = 0;             ///< of what is published
    bool again = false;               ///< it comes back
    sim::rail_state state{};
    double speed = 1;
    sim::fault fault;
};

/// Hosts, agents that deal with each other, and what goes wrong, all of it drawn from one seed.
struct meeting {
    explicit meeting(std::uint64_t seed);

    std::uint64_t seed;
    dealings what{};
    std::vector<sim::host_options> hosts;
    std::vector<std::size_t> agents;  ///< the host of each
    agent_options agent;
    std::size_t area_bytes = 0;       ///< of each stretch of memory
    std::size_t page_bytes = 0;
    std::size_t operations = 0;
    duration span{};                  ///< in which they begin
    std::vector<mishap> mishaps;

    /// What is taken from the list of mishaps, which may have been shortened.
    bool any(mishap_kind) const noexcept;
    bool any(sim::fault_kind) const noexcept;
    bool may_lose_rails() const noexcept;
    /// Messages may be lost so often that an agent seems dead that is not.
    bool may_lose_peers() const noexcept;
    bool is_long(const mishap&) const noexcept; ///< a stall that others do not put up with
    static constexpr std::size_t longest = 64_KiB + 1_MiB; ///< bytes, of large dealings
    /// By then whatever was begun has ended.
    duration patience() const noexcept;
    std::string describe() const;
};

} // namespace wye::sweep
