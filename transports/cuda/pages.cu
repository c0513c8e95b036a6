// SPDX-License-Identifier: Apache-2.0
// Copies lists of pages between a device's memory and mapped pinned memory, either way, with few blocks: the copy engines
// take microseconds for each page, the link does not care.

#include "page.hpp"

using wye::cu::most_pages;
using wye::cu::page;
using wye::cu::most_threads;
using wye::cu::unit_bytes;
using wye::cu::unit_words;

namespace {

constexpr unsigned warp = 32;
constexpr unsigned word = 16;
constexpr unsigned words_of_unit = unit_bytes / word;

/// The bytes before the first address that 16-byte accesses may use.
__device__ unsigned head_of(const page& p)
{
    const unsigned long long head = (word - p.from % word) % word;
    return static_cast<unsigned>(head < p.bytes ? head : p.bytes);
}

__device__ unsigned units_of(const page& p)
{
    const unsigned long long words = (p.bytes - head_of(p)) / word;
    const unsigned long long units = (words + words_of_unit - 1) / words_of_unit;
    return static_cast<unsigned>(units ? units : 1);
}

__device__ void copy_bytes(unsigned long long from, unsigned long long to, unsigned bytes, unsigned lane)
{
    if (lane < bytes) reinterpret_cast<char*>(to)[lane] = reinterpret_cast<const char*>(from)[lane];
}

/// One unit of a page, by one warp. The first does the head, too, and the last the tail.
__device__ void copy_unit(const page& p, unsigned unit, bool last, unsigned lane)
{
    const unsigned head = head_of(p);
    const unsigned long long words = (p.bytes - head) / word;
    const uint4* const from = reinterpret_cast<const uint4*>(p.from + head);
    uint4* const to = reinterpret_cast<uint4*>(p.to + head);
    const unsigned long long first = static_cast<unsigned long long>(unit) * words_of_unit + lane;
    uint4 held[unit_words];
    if (first - lane + words_of_unit <= words) {
#pragma unroll
        for (unsigned i = 0; i < unit_words; ++i) held[i] = __ldcs(from + first + i * warp);
#pragma unroll
        for (unsigned i = 0; i < unit_words; ++i) __stcs(to + first + i * warp, held[i]);
    } else {
#pragma unroll
        for (unsigned i = 0; i < unit_words; ++i)
            if (first + i * warp < words) held[i] = __ldcs(from + first + i * warp);
#pragma unroll
        for (unsigned i = 0; i < unit_words; ++i)
            if (first + i * warp < words) __stcs(to + first + i * warp, held[i]);
    }
    if (unit == 0) copy_bytes(p.from, p.to, head, lane);
    if (last) {
        const unsigned long long done = head + words * word;
        copy_bytes(p.from + done, p.to + done, static_cast<unsigned>(p.bytes - done), lane);
    }
}

} // namespace

/// Every so many pages are a block's; its warps share out their units, however large the pages are.
extern "C" __global__ void __launch_bounds__(most_threads) wye_copy_pages(const page* list, unsigned count)
{
    __shared__ page mine[most_pages];
    __shared__ unsigned ends[most_pages]; // units up to and with that page
    const unsigned t = threadIdx.x;
    const unsigned pages = count > blockIdx.x ? (count - blockIdx.x + gridDim.x - 1) / gridDim.x : 0;
    if (t < pages) {
        mine[t] = list[blockIdx.x + t * gridDim.x];
        ends[t] = units_of(mine[t]);
    }
    __syncthreads();
    for (unsigned distance = 1; distance < pages; distance *= 2) {
        const unsigned before = t >= distance && t < pages ? ends[t - distance] : 0;
        __syncthreads();
        if (t < pages) ends[t] += before;
        __syncthreads();
    }
    const unsigned units = pages ? ends[pages - 1] : 0;
    for (unsigned u = t / warp; u < units; u += blockDim.x / warp) {
        unsigned low = 0, high = pages - 1;
        while (low < high) {
            const unsigned middle = (low + high) / 2;
            if (ends[middle] > u) high = middle;
            else low = middle + 1;
        }
        copy_unit(mine[low], low ? u - ends[low - 1] : u, u + 1 == ends[low], t % warp);
    }
}
