// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace wye::sim::detail {

/// A stream of random numbers (splitmix64), the same everywhere: standard distributions differ between libraries.
class random_stream {
public:
    explicit random_stream(std::uint64_t seed) noexcept : state_{seed} {}

    std::uint64_t next() noexcept
    {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    /// In [0, n); 0 for 0.
    std::uint64_t below(std::uint64_t n) noexcept { return n ? next() % n : 0; }
    bool chance(double p) noexcept { return static_cast<double>(next() >> 11) < p * 9007199254740992.0; }

private:
    std::uint64_t state_;
};

} // namespace wye::sim::detail
