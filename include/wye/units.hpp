// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>

namespace wye {

/// `64_KiB`, `2_MiB`, `1_GiB`: byte counts, powers of 1024. Visible inside namespace wye; elsewhere say
/// `using namespace wye::literals;`.
inline namespace literals {

consteval std::size_t operator""_KiB(unsigned long long n) { return static_cast<std::size_t>(n) << 10; }
consteval std::size_t operator""_MiB(unsigned long long n) { return static_cast<std::size_t>(n) << 20; }
consteval std::size_t operator""_GiB(unsigned long long n) { return static_cast<std::size_t>(n) << 30; }

} // namespace literals

/// Durations of the interface are nanoseconds; every coarser chrono duration converts to it.
using duration = std::chrono::nanoseconds;

} // namespace wye
