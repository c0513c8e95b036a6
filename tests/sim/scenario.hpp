// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <wye/sim.hpp>

namespace wye::sweep {

/// Random numbers of a test: those of one purpose depend on no other's.
class dice {
public:
    explicit dice(std::uint64_t seed, std::uint64_t purpose) : random_{seed * 0x9e3779b97f4a7c15 + purpose} {}
    std::uint64_t next() { return random_(); }
    std::uint64_t below(std::uint64_t n) { return n ? random_() % n : 0; }
    std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + below(most - least + 1); }
    bool one_in(std::uint64_t n) { return below(n) == 0; }
    /// Between the two, each order of magnitude as likely as the next.
    double scale(double least, double most);

private:
    std::mt19937_64 random_;
};

/// What callers do.
enum class workload : std::uint8_t { random, pages, huge, tiny, cancellations, deadlines, priorities };
inline constexpr std::size_t workload_count = 7;
std::string_view name_of(workload) noexcept;

/// A world and what happens in it, all of it drawn from one seed.
struct scenario {
    explicit scenario(std::uint64_t seed);

    std::uint64_t seed;
    workload what;
    sim::host_options host;
    agent_options agent;
    std::size_t tenants = 1;        ///< agents that share the host's devices
    std::size_t area_bytes = 0;     ///< of each tier and tenant
    std::size_t operations = 0;
    duration span{};                ///< in which they begin
    bool leaves = false;            ///< a tenant goes in the middle of it
    std::vector<sim::fault> faults;

    std::string describe() const;
};

} // namespace wye::sweep
