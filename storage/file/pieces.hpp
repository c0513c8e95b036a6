// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace wye::storage {

/// How some bytes of a chunk travel.
enum class way : std::uint8_t {
    straight, ///< O_DIRECT, between the caller's memory and the device
    bounced,  ///< O_DIRECT, by way of an aligned buffer of ours and a copy
    cached,   ///< through the page cache
};

/// What an open file asks of O_DIRECT.
struct alignment {
    std::uint32_t granule = 4096; ///< of offsets and lengths: a power of two, never less than a page
    std::uint32_t memory = 4096;  ///< of addresses: a power of two
};

/// The next step of a chunk on a file that is open for O_DIRECT.
struct piece {
    way how = way::cached;
    std::uint32_t length = 0; ///< bytes that the device is asked for
    std::uint32_t skip = 0;   ///< of which so many come before those wanted (`bounced` reads only)
};

/// The longest step: a read or write of 2 GiB or more would be cut short by the kernel.
inline constexpr std::uint32_t longest_piece = 1u << 30;

/// Cuts the next step of a read at `offset` with `left` bytes to go into `address`. `slot` is the size of a
/// bounce buffer, a multiple of the granule.
///
/// A read may fetch whole blocks around what is wanted, so it always goes past the page cache.
piece cut_read(std::uint64_t offset, std::uint64_t left, std::uintptr_t address, alignment,
               std::uint32_t slot) noexcept;

/// The same for a write. A partial block is written through the page cache: the kernel merges it with what
/// surrounds it, under its own locks, whoever else writes there, and leaves the file's size exact. Reading,
/// merging and writing back whole blocks ourselves could do neither across descriptors and processes. Since
/// a granule is at least a page, no page is ever written both ways by disjoint writes; and where the two meet
/// in time, the kernel writes back and drops cached pages before it reads or writes them directly.
piece cut_write(std::uint64_t offset, std::uint64_t left, std::uintptr_t address, alignment,
                std::uint32_t slot) noexcept;

} // namespace wye::storage
