// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include <wye/segment.hpp>

namespace wye {

/// Bytes to register, and where they are. Owns nothing.
struct memory {
    wye::tier tier = wye::tier::dram;
    std::byte* base = nullptr;
    std::size_t bytes = 0;
    std::int32_t device = 0;
};

inline memory dram(void* base, std::size_t bytes) noexcept
{
    return {tier::dram, static_cast<std::byte*>(base), bytes, 0};
}
/// The elements of a contiguous container or span.
template <std::ranges::contiguous_range R>
    requires std::is_trivially_copyable_v<std::ranges::range_value_t<R>>
memory dram(R&& range) noexcept
{
    return dram(const_cast<void*>(static_cast<const void*>(std::ranges::data(range))),
                std::ranges::size(range) * sizeof(std::ranges::range_value_t<R>));
}
/// Device memory of GPU `device`; or, with the `vram_standin` driver, DRAM that plays it.
inline memory vram(void* base, std::size_t bytes, std::int32_t device = 0) noexcept
{
    return {tier::vram, static_cast<std::byte*>(base), bytes, device};
}

/// Page-aligned host memory on 2 MiB pages where the kernel gives them: what direct I/O and registration
/// like best (1.6 to 2.7 times the read bandwidth of 4 KiB pages). Zeroed; move-only. Throws bad_alloc.
class arena {
public:
    arena() = default;
    explicit arena(std::size_t bytes);
    arena(arena&& o) noexcept : base_{std::exchange(o.base_, nullptr)}, bytes_{std::exchange(o.bytes_, 0)} {}
    arena& operator=(arena&& o) noexcept
    {
        std::swap(base_, o.base_);
        std::swap(bytes_, o.bytes_);
        return *this;
    }
    ~arena();

    std::byte* data() const noexcept { return base_; }
    std::size_t size() const noexcept { return bytes_; }
    std::byte* begin() const noexcept { return base_; }
    std::byte* end() const noexcept { return base_ + bytes_; }

private:
    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
};

} // namespace wye
