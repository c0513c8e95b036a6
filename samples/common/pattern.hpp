// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace samples {

/// Bytes that nobody else has: what they are follows from a seed, so that whoever knows it can check them.
inline std::uint64_t word_at(std::uint64_t seed, std::uint64_t index)
{
    const std::uint64_t z = (seed + index) * 0x9e3779b97f4a7c15;
    return z ^ z >> 29;
}

inline void fill(std::span<std::byte> b, std::uint64_t seed)
{
    for (std::size_t i = 0; i < b.size(); i += 8) {
        const std::uint64_t w = word_at(seed, i);
        std::memcpy(b.data() + i, &w, std::min<std::size_t>(8, b.size() - i));
    }
}

inline bool holds(std::span<const std::byte> b, std::uint64_t seed)
{
    for (std::size_t i = 0; i < b.size(); i += 8) {
        const std::uint64_t w = word_at(seed, i);
        if (std::memcmp(b.data() + i, &w, std::min<std::size_t>(8, b.size() - i)) != 0) return false;
    }
    return true;
}

} // namespace samples
