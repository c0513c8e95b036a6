// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <wye/segment.hpp>
#include <wye/units.hpp>

namespace wye {

/// Counts by powers of two of nanoseconds: `counts[i]` holds latencies in [2^i, 2^(i+1)) ns. Small
/// transfers (under 64 KiB) are sampled one in sixty-four, since reading the clock twice costs more than
/// carrying them.
struct latency_histogram {
    std::array<std::uint64_t, 40> counts{};
    void add(duration) noexcept;
    std::uint64_t samples() const noexcept;
    /// The upper edge of the bucket that holds the quantile (0 to 1); zero without samples.
    duration quantile(double) const noexcept;
};

/// What happened between two tiers.
struct pair_metrics {
    wye::tier from{}, to{};
    std::uint64_t bytes = 0;      ///< that arrived
    std::uint64_t operations = 0; ///< transfers that ended, well or not
    std::uint64_t errors = 0;     ///< of which not well
    std::uint64_t in_flight = 0;  ///< transfers begun and not ended
    duration busy{};              ///< time with at least one in flight
    latency_histogram latency;    ///< from `copy` to completion
};

/// What one rail of one driver did; most drivers have one.
struct driver_metrics {
    std::string name;
    std::uint64_t bytes = 0;
    std::uint64_t operations = 0; ///< chunks completed
    std::uint64_t errors = 0;
    std::uint64_t retries = 0;    ///< remainders asked for again after short completions
    std::uint64_t refusals = 0;   ///< submits that the driver put off
    std::uint64_t in_flight = 0;  ///< chunks
    double bytes_per_second = 0;  ///< measured while busy; nominal before that
    latency_histogram latency;    ///< of a chunk, from submit to done
    std::uint32_t rail = 0;
};

struct metrics {
    std::vector<pair_metrics> pairs;     ///< those that were used
    std::vector<driver_metrics> drivers;
    std::uint64_t operations = 0;        ///< copies begun
    std::uint64_t cancelled = 0;
    std::uint64_t deadlines_missed = 0;
    std::uint64_t corruptions = 0;       ///< checksum mismatches
    std::uint64_t staging_bytes = 0;     ///< the bounded pool
    std::uint64_t staging_in_use = 0;
};

} // namespace wye
