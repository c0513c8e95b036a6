// SPDX-License-Identifier: Apache-2.0
#include "file_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "known_memory.hpp"

namespace wye::storage {

namespace {

constexpr std::size_t most_bytes = 32_MiB;   // more in flight gains nothing and makes submission wait
constexpr std::size_t pin_in_turn = 256_KiB; // memory the kernel must pin first costs 60 us/MiB to submit
constexpr unsigned pinned_discount = 8;      // what submission costs, against copying it all
constexpr unsigned unpinned_discount = 3;

std::unique_ptr<io_engine> choose_engine(const drivers::file_driver_options& o, unsigned depth,
                                         blocking_pool& pool)
{
    using drivers::file_engine;
    if (o.engine == file_engine::threads) return make_thread_engine(depth, pool);
    int error = 0;
    if (auto made = make_uring_engine(depth, pool, error)) return made;
    if (o.engine == file_engine::uring) throw system_error{file_error(error), "io_uring"};
    return make_thread_engine(depth, pool);
}

} // namespace

file_driver::progress& file_driver::of(chunk& c) noexcept
{
    static_assert(sizeof(progress) <= sizeof c.scratch && alignof(progress) <= alignof(std::uint64_t));
    return *std::launder(reinterpret_cast<progress*>(c.scratch));
}

file_driver::file_driver(const drivers::file_driver_options& o)
    : depth_{std::clamp(o.queue_depth, 1u, 4096u)}, pool_{o.threads},
      engine_{choose_engine(o, depth_, pool_)}, bounce_{o.bounce_bytes}
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
    l.at_once_bytes = most_in_turn;
    l.bytes_per_second = 2e9;
    return l;
}

bool file_driver::carries(const slice& from, const slice& to) const noexcept
{
    return (from.of->home == this && to.tier() == tier::dram) ||
           (to.of->home == this && from.tier() == tier::dram);
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

void file_driver::finish(chunk& c, error_code e) noexcept
{
    --held_;
    held_bytes_ -= c.from.length;
    if (!e.failed() && of(c).moved == c.from.length) c.done(); // the usual case, told the quick way
    else c.done(e, of(c).moved);
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
    if (result == -EINVAL && step.how != way::cached)
        file_of(c).refuse_direct();
    else if (result < 0 && result != -EAGAIN && result != -EINTR)
        return finish(c, file_error(-result)), copied;
    else if (p.moved == c.from.length || (result >= 0 && got < wanted))
        return finish(c, {}), copied;
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
    if (hurried && p.step.how == way::cached) engine_->flush(); // its copying counts now, not with the next
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

// ---- Memory and files -----------------------------------------------------------------------------------

void file_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    if (s.tier != tier::dram || s.length == 0 || !engine_->wants_memory()) return done({});
    auto* const known = new known_memory{s, *engine_, pool_, std::move(done)};
    s.notes[id()] = reinterpret_cast<std::uintptr_t>(known);
}

void file_driver::dismiss(segment& s) noexcept
{
    if (const std::uintptr_t note = std::exchange(s.notes[id()], 0))
        reinterpret_cast<known_memory*>(note)->forget();
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

std::unique_ptr<driver> file(const file_driver_options& o)
{
    return std::make_unique<storage::file_driver>(o);
}

} // namespace wye::drivers
