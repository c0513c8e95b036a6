// SPDX-License-Identifier: Apache-2.0
// The part of the file driver that moves bytes on the runtime's own thread: to and from the page cache, and
// to bounce buffers.

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file_driver.hpp"

namespace wye::storage {

namespace {

constexpr std::size_t least_in_turn = 16_KiB; // where the page cache is slow: small pieces cost throughput
constexpr std::chrono::duration<double> piece_time = std::chrono::microseconds{15};
constexpr std::size_t large_read = 512_KiB; // io_uring is faster into pinned memory; below, it is not

// A buffered write that took so long was made to wait for the disk (dirty page throttling), or the processor
// was given to somebody else in the middle of it.
constexpr auto held_up = std::chrono::milliseconds{5};
constexpr unsigned wary_writes = 64;
constexpr auto stay_away = std::chrono::milliseconds{100};

/// The kernel takes a file offset as two longs, whose halves make it up where a long has 32 bits.
constexpr unsigned long high_half(std::uint64_t at) noexcept
{
    return sizeof(long) == 8 ? 0 : static_cast<unsigned long>(at >> 32);
}

/// How often this thread has waited, rather than been made to.
long waits() noexcept
{
    rusage used{};
    ::getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

/// preadv2 or pwritev2 of one buffer that never waits. Not by the C library's functions: those are cancellation
/// points, which in a process with threads costs two atomic operations a call.
ssize_t call_at_once(long call, int descriptor, const iovec& v, std::uint64_t at, int flags) noexcept
{
    return ::syscall(call, descriptor, &v, 1ul, static_cast<unsigned long>(at), high_half(at), flags);
}

} // namespace

/// Whether to move it through the page cache here and now, for a third of what a kernel thread costs.
bool file_driver::suits_this_thread(chunk& c, file_segment& f) noexcept
{
    if (writes(c)) return takes_write(f, c.to.offset, c.from.length);
    // From some size on it pays that io_uring copies to pinned memory without walking our page tables.
    const bool pinned = of(c).step.length >= large_read && memory_slot(c, of(c).step.length) >= 0;
    return f.in_memory() || (!pinned && f.try_cache());
}

bool file_driver::takes_write(file_segment& f, std::uint64_t offset, std::uint64_t length) noexcept
{
    // Where the filesystem cannot refuse to wait, parts of pages may have to be read first: not here.
    return f.in_memory() || f.writes_say_so || ((offset | length) % page == 0 && !throttled());
}

bool file_driver::throttled() noexcept
{
    if (throttled_until_ == clock::time_point{}) return false;
    if (clock::now() < throttled_until_) return true;
    throttled_until_ = {};
    return false;
}

bool file_driver::move_at_once(const slice& from, const slice& to) noexcept
{
    const bool write = to.of->home == this;
    const slice& there = write ? to : from;
    auto& f = static_cast<file_segment&>(*there.of);
    if (f.direct()) return false;
    if (!(write ? takes_write(f, there.offset, there.length) : f.in_memory() || f.try_cache())) return false;
    tick_ = {};
    const iovec v{(write ? from : to).data(), there.length};
    return transfer_now(f, write, v, there.offset) == static_cast<ssize_t>(there.length);
}

[[gnu::flatten]] std::size_t file_driver::work_some(turn t) noexcept
{
    std::size_t n = 0, spent = 0;
    auto since = t.bounded() ? clock::now() : clock::time_point{};
    // What `done` submits is for the next poll, or a chain of cached reads would never end.
    for (unsigned steps = held_; steps != 0; --steps) {
        chunk* const c = mine_.pop();
        if (!c) break;
        ++n;
        const std::size_t most = t.bounded() ? in_turn_ : copy_at_once;
        spent += call_cost + (of(*c).step.how == way::bounced ? bounce(*c) : move_now(*c, most));
        if (spent < (t.bounded() ? std::min(in_turn_, look_at_clock) : copy_at_once)) continue;
        if (!t.bounded()) break;
        const auto now = clock::now();
        keep_pace(std::exchange(spent, 0), now - std::exchange(since, now));
        if (t.over()) break;
    }
    return n;
}

/// How much to copy at a time depends on what the page cache makes of it: 1 to 8 GB/s.
[[gnu::noinline]] void file_driver::keep_pace(std::size_t bytes, std::chrono::duration<double> took) noexcept
{
    const double fits = static_cast<double>(bytes) * (piece_time / std::max(took, piece_time / 100));
    in_turn_ = std::clamp(static_cast<std::size_t>(fits) & ~(page - 1), least_in_turn, most_in_turn);
}

/// Copies to a bounce buffer and sends that off. Returns the bytes copied.
[[gnu::noinline]] std::size_t file_driver::bounce(chunk& c) noexcept
{
    const std::size_t length = of(c).step.length;
    start(c, false);
    return length;
}

/// One system call's worth, through the page cache. Returns the bytes moved.
std::size_t file_driver::move_now(chunk& c, std::size_t most) noexcept
{
    progress& p = of(c);
    file_segment& f = file_of(c);
    const iovec v{memory(c), std::min<std::size_t>(most, c.from.length - p.moved)};
    const ssize_t result = transfer_now(f, writes(c), v, place(c));
    if (result > 0) {
        p.moved += static_cast<std::size_t>(result);
        if (p.moved == c.from.length)
            finish(c, {});
        else
            mine_.push_front(c);
        return static_cast<std::size_t>(result);
    }
    if (result == 0)
        finish(c, {});
    else if (result == -EINTR)
        mine_.push_front(c);
    else if (result != -EAGAIN)
        finish(c, file_error(static_cast<int>(-result)));
    else {
        p.step.length =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(c.from.length - p.moved, longest_piece));
        device_.push(c);
    }
    return 0;
}

/// Bytes, or a negative errno; -EAGAIN is for the engine to do.
ssize_t file_driver::transfer_now(file_segment& f, bool write, const iovec& v, std::uint64_t at) noexcept
{
    const int flags = f.in_memory() ? 0 : RWF_NOWAIT;
    if (write && !f.writes_say_so && !f.in_memory())
        return write_now(f.cached(), v, static_cast<off_t>(at));
    const ssize_t n = call_at_once(write ? SYS_pwritev2 : SYS_preadv2, f.cached(), v, at, flags);
    if (n >= 0) {
        if (!write) f.cache_hit();
        return n;
    }
    if (errno == EAGAIN && !write) f.cache_missed();
    if (errno != EOPNOTSUPP) return -errno;
    if (write)
        f.writes_say_so = false;
    else
        f.cache_unknown();
    return -EAGAIN;
}

/// A write that may wait. When it does, this thread keeps off for a while: kernel threads can wait instead.
/// One that took long makes us wary, so that the next to do so can be told from one that was preempted.
[[gnu::noinline]] ssize_t file_driver::write_now(int descriptor, const iovec& from, off_t at) noexcept
{
    if (tick_ == clock::time_point{}) tick_ = clock::now();
    if (tick_ < throttled_until_) return -EAGAIN;
    const long before = wary_ != 0 ? waits() : 0;
    const ssize_t n = ::pwrite(descriptor, from.iov_base, from.iov_len, at);
    const int error = errno;
    const auto began = std::exchange(tick_, clock::now());
    if (tick_ - began > held_up) {
        if (wary_ != 0 && waits() != before) throttled_until_ = tick_ + stay_away;
        wary_ = wary_writes;
    } else if (wary_ != 0) {
        --wary_;
    }
    return n < 0 ? -error : n;
}

} // namespace wye::storage
