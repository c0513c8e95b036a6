// SPDX-License-Identifier: Apache-2.0
#include "content.hpp"

#include <cstring>

namespace pd {

namespace {

constexpr std::size_t word_bytes = sizeof(std::uint64_t);
constexpr std::uint64_t step = 0xd1342543de82ef95; // odd, so that no two words of a run are the same
constexpr std::uint64_t spoilt = 0x0badbadbadbadbad;

std::uint64_t mixed(std::uint64_t z) noexcept // splitmix64
{
    z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/// The first word of a head's part of a token.
std::uint64_t first_word(const page_id& p, std::uint32_t head, std::uint32_t token) noexcept
{
    const std::uint64_t tensor = mixed(std::uint64_t{p.request} << 32 | p.layer << 16 | p.half << 15 | (p.first_head + head));
    return mixed(tensor + p.first_token + token);
}

/// Calls `each(words, first word)` for each head of each token.
template <class Byte, class Each>
void walk(const layout& l, const page_id& p, std::span<Byte> page, Each each) noexcept
{
    Byte* at = page.data();
    for (std::uint32_t head = 0; head < l.heads; ++head)
        for (std::uint32_t token = 0; token < l.page_tokens; ++token, at += l.head_bytes)
            each(at, first_word(p, head, token));
}

} // namespace

void compute(const layout& l, const page_id& p, std::span<std::byte> page) noexcept
{
    walk(l, p, page, [&](std::byte* at, std::uint64_t word) {
        for (std::size_t i = 0; i < l.head_bytes; i += word_bytes, word += step) std::memcpy(at + i, &word, word_bytes);
    });
}

bool holds(const layout& l, const page_id& p, std::span<const std::byte> page) noexcept
{
    std::uint64_t difference = 0;
    walk(l, p, page, [&](const std::byte* at, std::uint64_t word) {
        for (std::size_t i = 0; i < l.head_bytes; i += word_bytes, word += step) {
            std::uint64_t is;
            std::memcpy(&is, at + i, word_bytes);
            difference |= is ^ word;
        }
    });
    return difference == 0;
}

void spoil(const layout& l, std::span<std::byte> page) noexcept
{
    for (std::size_t i = 0; i < page.size(); i += l.head_bytes) std::memcpy(page.data() + i, &spoilt, word_bytes);
}

} // namespace pd
