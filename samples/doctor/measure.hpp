// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "line.hpp"

namespace doctor {

class stopwatch {
public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

enum class direction : std::uint8_t { write, read };

/// What the area holds is moved as one batch of blocks, again and again for so long; in bytes a second. Writes come out
/// of the front half, reads go into the back one.
wye::task<double> rate_of(line&, direction, std::size_t block, double seconds);

struct rates {
    double write = 0, read = 0; ///< bytes a second
    bool right = false;         ///< what was written came back
};
wye::task<rates> both_rates(line&, std::uint64_t seed, std::size_t block, double seconds);

struct latencies {
    std::size_t n = 0;
    double p50 = 0, p99 = 0, most = 0; ///< microseconds
};
latencies summary(std::vector<double> microseconds);

enum class small : std::uint8_t {
    write,
    write_told, ///< with a notification, which the peer has when the copy ends
    read,
    word, ///< a notification alone
};
wye::task<latencies> latencies_of(talk&, small, std::size_t bytes, double seconds);

/// The bytes of the area, in blocks.
std::vector<wye::transfer> blocks(line&, direction, std::size_t length, std::size_t block);

} // namespace doctor
