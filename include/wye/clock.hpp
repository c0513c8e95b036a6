// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace wye {

/// Time that somebody else keeps: what a runtime goes by instead of the system's steady clock when
/// `runtime_options::clock` names one. `sim::world` is one. Such a runtime never sleeps and never naps; when it has
/// nothing to do it lets the clock go on.
///
/// On the runtime's thread, and it outlives the runtime. It never shows its epoch, which stands for no time at all.
/// Asio's own timers know nothing of it.
class virtual_clock {
public:
    using time_point = std::chrono::steady_clock::time_point;

    virtual_clock() = default;
    virtual_clock(const virtual_clock&) = delete;
    virtual_clock& operator=(const virtual_clock&) = delete;

    time_point now() const noexcept { return now_; }
    /// Nothing is ready: time goes on until something happens, at the latest until `next`, which is when the caller
    /// has something to do (`time_point::max()`: never). False when nothing will ever happen.
    virtual bool pass(time_point next) noexcept = 0;
    /// What is drawn at random where the system's clock would go with the system's randomness: names of lives and
    /// connections. Different each time, and the same in each run.
    virtual std::uint64_t draw() noexcept = 0;

protected:
    ~virtual_clock() = default;

    time_point now_{};
};

} // namespace wye
