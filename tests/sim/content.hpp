// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <crc32c.hpp>

namespace wye::sweep {

// What fills memory and files, and how it is compared: most of what a seed costs is this, so it goes by words.

/// Bytes that look like nothing else in the world, by a generator of 64 bits (Steele et al., SplitMix).
inline void draw_over(std::span<std::byte> b, std::uint64_t seed) noexcept
{
    for (std::size_t i = 0; i < b.size(); i += sizeof seed) {
        std::uint64_t z = seed += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z ^= z >> 27;
        std::memcpy(b.data() + i, &z, std::min(sizeof z, b.size() - i));
    }
}

/// Where the two, of the same length, first differ; their length when nowhere.
inline std::size_t first_difference(std::span<const std::byte> a, std::span<const std::byte> b) noexcept
{
    if (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0) return a.size();
    return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
}

/// The first byte that is not `x`; the length when all are.
inline std::size_t first_other(std::span<const std::byte> a, std::byte x) noexcept
{
    // Equal to itself moved by one, and the first one right: all are.
    if (a.empty() || (a[0] == x && std::memcmp(a.data(), a.data() + 1, a.size() - 1) == 0)) return a.size();
    return static_cast<std::size_t>(std::find_if(a.begin(), a.end(), [x](std::byte y) { return y != x; }) - a.begin());
}

inline std::uint32_t checksum(std::span<const std::byte> b) noexcept
{
    return wye::detail::crc32c_finish(wye::detail::crc32c_extend(0, b.data(), b.size()), b.size());
}

} // namespace wye::sweep
