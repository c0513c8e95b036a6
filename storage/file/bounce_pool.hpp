// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include <wye/units.hpp>

namespace wye::storage {

/// Aligned buffers for what O_DIRECT refuses to take from where it is: a bounded number of equal slots.
/// Memory that is never used is never touched.
class bounce_pool {
public:
    static constexpr std::uint32_t none = ~0u;

    /// Slots are cut to copy in some 10 us each, which is what a poll may take at a time. Throws bad_alloc.
    explicit bounce_pool(std::size_t bytes)
        : slot_bytes_{static_cast<std::uint32_t>(std::clamp<std::size_t>(bytes & ~(page - 1), page, 64_KiB))},
          count_{static_cast<std::uint32_t>(std::max<std::size_t>(bytes / slot_bytes_, 1))}
    {
        const std::size_t bytes_taken = (std::size_t{count_} * slot_bytes_ + 64_KiB - 1) & ~(64_KiB - 1);
        memory_.reset(static_cast<std::byte*>(std::aligned_alloc(64_KiB, bytes_taken)));
        if (!memory_) throw std::bad_alloc{};
        free_.reserve(count_);
        for (std::uint32_t i = count_; i-- > 0;) free_.push_back(i);
    }

    std::uint32_t slot_bytes() const noexcept { return slot_bytes_; }

    /// A free slot, or `none`: when one is given back, ask again.
    std::uint32_t take() noexcept
    {
        if (free_.empty()) return none;
        const std::uint32_t slot = free_.back();
        free_.pop_back();
        return slot;
    }
    void give(std::uint32_t slot) noexcept { free_.push_back(slot); }
    std::byte* at(std::uint32_t slot) const noexcept
    {
        return memory_.get() + std::size_t{slot} * slot_bytes_;
    }

private:
    static constexpr std::size_t page = 4096;
    struct freed {
        void operator()(std::byte* p) const noexcept { std::free(p); }
    };

    const std::uint32_t slot_bytes_;
    const std::uint32_t count_;
    std::unique_ptr<std::byte, freed> memory_;
    std::vector<std::uint32_t> free_;
};

} // namespace wye::storage
