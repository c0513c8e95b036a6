// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wye::detail {

/// Something that happens at a time, unless it is removed first. Lives inside what it belongs to.
struct timer {
    static constexpr std::uint32_t idle = ~std::uint32_t{0};

    std::chrono::steady_clock::time_point when{};
    void (*fire)(timer*) noexcept = nullptr;
    std::uint32_t place = idle; ///< in the heap

    bool armed() const noexcept { return place != idle; }
};

/// The earliest timer first: a heap of four children a node, whose timers know their place, so that any of
/// them leaves in logarithmic time and without allocation.
class timer_heap {
public:
    bool empty() const noexcept { return heap_.empty(); }
    timer& front() const noexcept { return *heap_.front(); }
    void add(timer&);
    void remove(timer&) noexcept; ///< one that is not armed is let be

private:
    void up(std::size_t) noexcept;
    void down(std::size_t) noexcept;
    void put(std::size_t at, timer* t) noexcept
    {
        heap_[at] = t;
        t->place = static_cast<std::uint32_t>(at);
    }

    std::vector<timer*> heap_;
};

} // namespace wye::detail
