// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <wye/segment.hpp>

#include "box.hpp"
#include "process.hpp"

/// What agents of one machine tell others of themselves: in that machine's byte order, since it makes no sense elsewhere.
namespace wye::nearby {

/// How an agent is reached.
struct directions {
    host_identity host;
    std::int64_t pid = 0;
    std::uint64_t began = 0;          ///< the process
    std::int32_t box = -1, knocker = -1, bell = -1, unused = 0; ///< its descriptors: a memfd, a pipe, an eventfd
    identity who, door;
    std::uint64_t nonce_at = 0;       ///< an address in it
    identity nonce;                   ///< what lies there
};

/// What lets a peer at memory.
struct description {
    std::uint64_t token = 0;      ///< for writes; the number of the grant is its lowest 16 bits
    std::uint64_t seal = 0;       ///< for reads: what `box_header::grants` holds as long as it is good
    std::uint64_t base = 0, length = 0; ///< of a GPU: from its place in what is exported
    std::uint64_t writable = 0;
    std::uint64_t serial = 0;     ///< of a GPU: `export_name`; else 0
    std::uint64_t exported = 0;
    export_name name() const noexcept { return {serial, static_cast<std::uint32_t>(exported)}; }
    std::uint32_t number() const noexcept { return static_cast<std::uint32_t>(token % most_grants); }
};

std::vector<std::byte> encode(const directions&);
std::vector<std::byte> encode(const description&);
std::optional<directions> decode_directions(std::span<const std::byte>) noexcept;
std::optional<description> decode_description(std::span<const std::byte>) noexcept;

} // namespace wye::nearby
