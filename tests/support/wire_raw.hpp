// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <crc32c.hpp>
#include <peers/wire.hpp>

namespace wire = wye::detail::wire;

/// What a stranger could send who knows the format and keeps to none of its rules.
namespace forged {

struct raw : wire::bytes {
    template <std::integral T>
    raw& put(T value)
    {
        for (std::size_t i = 0; i < sizeof value; ++i)
            push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
        return *this;
    }
    raw& u8(std::size_t v) { return put(static_cast<std::uint8_t>(v)); }
    raw& u16(std::size_t v) { return put(static_cast<std::uint16_t>(v)); }
    raw& u32(std::size_t v) { return put(static_cast<std::uint32_t>(v)); }
    raw& zeros(std::size_t n)
    {
        resize(size() + n);
        return *this;
    }
    raw& name(std::string_view text) { return u8(text.size()).all(std::as_bytes(std::span{text})); }
    raw& all(wire::view v)
    {
        for (const std::byte b : v) push_back(b); // not insert, of whose copies g++ 12 warns
        return *this;
    }
    raw& section(std::uint32_t tag, wire::view body) { return u32(tag).u32(body.size()).all(body); }
    raw& record(std::uint8_t kind, wire::view body) { return u8(kind).u16(body.size()).all(body); }
};

// Metadata.

/// Sections with the header that belongs to them.
inline wire::bytes sealed(const raw& sections)
{
    const auto linear = wye::detail::crc32c_extend(0, sections.data(), sections.size());
    raw out;
    out.all(std::as_bytes(std::span{std::string_view{"wyeM"}})).u32(1).u32(16 + sections.size());
    return out.u32(wye::detail::crc32c_finish(linear, sections.size())).all(sections);
}
inline raw about() { return raw{}.name("a").zeros(24); }
inline raw way(std::string_view fabric, std::size_t address = 0) { return raw{}.name(fabric).u16(address).zeros(address); }
/// All of a publication but its grants.
inline raw published(std::string_view name, unsigned tier = 0, unsigned access = 0)
{
    return raw{}.name(name).u8(tier).u8(access).zeros(4 + 3 * 8);
}
inline raw grants(std::size_t count, std::size_t there, std::size_t description = 0)
{
    raw r;
    r.u8(count);
    for (std::size_t i = 0; i < there; ++i)
        r.name(std::string(1, static_cast<char>('a' + i))).u16(description).zeros(description);
    return r;
}
/// Metadata of an agent, and one more section.
inline wire::bytes with(std::uint32_t tag, const raw& body) { return sealed(raw{}.section(1, about()).section(tag, body)); }

// Frames.

inline wire::bytes framed(const raw& records)
{
    wire::bytes header;
    wire::begin_frame(header, {.number = 1});
    return raw{}.all(header).all(records);
}

} // namespace forged
