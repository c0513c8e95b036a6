// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "api.hpp"

namespace wye::cu {

/// Host memory that is pinned for every device of this process, whole pages at a time. Several agents may register the same
/// memory, and pages at the ends of neighbours are the same: each page is pinned once, and as long as somebody wants it.
/// What CUDA code of the program has pinned itself is taken as it is.
///
/// Any thread. Some context must be current.
class pinned_memory {
public:
    explicit pinned_memory(const api& a) noexcept : api_{a} {}

    CUresult pin(const void* base, std::size_t bytes);
    void unpin(const void* base, std::size_t bytes) noexcept;

    /// Whether anything consists of several stretches, which is rare.
    bool split() const noexcept { return split_.load(std::memory_order_relaxed) != 0; }
    /// How many of these bytes lie in one stretch; all, where nothing is pinned.
    std::size_t stretch(std::uintptr_t at, std::size_t bytes) const;

private:
    struct piece {
        std::uintptr_t end;
        unsigned uses;
        bool ours; ///< pinned here
    };
    CUresult pin_gap(std::uintptr_t from, std::uintptr_t to);
    bool pinned_by_others(std::uintptr_t from, std::uintptr_t to) const noexcept;
    void drop(std::uintptr_t from, std::uintptr_t to) noexcept;

    const api& api_;
    mutable std::mutex mutex_; // guards what follows
    std::map<std::uintptr_t, piece> pieces_; // by their begin; disjoint
    std::atomic<unsigned> split_{0};
};

/// The one of the real library, which lives as long as the process.
pinned_memory& pinned_of(const api&);

} // namespace wye::cu
