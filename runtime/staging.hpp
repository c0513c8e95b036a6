// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <wye/memory.hpp>
#include <wye/options.hpp>

#include "operation.hpp"

namespace wye::detail {

/// The bounded pool that two-hop routes go through: equal buffers of one arena, and the legs that wait for one.
/// Background work holds at most half of it, so that it cannot keep an urgent fetch waiting for a slow store, and
/// of those handed out at least every sixteenth is its own if it wants it, so that it goes on.
///
/// A piece on its way to a peer that serves it leans on that peer: it ends when the peer has moved it, through a buffer of
/// its own. So that two agents who lean on each other do not wait for each other's buffers, those who lean leave some to the
/// others, and what is done here for a peer takes any that is free.
class staging {
public:
    staging(std::size_t bytes, std::size_t piece_bytes) noexcept;

    bool made() const noexcept { return memory_ != nullptr; }
    /// Takes the memory; `segment()` is then to be enlisted with the drivers. Nobody has a buffer as long as one of them is
    /// at that: what it does not know yet it would refuse.
    void make(engine&, std::uint32_t kind);
    void enlisting() noexcept { ++enlisting_; }
    bool enlisted() noexcept { return --enlisting_ == 0; } ///< whether with all
    std::size_t buffers() const noexcept { return count_; }
    class segment& segment() noexcept { return *memory_; }

    /// A buffer for this leg, or -1.
    std::int32_t take(const leg&, priority) noexcept;
    void give_back(std::int32_t, priority) noexcept;
    /// `bytes` bytes of a buffer.
    slice buffer(std::int32_t index, std::uint64_t bytes) const noexcept
    {
        return {memory_.get(), static_cast<std::uint64_t>(index) * piece_bytes_, bytes};
    }

    void wait(leg&, priority) noexcept;
    /// A leg that may now find a buffer, no longer waiting; null when there is none.
    leg* next_waiting() noexcept;
    /// It wants none any more, should it have been told of one.
    void forget(const leg& l) noexcept
    {
        if (promised_ == &l) promised_ = nullptr;
    }

    std::size_t piece_bytes() const noexcept { return piece_bytes_; }
    std::size_t bytes() const noexcept { return count_ * piece_bytes_; }
    std::size_t in_use() const noexcept { return made() ? (count_ - free_.size()) * piece_bytes_ : 0; }

private:
    /// Buffers that others may take for one of background's, as in lanes (scheduler.cpp).
    static constexpr std::uint32_t background_share = 15;

    bool reserved() const noexcept;
    bool available(const leg&, priority) const noexcept;
    /// Buffers that pieces which lean on peers leave to others.
    std::size_t kept() const noexcept { return std::max<std::size_t>(1, count_ / 8); }
    std::size_t most_background() const noexcept { return count_ / 2; } // there are two at least

    std::size_t piece_bytes_, count_;
    std::size_t enlisting_ = 0;  // drivers that have yet to say that they know it
    std::size_t background_ = 0; // buffers that background work holds
    std::uint32_t owed_ = 0;     // buffers that others took since background had one, up to its share
    const leg* promised_ = nullptr; // a background leg that was told of one and has not come for it
    arena arena_;
    std::unique_ptr<class segment> memory_;
    std::vector<std::int32_t> free_;
    list<leg> waiting_[priority_count];
};

} // namespace wye::detail
