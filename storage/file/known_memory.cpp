// SPDX-License-Identifier: Apache-2.0
#include "known_memory.hpp"

#include <algorithm>
#include <utility>

#include <sys/mman.h>

namespace wye::storage {

known_memory::known_memory(const segment& s, io_engine& e, blocking_pool& pool,
                           std::function<void(error_code)> done)
    : base_{s.base}, length_{s.length}, engine_{e}, pool_{pool}, done_{std::move(done)}
{
    slots_.reserve((length_ + stretch - 1) / stretch);
    pool_.submit(*this);
}

std::uint64_t known_memory::next_length() const noexcept
{
    return std::min(stretch, length_ - slots_.size() * stretch);
}

void known_memory::work() noexcept
{
#ifdef MADV_POPULATE_WRITE
    // Whole pages inside the stretch; a refusal (read-only memory) is found again when it is pinned.
    constexpr std::uintptr_t page = 4096;
    const auto begin = (reinterpret_cast<std::uintptr_t>(next_base()) + page - 1) & ~(page - 1);
    const auto end = (reinterpret_cast<std::uintptr_t>(next_base()) + next_length()) & ~(page - 1);
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
#endif
}

void known_memory::finished() noexcept
{
    const int slot = forgotten_ ? -1 : engine_.add_memory(next_base(), next_length());
    if (slot >= 0) slots_.push_back(slot);
    if (slot >= 0 && slots_.size() * stretch < length_) return pool_.submit(*this);

    const bool last = forgotten_; // and if not, `done` may be what makes us forget
    std::exchange(done_, nullptr)(error_code{});
    if (last) forget();
}

void known_memory::forget() noexcept
{
    forgotten_ = true;
    if (done_) return; // a helper is at it still
    for (const int slot : slots_) engine_.remove_memory(slot);
    delete this;
}

} // namespace wye::storage
