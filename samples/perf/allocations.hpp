// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Counts every allocation of this program, C++ or not, by standing in front of malloc.
namespace perf::allocations {

/// Whether it counts: not on another C library than glibc, nor under a sanitizer, which stands there itself.
extern const bool counted;

std::uint64_t calls() noexcept;     ///< since the program began
std::int64_t live_bytes() noexcept; ///< allocated and not freed, as the heap rounds them

} // namespace perf::allocations
