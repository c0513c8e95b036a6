// SPDX-License-Identifier: Apache-2.0
#include "content.hpp"

namespace kv {

namespace {

/// Mixes the id (splitmix64), so that blocks of neighbouring ids share no word.
std::uint64_t first_word(std::uint64_t id) noexcept
{
    std::uint64_t z = id + 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

// Odd, so that no two words of a block are the same; a sum rather than a hash, so that loops become vectors.
constexpr std::uint64_t step = 0xd1342543de82ef95;

} // namespace

void prefill(std::uint64_t id, std::span<std::byte> block) noexcept
{
    auto* const words = reinterpret_cast<std::uint64_t*>(block.data());
    const std::uint64_t first = first_word(id);
    const std::size_t count = block.size() / sizeof *words;
    for (std::size_t i = 0; i < count; ++i) words[i] = first + i * step;
}

bool holds(std::uint64_t id, std::span<const std::byte> block) noexcept
{
    const auto* const words = reinterpret_cast<const std::uint64_t*>(block.data());
    const std::uint64_t first = first_word(id);
    const std::size_t count = block.size() / sizeof *words;
    std::uint64_t difference = 0;
    for (std::size_t i = 0; i < count; ++i) difference |= words[i] ^ (first + i * step);
    return difference == 0;
}

} // namespace kv
