// SPDX-License-Identifier: Apache-2.0
#include "pinned.hpp"

#include <algorithm>

namespace wye::cu {

namespace {

constexpr std::uintptr_t unit = 4096;

std::uintptr_t first_page(const void* base) noexcept { return reinterpret_cast<std::uintptr_t>(base) / unit * unit; }
std::uintptr_t last_page(const void* base, std::size_t bytes) noexcept
{
    return (reinterpret_cast<std::uintptr_t>(base) + bytes + unit - 1) / unit * unit;
}

} // namespace

bool pinned_memory::pinned_by_others(std::uintptr_t from, std::uintptr_t to) const noexcept
{
    for (const std::uintptr_t at : {from, to - 1}) {
        unsigned kind = 0;
        const CUresult r = api_.cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
        if (r != CUDA_SUCCESS || kind != CU_MEMORYTYPE_HOST) return false;
    }
    return true;
}

CUresult pinned_memory::pin_gap(std::uintptr_t from, std::uintptr_t to)
{
    const unsigned flags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;
    const CUresult r = api_.cuMemHostRegister(reinterpret_cast<void*>(from), to - from, flags);
    const bool theirs = r != CUDA_SUCCESS && pinned_by_others(from, to);
    if (r != CUDA_SUCCESS && !theirs) return r;
    pieces_.emplace(from, piece{to, 1, !theirs});
    return CUDA_SUCCESS;
}

CUresult pinned_memory::pin(const void* base, std::size_t bytes)
{
    const std::uintptr_t begin = first_page(base), end = last_page(base, bytes);
    const std::lock_guard lock{mutex_};
    unsigned stretches = 0;
    for (std::uintptr_t at = begin; at < end; ++stretches) {
        auto next = pieces_.upper_bound(at);
        if (next != pieces_.begin() && std::prev(next)->second.end > at) {
            piece& known = std::prev(next)->second;
            ++known.uses;
            at = known.end;
            continue;
        }
        const std::uintptr_t stop = next == pieces_.end() ? end : std::min(end, next->first);
        if (const CUresult r = pin_gap(at, stop); r != CUDA_SUCCESS) {
            drop(begin, at);
            return r;
        }
        at = stop;
    }
    if (stretches > 1) split_ = 1; // and so it stays: looking is cheap beside what it costs to know better
    return CUDA_SUCCESS;
}

void pinned_memory::unpin(const void* base, std::size_t bytes) noexcept
{
    const std::lock_guard lock{mutex_};
    drop(first_page(base), last_page(base, bytes));
}

/// One use less of all that has part in these pages. `mutex_` is held.
void pinned_memory::drop(std::uintptr_t from, std::uintptr_t to) noexcept
{
    auto it = pieces_.upper_bound(from);
    if (it != pieces_.begin()) --it;
    while (it != pieces_.end() && it->first < to) {
        if (it->second.end <= from || --it->second.uses != 0) {
            ++it;
            continue;
        }
        if (it->second.ours) api_.cuMemHostUnregister(reinterpret_cast<void*>(it->first));
        it = pieces_.erase(it);
    }
}

std::size_t pinned_memory::stretch(std::uintptr_t at, std::size_t bytes) const
{
    const std::lock_guard lock{mutex_};
    const auto next = pieces_.upper_bound(at);
    if (next == pieces_.begin() || std::prev(next)->second.end <= at) return bytes;
    return std::min<std::size_t>(bytes, std::prev(next)->second.end - at);
}

pinned_memory& pinned_of(const api& a)
{
    static pinned_memory& one = *new pinned_memory{a}; // regions may go while the process ends
    return one;
}

} // namespace wye::cu
