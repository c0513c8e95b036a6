// SPDX-License-Identifier: Apache-2.0
#include "base64.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace wye::detail::etcd {

namespace {

constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t none = 0xff;

constexpr auto values = [] {
    std::array<std::uint8_t, 256> v{};
    v.fill(none);
    for (std::size_t i = 0; i < letters.size(); ++i) v[static_cast<unsigned char>(letters[i])] = static_cast<std::uint8_t>(i);
    return v;
}();

} // namespace

std::string to_base64(std::span<const std::byte> from)
{
    std::string to;
    to.reserve((from.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < from.size(); i += 3) {
        const std::size_t some = std::min<std::size_t>(3, from.size() - i);
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < some ? std::to_integer<std::uint32_t>(from[i + k]) : 0);
        for (std::size_t k = 0; k < 4; ++k) to += k <= some ? letters[bits >> (18 - 6 * k) & 63] : '=';
    }
    return to;
}

std::string to_base64(std::string_view from) { return to_base64(std::as_bytes(std::span{from.data(), from.size()})); }

std::optional<std::vector<std::byte>> from_base64(std::string_view from)
{
    if (from.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && padding < from.size() && from[from.size() - 1 - padding] == '=') ++padding;
    from.remove_suffix(padding);
    std::vector<std::byte> to;
    to.reserve(from.size() / 4 * 3 + 2);
    std::uint32_t bits = 0;
    unsigned held = 0;
    for (const char c : from) {
        const std::uint8_t v = values[static_cast<unsigned char>(c)];
        if (v == none) return std::nullopt;
        bits = bits << 6 | v;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        to.push_back(static_cast<std::byte>(bits >> held));
    }
    return to;
}

} // namespace wye::detail::etcd
