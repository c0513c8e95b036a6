// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <wye/region.hpp>
#include <wye/segment.hpp>

namespace wye {

class prepared;

/// Some blocks of a prepared side, by index. Borrows both the side and the indices.
struct selection {
    const prepared* side = nullptr;
    std::span<const std::uint32_t> indices;
};

/// One side of many transfers to come: blocks checked once, posted by index ever after, as paged KV caches do.
/// A value; the regions must outlive it. Made by `agent::prepare`.
class prepared {
public:
    prepared() = default;
    /// The blocks with these indices, in this order. `errc::out_of_range` when one is past the end.
    selection select(std::span<const std::uint32_t> indices) const noexcept { return {this, indices}; }
    std::size_t size() const noexcept { return blocks_.size(); }
    const slice& operator[](std::size_t i) const noexcept { return blocks_[i]; }

private:
    friend class agent;
    explicit prepared(std::vector<slice> blocks) : blocks_{std::move(blocks)} {}
    std::vector<slice> blocks_;
};

/// All blocks of `bytes` bytes of some regions, one region after the other (one tensor per layer, say). What
/// is left at the end of a region is not a block.
std::vector<slice> blocks_of(std::span<const region> regions, std::uint64_t bytes);
std::vector<slice> blocks_of(const slice&, std::uint64_t bytes);

} // namespace wye
