// SPDX-License-Identifier: Apache-2.0
#include "allocations.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include <malloc.h>

#if defined(__has_feature)
#define WYE_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define WYE_SANITIZED 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#undef WYE_SANITIZED
#define WYE_SANITIZED 1
#endif

namespace perf::allocations {

namespace {

std::atomic<std::uint64_t> calls_made{0};
std::atomic<std::int64_t> bytes_live{0};

} // namespace

std::uint64_t calls() noexcept { return calls_made.load(std::memory_order_relaxed); }
std::int64_t live_bytes() noexcept { return bytes_live.load(std::memory_order_relaxed); }

#if defined(__GLIBC__) && !WYE_SANITIZED

const bool counted = true;

namespace {

void* count(void* p) noexcept
{
    calls_made.fetch_add(1, std::memory_order_relaxed);
    bytes_live.fetch_add(static_cast<std::int64_t>(malloc_usable_size(p)), std::memory_order_relaxed);
    return p;
}
void uncount(std::size_t bytes) noexcept
{
    bytes_live.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
}

} // namespace

// The names under which glibc keeps its own when a program defines the public ones.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t n) noexcept { return count(__libc_malloc(n)); }
void* calloc(std::size_t n, std::size_t size) noexcept { return count(__libc_calloc(n, size)); }
void* memalign(std::size_t alignment, std::size_t n) noexcept { return count(__libc_memalign(alignment, n)); }
void* aligned_alloc(std::size_t alignment, std::size_t n) noexcept
{
    return count(__libc_memalign(alignment, n));
}
int posix_memalign(void** p, std::size_t alignment, std::size_t n) noexcept
{
    *p = count(__libc_memalign(alignment, n));
    return *p ? 0 : ENOMEM;
}
void* realloc(void* p, std::size_t n) noexcept
{
    const std::size_t before = malloc_usable_size(p);
    void* const moved = __libc_realloc(p, n);
    if (moved || n == 0) uncount(before);
    return count(moved);
}
void free(void* p) noexcept
{
    uncount(malloc_usable_size(p));
    __libc_free(p);
}
}

#else

const bool counted = false;

#endif

} // namespace perf::allocations
