// SPDX-License-Identifier: Apache-2.0
#include "contact.hpp"

#include <algorithm>
#include <cstring>

#include <unistd.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace wye::nearby {

// Past the caches: what lies in the reader's would have to be fetched from there line by line before it could be overwritten,
// and from ours before it could be read. That took from 0.6 to 3 us for 4 KiB, as the two were placed; so it takes 1 us.
void copy_out(std::byte* to, const std::byte* from, std::size_t n) noexcept
{
#ifdef __SSE2__
    constexpr std::size_t worth_it = 1024;
    if (n >= worth_it) {
        const std::size_t whole = n / unit * unit;
        for (std::size_t at = 0; at != whole; at += unit) {
            const auto* const f = reinterpret_cast<const __m128i*>(from + at);
            auto* const t = reinterpret_cast<__m128i*>(to + at);
            const __m128i a = _mm_loadu_si128(f), b = _mm_loadu_si128(f + 1), c = _mm_loadu_si128(f + 2), d = _mm_loadu_si128(f + 3);
            _mm_stream_si128(t, a);
            _mm_stream_si128(t + 1, b);
            _mm_stream_si128(t + 2, c);
            _mm_stream_si128(t + 3, d);
        }
        std::memcpy(to + whole, from + whole, n - whole);
        return _mm_sfence();
    }
#endif
    std::memcpy(to, from, n);
}

record* ring_end::reserve(std::size_t bytes, std::size_t left) noexcept
{
    const std::uint64_t wants = 1 + (bytes + unit - 1) / unit;
    const std::uint64_t to_end = units_ - tail_ % units_;
    const std::uint64_t filler = wants > to_end ? to_end : 0;
    if (units_ - (tail_ - freed_) < filler + wants + left / unit) return nullptr;
    if (filler != 0) {
        at(tail_) = {.bytes = static_cast<std::uint32_t>((filler - 1) * unit), .kind = record_kind::filler};
        tail_ += filler;
    }
    reserved_ = wants;
    return &at(tail_);
}

void ring_end::publish() noexcept
{
    tail_ += reserved_;
    slot_->tail.store(tail_, std::memory_order_release);
}

bool ring_end::look() noexcept
{
    const std::uint64_t head = slot_->head.load(std::memory_order_acquire);
    if (head < head_ || head > tail_) return false;
    head_ = head;
    return true;
}

status ring_end::outcome(std::uint64_t first, std::uint64_t last) const noexcept
{
    // The lengths are ours, but they lie where the owner may write: they must lead on, and to an end.
    for (std::uint64_t position = first; position < last;) {
        const record& r = at(position);
        const auto got = static_cast<status>(r.outcome);
        const bool is_put = r.kind == record_kind::put;
        if (is_put && got != status::fine) return got;
        position += 1 + (std::uint64_t{r.bytes} + unit - 1) / unit;
    }
    return status::fine;
}

bool contact::has_news() const noexcept
{
    const nearby::slot& s = slot();
    return (!puts.empty() && s.head.load(std::memory_order_acquire) >= notes{*puts.front()}.at) ||
           (!waiting.empty() && s.head.load(std::memory_order_acquire) != ring.head()) ||
           (pulls.any() && s.pulled.load(std::memory_order_acquire) != pulls.taken) ||
           (gpu_pulls.any() && s.gpu_pulled.load(std::memory_order_acquire) != gpu_pulls.taken) || !reads.empty() ||
           !gpu_reads.empty();
}

void contact::free_room() noexcept
{
    // A chunk's outcome is read off all of its records, once the last of them is done with.
    std::uint64_t up_to = ring.head();
    if (!puts.empty()) up_to = std::min(up_to, notes{*puts.front()}.first);
    else if (!waiting.empty() && notes{*waiting.front()}.at != 0) up_to = std::min(up_to, notes{*waiting.front()}.first);
    ring.free(up_to);
}

void contact::wake() const noexcept
{
    std::atomic<std::uint32_t>& sleeping = theirs.header().sleeping;
    if (sleeping.load(std::memory_order_seq_cst) == 0 || sleeping.exchange(0, std::memory_order_seq_cst) == 0) return;
    constexpr std::uint64_t once = 1;
    [[maybe_unused]] const ssize_t n = ::write(bell.get(), &once, sizeof once); // what is full wakes it as well
}

void contact::ring_bell() noexcept
{
    rings = false;
    theirs.header().rang[place / 64].fetch_or(std::uint64_t{1} << place % 64, std::memory_order_seq_cst);
    wake();
}

void contact::release() noexcept
{
    slot().state.store(slot_state(0, phase::released), std::memory_order_release);
    ring_bell();
}

} // namespace wye::nearby
