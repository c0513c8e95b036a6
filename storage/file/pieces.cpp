// SPDX-License-Identifier: Apache-2.0
#include "pieces.hpp"

#include <algorithm>

namespace wye::storage {

namespace {

bool aligned(std::uint64_t value, std::uint64_t power) noexcept { return (value & (power - 1)) == 0; }

std::uint32_t whole_blocks(std::uint64_t bytes, std::uint32_t granule) noexcept
{
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, longest_piece)) & ~(granule - 1);
}

} // namespace

piece cut_read(std::uint64_t offset, std::uint64_t left, std::uintptr_t address, alignment a,
               std::uint32_t slot) noexcept
{
    const auto skip = static_cast<std::uint32_t>(offset & (a.granule - 1));
    if (skip == 0 && left >= a.granule && aligned(address, a.memory))
        return {way::straight, whole_blocks(left, a.granule), 0};

    // Where the memory lines up with the next block, the rest needs no copy.
    const bool lines_up = skip != 0 && aligned(address + a.granule - skip, a.memory);
    const std::uint32_t reach = lines_up ? a.granule : slot;
    const std::uint64_t blocks =
        (std::min<std::uint64_t>(left, reach) + skip + a.granule - 1) & ~(a.granule - 1ull);
    return {way::bounced, static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, reach)), skip};
}

piece cut_write(std::uint64_t offset, std::uint64_t left, std::uintptr_t address, alignment a,
                std::uint32_t slot) noexcept
{
    const auto into = static_cast<std::uint32_t>(offset & (a.granule - 1));
    if (into != 0 || left < a.granule)
        return {way::cached, static_cast<std::uint32_t>(std::min<std::uint64_t>(left, a.granule - into)), 0};
    if (aligned(address, a.memory)) return {way::straight, whole_blocks(left, a.granule), 0};
    return {way::bounced, std::min(whole_blocks(left, a.granule), slot), 0};
}

} // namespace wye::storage
