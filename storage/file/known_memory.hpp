// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <wye/error.hpp>
#include <wye/segment.hpp>

#include "io_engine.hpp"

namespace wye::storage {

/// One segment's memory as the engine knows it: pinned, in stretches, each with its slot. Kept in the
/// segment's note.
///
/// Memory is faulted in on a helper thread, and pinned on the runtime's, one stretch at a time (0.3 ms on
/// 2 MiB pages, 1 ms on small ones). Where the kernel will not pin more (RLIMIT_MEMLOCK) the rest is used
/// unpinned: slower, and no error.
class known_memory final : blocking_pool::job {
public:
    /// Begins; `done` is called from the pool's `reap`, once.
    known_memory(const segment&, io_engine&, blocking_pool&, std::function<void(error_code)> done);

    /// The slot that `[offset, offset + length)` of the segment lies in, or -1.
    int slot(std::uint64_t offset, std::uint32_t length) const noexcept
    {
        const std::uint64_t first = offset / stretch;
        return first < slots_.size() && (offset + length - 1) / stretch == first ? slots_[first] : -1;
    }
    /// Unpins, and deletes itself, once `done` was called.
    void forget() noexcept;

private:
    static constexpr std::uint64_t stretch = 64_MiB;

    ~known_memory() = default;
    void work() noexcept override;
    void finished() noexcept override;
    std::byte* next_base() const noexcept { return base_ + slots_.size() * stretch; }
    std::uint64_t next_length() const noexcept;

    std::byte* const base_;
    const std::uint64_t length_;
    io_engine& engine_;
    blocking_pool& pool_;
    std::function<void(error_code)> done_;
    std::vector<int> slots_;
    bool forgotten_ = false;
};

} // namespace wye::storage
