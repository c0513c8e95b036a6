// SPDX-License-Identifier: Apache-2.0
#include "file_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "known_memory.hpp"

namespace wye::storage {

namespace {

constexpr std::size_t most_bytes = 16_MiB;      // more in flight makes submission itself wait, and gains nothing
constexpr std::size_t copy_at_once = 1_MiB;     // by this thread before others have their turn; smaller is slower
constexpr std::size_t most_in_turn = 64_KiB;    // and when a budget is to be kept: some 10 us
constexpr std::size_t least_in_turn = 16_KiB;   // where the page cache is slow: small pieces cost throughput
constexpr std::size_t pin_in_turn = 256_KiB;    // memory the kernel must pin first costs 60 us/MiB to submit
constexpr std::size_t large_read = 512_KiB;     // io_uring is faster into pinned memory; below, it is not
constexpr std::chrono::duration<double> piece_time = std::chrono::microseconds{15};
constexpr std::size_t look_at_clock = 32_KiB;   // of work between two looks
constexpr std::size_t call_cost = 4_KiB;        // a system call, in bytes of copying
constexpr unsigned pinned_discount = 8;         // what submission costs, against copying it all
constexpr unsigned unpinned_discount = 3;
constexpr std::uint64_t page = 4096;

// A buffered write that took so long was made to wait for the disk (dirty page throttling), or the processor
// was given to somebody else in the middle of it.
constexpr auto held_up = std::chrono::milliseconds{5};
constexpr unsigned wary_writes = 64;
constexpr auto stay_away = std::chrono::milliseconds{100};

/// How often this thread has waited, rather than been made to.
long waits() noexcept
{
    rusage used{};
    ::getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

std::unique_ptr<io_engine> choose_engine(const drivers::file_driver_options& o, unsigned depth, blocking_pool& pool)
{
    using drivers::file_engine;
    if (o.engine == file_engine::threads) return make_thread_engine(depth, pool);
    int error = 0;
    if (auto made = make_uring_engine(depth, pool, error)) return made;
    if (o.engine == file_engine::uring) throw system_error{file_error(error), "io_uring"};
    return make_thread_engine(depth, pool);
}

} // namespace

/// What the driver notes on a chunk, in its scratch.
struct file_driver::progress {
    std::uint64_t moved = 0;                ///< bytes that have arrived
    piece step;                             ///< the one under way, or to be started
    std::uint32_t slot = bounce_pool::none; ///< its bounce buffer
};

file_driver::progress& file_driver::of(chunk& c) noexcept
{
    static_assert(sizeof(progress) <= sizeof c.scratch && alignof(progress) <= alignof(std::uint64_t));
    return *std::launder(reinterpret_cast<progress*>(c.scratch));
}

file_driver::file_driver(const drivers::file_driver_options& o)
    : depth_{std::clamp(o.queue_depth, 1u, 4096u)}, pool_{o.threads}, engine_{choose_engine(o, depth_, pool_)},
      bounce_{o.bounce_bytes}
{
}

file_driver::~file_driver()
{
    while (held_ != 0 || pool_.outstanding() != 0) {
        if (poll(turn{}) != 0 || !arm()) continue;
        pollfd wait{wait_handle(), POLLIN, 0};
        ::poll(&wait, 1, 10); // a bound, so that a lost wake-up costs no more than this
    }
}

wye::limits file_driver::limits() const noexcept
{
    wye::limits l;
    l.chunk_bytes = 1_MiB;
    l.alignment = page;
    l.window_chunks = depth_;
    l.window_bytes = most_bytes;
    l.background_chunks = 2; // an urgent read waits for what the device has: 2 MiB are a millisecond
    l.latency = std::chrono::microseconds{60};
    l.bytes_per_second = 2e9;
    return l;
}

bool file_driver::carries(const slice& from, const slice& to) const noexcept
{
    return (from.of->home == this && to.tier() == tier::dram) || (to.of->home == this && from.tier() == tier::dram);
}

file_segment& file_driver::file_of(const chunk& c) const noexcept
{
    return static_cast<file_segment&>(writes(c) ? *c.to.of : *c.from.of);
}

std::uint64_t file_driver::place(chunk& c) const noexcept
{
    return (writes(c) ? c.to.offset : c.from.offset) + of(c).moved;
}

std::byte* file_driver::memory(chunk& c) const noexcept
{
    return (writes(c) ? c.from.data() : c.to.data()) + of(c).moved;
}

std::uint32_t file_driver::slot_bytes(const file_segment& f) const noexcept
{
    return bounce_.slot_bytes() & ~(f.align().granule - 1);
}

// ---- What goes where ------------------------------------------------------------------------------------

bool file_driver::submit(chunk& c) noexcept
{
    if (held_ == depth_) return false;
    if (held_ != 0 && held_bytes_ + c.from.length > most_bytes) return false;
    ++held_;
    held_bytes_ += c.from.length;
    new (c.scratch) progress{};
    sort(c);
    return true;
}

void file_driver::sort(chunk& c) noexcept
{
    progress& p = of(c);
    file_segment& f = file_of(c);
    const std::uint64_t left = c.from.length - p.moved;
    if (!f.direct()) {
        p.step = {way::cached, static_cast<std::uint32_t>(std::min<std::uint64_t>(left, longest_piece)), 0};
        return (suits_this_thread(c, f) ? mine_ : device_).push(c);
    }
    const auto address = reinterpret_cast<std::uintptr_t>(memory(c));
    p.step = (writes(c) ? cut_write : cut_read)(place(c), left, address, f.align(), slot_bytes(f));
    (p.step.how == way::bounced && writes(c) ? mine_ : device_).push(c);
}

/// Whether to move it through the page cache here and now, for a third of what a kernel thread costs.
bool file_driver::suits_this_thread(chunk& c, file_segment& f) noexcept
{
    if (f.in_memory()) return true;
    if (!writes(c)) {
        // From some size on it pays that io_uring copies to pinned memory without walking our page tables.
        const bool pinned = of(c).step.length >= large_read && memory_slot(c, of(c).step.length) >= 0;
        return !pinned && f.try_cache();
    }
    // Where the filesystem cannot refuse to wait, parts of pages may have to be read first: not here.
    return f.writes_say_so || ((c.to.offset | c.from.length) % page == 0 && !throttled());
}

bool file_driver::throttled() noexcept
{
    if (throttled_until_ == clock::time_point{}) return false;
    if (clock::now() < throttled_until_) return true;
    throttled_until_ = {};
    return false;
}

void file_driver::finish(chunk& c, error_code e) noexcept
{
    --held_;
    held_bytes_ -= c.from.length;
    c.done(e, of(c).moved);
}

// ---- Progress -------------------------------------------------------------------------------------------

/// Cannot know the budget, so it starts only what costs a few microseconds; the rest is `poll`'s.
void file_driver::flush() noexcept
{
    std::size_t spent = 0;
    while (chunk* const c = device_.front()) {
        spent += cost(*c);
        if (spent > most_in_turn) break;
        device_.pop();
        start(*c, false);
    }
    if (in_engine_ != 0) engine_->flush();
}

std::size_t file_driver::poll(turn t) noexcept
{
    tick_ = {};
    std::size_t n = pool_.reap();
    if (held_ == 0) return n;
    if (in_engine_ != 0) n += reap(t);
    if (!device_.empty()) n += start_some(t);
    if (!mine_.empty()) n += work_some(t);
    if (in_engine_ != 0) engine_->flush();
    return n;
}

bool file_driver::arm() noexcept { return mine_.empty() && device_.empty() && engine_->arm(); }

std::size_t file_driver::reap(turn t) noexcept
{
    std::size_t n = 0;
    completion over;
    while (engine_->take(over)) {
        --in_engine_;
        ++n;
        if (land(*over.of, over.result) != 0 && t.over()) break;
    }
    return n;
}

/// The engine is through with a step. Returns how many bytes were copied.
std::size_t file_driver::land(chunk& c, int result) noexcept
{
    progress& p = of(c);
    const piece step = p.step;
    std::size_t copied = 0, wanted = step.length, got = 0;
    if (result > 0) got = static_cast<std::size_t>(result);
    if (step.how == way::bounced) {
        if (!writes(c)) {
            wanted = std::min<std::uint64_t>(step.length - step.skip, c.from.length - p.moved);
            got = std::min(got > step.skip ? got - step.skip : 0, wanted);
            std::memcpy(memory(c), bounce_.at(p.slot) + step.skip, got);
            copied = got;
        }
        give_slot(c);
    }
    p.moved += got;
    if (result == -EINVAL && step.how != way::cached) file_of(c).refuse_direct();
    else if (result < 0 && result != -EAGAIN && result != -EINTR) return finish(c, file_error(-result)), copied;
    else if (p.moved == c.from.length || (result >= 0 && got < wanted)) return finish(c, {}), copied;
    sort(c);
    return copied;
}

std::size_t file_driver::start_some(turn t) noexcept
{
    std::size_t n = 0, spent = 0;
    while (chunk* const c = device_.pop()) {
        ++n;
        start(*c, t.bounded());
        spent += cost(*c);
        if (spent < (t.bounded() ? look_at_clock : copy_at_once)) continue;
        spent = 0;
        if (!t.bounded() || t.over()) break;
    }
    return n;
}

/// Of this thread's time for starting the next step, in bytes of copying.
std::size_t file_driver::cost(chunk& c) const noexcept
{
    const piece step = of(c).step;
    if (step.how == way::cached) return call_cost + step.length; // it may be copied there and then
    return call_cost + step.length / (memory_slot(c, step.length) >= 0 ? pinned_discount : unpinned_discount);
}

/// Hands the next step to the engine, unless it must wait for a bounce buffer. `hurried`: in pieces that are
/// quick to submit.
void file_driver::start(chunk& c, bool hurried) noexcept
{
    progress& p = of(c);
    file_segment& f = file_of(c);
    request r;
    r.of = &c;
    r.write = writes(c);
    r.offset = place(c) - p.step.skip;
    r.memory = memory(c);
    r.descriptor = p.step.how == way::cached ? f.cached() : f.direct_descriptor();
    r.file_slot = p.step.how == way::cached ? f.cached_slot() : f.direct_slot();
    if (p.step.how == way::bounced) {
        if (!take_slot(c)) return;
        r.memory = bounce_.at(p.slot);
        if (r.write) std::memcpy(r.memory, memory(c), p.step.length);
    } else if (p.step.how == way::straight) {
        r.memory_slot = memory_slot(c, p.step.length);
        if (hurried && r.memory_slot < 0) p.step.length = std::min<std::uint32_t>(p.step.length, pin_in_turn);
    } else {
        r.memory_slot = memory_slot(c, p.step.length);
        if (hurried && !r.write) p.step.length = std::min<std::uint32_t>(p.step.length, most_in_turn);
        r.aside = hurried && r.write;
    }
    r.length = p.step.length;
    ++in_engine_;
    engine_->start(r);
}

int file_driver::memory_slot(chunk& c, std::uint32_t length) const noexcept
{
    const slice& s = writes(c) ? c.from : c.to;
    const std::uintptr_t note = s.of->notes[id()];
    return note ? reinterpret_cast<const known_memory*>(note)->slot(s.offset + of(c).moved, length) : -1;
}

bool file_driver::take_slot(chunk& c) noexcept
{
    of(c).slot = bounce_.take();
    if (of(c).slot != bounce_pool::none) return true;
    waiting_.push(c);
    return false;
}

void file_driver::give_slot(chunk& c) noexcept
{
    bounce_.give(std::exchange(of(c).slot, bounce_pool::none));
    if (chunk* const next = waiting_.pop()) sort(*next);
}

// ---- What this thread moves itself ----------------------------------------------------------------------

std::size_t file_driver::work_some(turn t) noexcept
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
void file_driver::keep_pace(std::size_t bytes, std::chrono::duration<double> took) noexcept
{
    const double fits = static_cast<double>(bytes) * (piece_time / std::max(took, piece_time / 100));
    in_turn_ = std::clamp(static_cast<std::size_t>(fits) & ~(page - 1), least_in_turn, most_in_turn);
}

/// Copies to a bounce buffer and sends that off. Returns the bytes copied.
std::size_t file_driver::bounce(chunk& c) noexcept
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
    const ssize_t result = transfer_now(c, f, std::min<std::uint64_t>(most, c.from.length - p.moved));
    if (result > 0) {
        p.moved += static_cast<std::size_t>(result);
        if (p.moved == c.from.length) finish(c, {});
        else mine_.push_front(c);
        return static_cast<std::size_t>(result);
    }
    if (result == 0) finish(c, {});
    else if (result == -EINTR) mine_.push_front(c);
    else if (result != -EAGAIN) finish(c, file_error(static_cast<int>(-result)));
    else {
        p.step.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(c.from.length - p.moved, longest_piece));
        device_.push(c);
    }
    return 0;
}

/// Bytes, or a negative errno; -EAGAIN is for the engine to do.
ssize_t file_driver::transfer_now(chunk& c, file_segment& f, std::size_t length) noexcept
{
    const bool write = writes(c);
    const iovec v{memory(c), length};
    const auto at = static_cast<off_t>(place(c));
    const int flags = f.in_memory() ? 0 : RWF_NOWAIT;
    if (write && !f.writes_say_so && !f.in_memory()) return write_now(f.cached(), v, at);
    const ssize_t n = write ? ::pwritev2(f.cached(), &v, 1, at, flags) : ::preadv2(f.cached(), &v, 1, at, flags);
    if (n >= 0) {
        if (!write) f.cache_hit();
        return n;
    }
    if (errno == EAGAIN && !write) f.cache_missed();
    if (errno != EOPNOTSUPP) return -errno;
    if (write) f.writes_say_so = false;
    else f.cache_unknown();
    return -EAGAIN;
}

/// A write that may wait. When it does, this thread keeps off for a while: kernel threads can wait instead.
/// One that took long makes us wary, so that the next to do so can be told from one that was preempted.
ssize_t file_driver::write_now(int descriptor, const iovec& from, off_t at) noexcept
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

// ---- Memory and files -----------------------------------------------------------------------------------

void file_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    if (s.tier != tier::dram || s.length == 0 || !engine_->wants_memory()) return done({});
    auto* const known = new known_memory{s, *engine_, pool_, std::move(done)};
    s.notes[id()] = reinterpret_cast<std::uintptr_t>(known);
}

void file_driver::dismiss(segment& s) noexcept
{
    if (const std::uintptr_t note = std::exchange(s.notes[id()], 0)) reinterpret_cast<known_memory*>(note)->forget();
}

struct file_driver::open_job final : blocking_pool::job {
    file_driver* by = nullptr;
    std::string path;
    file_options options;
    std::function<void(error_code, std::unique_ptr<segment>)> done;
    opened file;
    int error = 0;

    void work() noexcept override { error = storage::open_file(path, options, file); }
    void finished() noexcept override
    {
        const std::unique_ptr<open_job> self{this};
        if (error != 0) return done(file_error(error), nullptr);
        done({}, by->adopt(std::move(path), std::move(file), options.access));
    }
};

std::unique_ptr<segment> file_driver::adopt(std::string path, opened file, wye::access access)
{
    const bool bounces = file.align.granule <= bounce_.slot_bytes() && file.align.memory <= page;
    if (!bounces) file.direct = descriptor{};
    return std::make_unique<file_segment>(std::move(path), std::move(file), access, *this, *engine_);
}

void file_driver::open_file(std::string path, const file_options& options,
                            std::function<void(error_code, std::unique_ptr<segment>)> done)
{
    auto job = std::make_unique<open_job>();
    job->by = this;
    job->path = std::move(path);
    job->options = options;
    job->done = std::move(done);
    pool_.submit(*job.release());
}

struct file_driver::sync_job final : blocking_pool::job {
    int descriptor = -1;
    int error = 0;
    std::function<void(error_code)> done;

    void work() noexcept override
    {
        do error = ::fdatasync(descriptor) == 0 ? 0 : errno;
        while (error == EINTR);
    }
    void finished() noexcept override
    {
        const std::unique_ptr<sync_job> self{this};
        done(error == 0 ? error_code{} : file_error(error));
    }
};

void file_driver::sync(segment& file, std::function<void(error_code)> done)
{
    auto job = std::make_unique<sync_job>();
    job->descriptor = static_cast<file_segment&>(file).cached();
    job->done = std::move(done);
    pool_.submit(*job.release());
}

} // namespace wye::storage

namespace wye::drivers {

std::unique_ptr<driver> file(const file_driver_options& o) { return std::make_unique<storage::file_driver>(o); }

} // namespace wye::drivers
