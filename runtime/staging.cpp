// SPDX-License-Identifier: Apache-2.0
#include "staging.hpp"

#include <algorithm>

namespace wye::detail {

staging::staging(std::size_t bytes, std::size_t piece_bytes) noexcept
    : piece_bytes_{std::max<std::size_t>(4_KiB, (piece_bytes + 4095) / 4096 * 4096)},
      count_{std::max<std::size_t>(2, bytes / piece_bytes_)}
{
}

void staging::make(engine& e, std::uint32_t kind)
{
    arena_ = arena{bytes()};
    memory_ = std::make_unique<class segment>(tier::dram);
    memory_->base = arena_.data();
    memory_->length = arena_.size();
    memory_->engine = &e;
    memory_->kind = kind;
    free_.resize(count_);
    for (std::size_t i = 0; i < count_; ++i) free_[i] = static_cast<std::int32_t>(count_ - 1 - i);
}

bool staging::available(priority p) const noexcept
{
    if (free_.empty()) return false;
    return p != priority::background || background_ < std::max<std::size_t>(1, count_ / 2);
}

std::int32_t staging::take(priority p) noexcept
{
    if (!available(p)) return -1;
    if (p == priority::background) ++background_;
    const std::int32_t index = free_.back(); // the one used last: its lines may still be in the cache
    free_.pop_back();
    return index;
}

void staging::give_back(std::int32_t index, priority p) noexcept
{
    if (p == priority::background) --background_;
    free_.push_back(index);
}

leg* staging::next_waiting() noexcept
{
    for (std::size_t p = 0; p < priority_count; ++p) {
        if (waiting_[p].empty() || !available(static_cast<priority>(p))) continue;
        leg& l = waiting_[p].front();
        waiting_[p].pop_front();
        return &l;
    }
    return nullptr;
}

} // namespace wye::detail
