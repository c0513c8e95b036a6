// SPDX-License-Identifier: Apache-2.0
#include "copy_queue.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace wye::host {

namespace {

constexpr std::size_t slice_bytes = 32_KiB;  // 5 to 10 us where memory is slow
constexpr std::size_t pass_bytes = 1_MiB;    // of a poll without a budget
constexpr std::size_t bytes_per_chunk = 512; // what ending a chunk costs, in bytes of copying

/// A forward copy would overwrite what it has yet to read.
bool backwards(const std::byte* from, const std::byte* to, std::size_t length) noexcept
{
    return reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(from) < length;
}

/// Copies the next slice of the chunk; returns its bytes.
std::size_t copy_slice(chunk& c) noexcept
{
    const std::size_t length = c.from.length;
    const std::size_t copied = c.scratch[0];
    const std::size_t n = std::min(slice_bytes, length - copied);
    const std::byte* const from = c.from.data();
    std::byte* const to = c.to.data();
    const std::size_t at = n < length && backwards(from, to, length) ? length - copied - n : copied;
    if (n != 0) std::memmove(to + at, from + at, n);
    c.scratch[0] = copied + n;
    return n;
}

} // namespace

std::size_t copy_queue::poll(turn t) noexcept
{
    std::size_t progress = 0, in_pass = 0, since_clock = 0;
    while (urgent_.front() || normal_.front()) {
        fifo& queue = urgent_.front() ? urgent_ : normal_;
        chunk& c = *queue.front();
        std::size_t cost = copy_slice(c);
        const bool ended = c.scratch[0] == c.from.length;
        if (ended) {
            queue.pop();
            c.done();
            cost += bytes_per_chunk;
            ++progress;
        }
        in_pass += cost;
        since_clock += cost;
        // Reading the clock can cost more than copying a small chunk does.
        bool over = !t.bounded() && in_pass >= pass_bytes;
        if (t.bounded() && since_clock >= slice_bytes) {
            since_clock = 0;
            over = t.over();
        }
        if (over) return progress + !ended;
    }
    return progress;
}

limits copy_limits() noexcept
{
    limits l;
    l.chunk_bytes = 1_MiB;
    l.window_chunks = 128;
    l.window_bytes = 16_MiB;
    l.background_chunks = 2;
    l.latency = std::chrono::nanoseconds{200};
    l.bytes_per_second = 5e9;
    return l;
}

} // namespace wye::host
