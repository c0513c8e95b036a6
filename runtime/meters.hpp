// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include <wye/metrics.hpp>

#include "progress_loop.hpp"

namespace wye::detail {

using steady = std::chrono::steady_clock;

/// Time with something in flight, by the clock of a loop. The clock is read when work begins after a pause; the end of the pause before
/// it is noticed when the loop finds nothing to do, off the hot path.
class busy_meter {
public:
    void begin(const progress_loop& l) noexcept
    {
        if (in_flight_++ == 0 && since_ == steady::time_point{}) since_ = l.now();
    }
    void end() noexcept { --in_flight_; }
    void idle(steady::time_point now) noexcept
    {
        if (in_flight_ || since_ == steady::time_point{}) return;
        total_ += now - since_;
        since_ = {};
    }
    std::uint64_t in_flight() const noexcept { return in_flight_; }
    duration total(steady::time_point now) const noexcept
    {
        return since_ == steady::time_point{} ? total_ : total_ + (now - since_);
    }

private:
    std::uint64_t in_flight_ = 0;
    steady::time_point since_{};
    duration total_{};
};

struct pair_meter {
    std::uint64_t bytes = 0, operations = 0, errors = 0;
    busy_meter busy;
    latency_histogram latency;
};

struct driver_meter {
    std::uint64_t bytes = 0, operations = 0, errors = 0, retries = 0, refusals = 0;
    busy_meter busy;
    latency_histogram latency;

    static constexpr std::uint64_t enough = 4 << 20; ///< bytes from which on a measured rate is believed
    bool measured(steady::time_point now) const noexcept { return bytes >= enough && busy.total(now).count() > 0; }
    double bytes_per_second(steady::time_point now) const noexcept
    {
        return static_cast<double>(bytes) / std::chrono::duration<double>(busy.total(now)).count();
    }
};

/// Small things are sampled: reading the clock thrice costs a few hundredths of what copying 64 KiB within memory does.
constexpr bool sampled(std::uint64_t count, std::uint64_t bytes) noexcept
{
    return bytes > (64 << 10) || count % 64 == 0;
}

} // namespace wye::detail
