// SPDX-License-Identifier: Apache-2.0
#include <wye/memory.hpp>

#include <new>

#include <sys/mman.h>

#include <wye/units.hpp>

namespace wye {

namespace {

constexpr std::size_t huge = 2_MiB;

std::size_t rounded(std::size_t bytes) noexcept
{
    const std::size_t unit = bytes >= huge ? huge : 4_KiB;
    return (bytes + unit - 1) / unit * unit;
}

/// Memory that begins at a multiple of the huge page size, which mmap alone does not promise.
void* map_aligned(std::size_t bytes) noexcept
{
    const std::size_t extra = bytes >= huge ? huge : 0;
    void* mapped = ::mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED || extra == 0) return mapped;
    auto* first = static_cast<std::byte*>(mapped);
    const std::size_t skip = (huge - reinterpret_cast<std::uintptr_t>(first) % huge) % huge;
    if (skip) ::munmap(first, skip);
    if (skip != extra) ::munmap(first + skip + bytes, extra - skip);
    return first + skip;
}

} // namespace

arena::arena(std::size_t bytes) : bytes_{bytes}
{
    if (bytes == 0) return;
    void* p = map_aligned(rounded(bytes));
    if (p == MAP_FAILED) throw std::bad_alloc{};
    ::madvise(p, rounded(bytes), MADV_HUGEPAGE); // a wish: without it, small pages serve
    base_ = static_cast<std::byte*>(p);
}

arena::~arena()
{
    if (base_) ::munmap(base_, rounded(bytes_));
}

} // namespace wye
