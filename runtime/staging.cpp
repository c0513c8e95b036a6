// SPDX-License-Identifier: Apache-2.0
#include "staging.hpp"

#include <algorithm>

#include "engine.hpp"

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

/// Background wants a buffer and it is its turn: the last one free is kept for it.
bool staging::reserved() const noexcept
{
    const bool wanted = promised_ || !waiting_[static_cast<std::size_t>(priority::background)].empty();
    return wanted && owed_ == background_share && background_ < most_background();
}

bool staging::available(const leg& l, priority p) const noexcept
{
    if (enlisting_ != 0) return false;
    const extent& x = l.op->extents[l.cursor];
    if (l.op->served) return !free_.empty();
    if (x.route->leans && free_.size() <= kept()) return false;
    if (p != priority::background) return free_.size() > std::size_t{reserved()};
    return !free_.empty() && background_ < most_background();
}

void staging::wait(leg& l, priority p) noexcept
{
    forget(l);
    waiting_[static_cast<std::size_t>(p)].push_back(l);
}

std::int32_t staging::take(const leg& l, priority p) noexcept
{
    if (!available(l, p)) return -1;
    forget(l);
    if (p == priority::background) {
        ++background_;
        owed_ = 0;
    } else {
        owed_ = std::min(owed_ + 1, background_share);
    }
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
    constexpr std::size_t order[][priority_count] = {{0, 1, 2}, {2, 0, 1}};
    for (const std::size_t p : order[reserved()]) {
        const auto may = [&](const leg& l) { return available(l, static_cast<priority>(p)); };
        const auto it = std::find_if(waiting_[p].begin(), waiting_[p].end(), may);
        if (it == waiting_[p].end()) continue;
        leg& l = *it;
        waiting_[p].erase(it);
        if (static_cast<priority>(p) == priority::background) promised_ = &l;
        return &l;
    }
    return nullptr;
}

} // namespace wye::detail
