// SPDX-License-Identifier: Apache-2.0
#include "wire.hpp"

#include <cstring>
#include <limits>
#include <type_traits>

namespace wye::nearby {

namespace {

constexpr std::uint32_t address_magic = 0x61'65'79'77, description_magic = 0x64'65'79'77; // "wyea", "wyed"
constexpr std::uint32_t version = 2;

template <class T>
struct framed {
    std::uint32_t magic, version;
    T body;
};
static_assert(std::has_unique_object_representations_v<framed<directions>> &&
              std::has_unique_object_representations_v<framed<description>>);

template <class T>
std::vector<std::byte> encode(std::uint32_t magic, const T& body)
{
    const framed<T> all{magic, version, body};
    const auto bytes = std::as_bytes(std::span{&all, 1});
    return {bytes.begin(), bytes.end()};
}

template <class T>
std::optional<T> decode(std::uint32_t magic, std::span<const std::byte> in) noexcept
{
    framed<T> all;
    if (in.size() != sizeof all) return std::nullopt;
    std::memcpy(&all, in.data(), sizeof all);
    if (all.magic != magic || all.version != version) return std::nullopt;
    return all.body;
}

} // namespace

std::vector<std::byte> encode(const directions& a) { return encode(address_magic, a); }
std::vector<std::byte> encode(const description& d) { return encode(description_magic, d); }

std::optional<directions> decode_directions(std::span<const std::byte> in) noexcept
{
    const auto a = decode<directions>(address_magic, in);
    const bool sound = a && a->pid > 0 && a->pid <= std::numeric_limits<pid_t>::max() && a->box >= 0 && a->knocker >= 0 && a->bell >= 0;
    return sound ? a : std::nullopt;
}

std::optional<description> decode_description(std::span<const std::byte> in) noexcept
{
    const auto d = decode<description>(description_magic, in);
    const bool sound = d && d->token != 0 && d->seal != 0 && d->writable <= 1 && d->base <= ~d->length && d->exported < most_exports;
    return sound ? d : std::nullopt;
}

} // namespace wye::nearby
