// SPDX-License-Identifier: Apache-2.0
#include "progress_loop.hpp"

#include <algorithm>
#include <thread>

#include <boost/asio/detail/thread_context.hpp>
#include <boost/asio/post.hpp>
#include <sched.h>

#include "descriptor_waits.hpp"

namespace wye::detail {

namespace asio = boost::asio;

namespace {

// The io_context costs 35 to 280 ns a poll, so it has its turn every so many passes; more often when those
// passes find nothing, since then what is awaited may well be a socket.
constexpr std::uint32_t io_cadence_busy = 32; // powers of two
constexpr std::uint32_t io_cadence_idle = 8;
// So does an agent that only listens, where handlers run in each pass: whoever writes to it is not in such a hurry.
constexpr std::uint32_t listening_cadence = 4;
// Handlers between two looks at the clock.
constexpr std::size_t handlers_per_look = 8;
constexpr duration guest_turn = std::chrono::microseconds{100};

/// Lets Asio recycle coroutine frames and handler memory on this thread, which otherwise happens only inside
/// `io_context::run`. It is the call stack entry that io_context itself makes.
struct recycling_scope : asio::detail::thread_context {
    explicit recycling_scope(asio::detail::thread_info_base& frames) : entry{this, frames} {}
    thread_call_stack::context entry;
};

/// The loops of this process. Nobody asks on a hot path.
class loop_list {
public:
    void add(loop& l)
    {
        const std::lock_guard lock{mutex_};
        all_.push_back(&l);
    }
    void remove(loop& l) noexcept
    {
        const std::lock_guard lock{mutex_};
        std::erase(all_, &l);
    }
    loop* of_this_thread() noexcept
    {
        const std::lock_guard lock{mutex_};
        const auto it = std::find_if(all_.rbegin(), all_.rend(), [](const loop* l) { return l->here(); });
        return it == all_.rend() ? nullptr : *it;
    }

private:
    std::mutex mutex_;
    std::vector<loop*> all_;
};

loop_list& loops() noexcept
{
    static loop_list all;
    return all;
}

} // namespace

loop* loop_of_this_thread() noexcept { return loops().of_this_thread(); }

struct progress_loop::entered {
    explicit entered(progress_loop& l) : loop{l}
    {
        // A host recycles by itself, and what one of us frees must come back to the same one.
        if (!l.guest_) scope.emplace(l.frames_);
        ++loop.depth_;
    }
    ~entered() { --loop.depth_; }
    entered(const entered&) = delete;
    progress_loop& loop;
    std::optional<recycling_scope> scope;
};

progress_loop::progress_loop(const runtime_options& o)
    : progress_loop{*new own_context{1}, o}
{
    own_.reset(static_cast<own_context*>(&io()));
    keep_.emplace(own_->get_executor());
    by_ = o.clock;
    guest_ = false;
}

progress_loop::progress_loop(asio::io_context& host, const runtime_options& o)
    : loop{host}, waits_{std::make_unique<descriptor_waits>(host, *this)}, idle_{o.idle}, guest_{true}
{
    loops().add(*this);
}

progress_loop::~progress_loop()
{
    shut_down();
    loops().remove(*this);
    keep_.reset();
    if (!own_) return;
    // Handlers that wait in it may hold coroutines, which unwind through our queue, and what they hold (timers,
    // sockets) needs its services.
    own_->close();
    drop_ready();
    own_.reset();
    drop_ready();
}

void progress_loop::bind_thread() noexcept { owner_.store(this_thread(), std::memory_order_relaxed); }

void progress_loop::add(source& s) { sources_.push_back(&s); }

void progress_loop::remove(source& s) noexcept
{
    std::vector<int> fds;
    s.descriptors(fds);
    if (waits_) waits_->forget(fds);
    std::erase(sources_, &s);
}

bool progress_loop::anything_in_flight() const noexcept
{
    return std::any_of(sources_.begin(), sources_.end(), [](const source* s) { return s->in_flight(); });
}

bool progress_loop::anything_due() const noexcept
{
    return std::any_of(sources_.begin(), sources_.end(), [](const source* s) { return s->due(); });
}

bool progress_loop::nothing_left() const noexcept
{
    return operations_ == 0 && !queued() && work_.load(std::memory_order_acquire) <= 0 &&
           !inbox_.load(std::memory_order_acquire);
}

bool progress_loop::has_work() const noexcept { return !nothing_left(); }

std::size_t progress_loop::run(clock::time_point until)
{
    bind_thread();
    const entered here{*this};
    std::size_t total = 0;
    while (!stopped()) {
        const std::size_t progress = pass(turn{}, listening_cadence);
        total += progress;
        if (until != clock::time_point::max() && now() >= until) break;
        if (progress != 0) {
            last_progress_ = {};
            continue;
        }
        if (nothing_left() || !wait(last_progress_, until)) break;
    }
    stopped_.store(false, std::memory_order_relaxed);
    return total;
}

poll_result progress_loop::poll(duration budget)
{
    bind_thread();
    const entered here{*this};
    const bool bounded = budget != duration::max();
    const turn t = bounded ? turn{now() + budget, by_} : turn{};
    poll_result r;
    std::size_t progress = 0;
    do {
        progress = pass(t);
        r.progress += progress;
    } while (bounded && progress != 0 && !t.over());
    r.more = progress != 0 || queued() || (anything_in_flight() && !all_have_descriptors());
    return r;
}

void progress_loop::stop() noexcept
{
    stopped_.store(true, std::memory_order_seq_cst);
    wake();
}

std::size_t progress_loop::pass(turn t, std::uint32_t listen_every)
{
    std::size_t n = 0;
    bounded_ = t.bounded();
    if (inbox_.load(std::memory_order_relaxed)) n += take_inbox();
    const bool listens = (passes_ & (listen_every - 1)) == 0;
    for (std::size_t i = 0; i < std::max<std::size_t>(1, sources_.size()); ++i) {
        const std::size_t ran = run_ready(t); // of what one agent has finished, say
        n += ran;
        if (ran != 0)
            for (source* s : sources_) s->handed_over();
        if (i >= sources_.size() || (n != 0 && !listens && sources_[i]->only_listens())) continue;
        if (sources_[i]->in_flight()) n += sources_[i]->poll(t);
    }
    if (!timers_.empty()) n += fire_timers();
    ++passes_;
    if (!guest_ && (passes_ & ((n ? io_cadence_busy : io_cadence_idle) - 1)) == 0) n += io().poll();
    // What ended without a driver (a copy of nothing, a stopped one) has queued its handler, which must not wait for a nap.
    return n != 0 || !queued() ? n : 1;
}

std::size_t progress_loop::take_inbox() noexcept
{
    // Pushed last comes out first: turn it round.
    work_item* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
    work_item* oldest = nullptr;
    while (newest) {
        work_item* next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    std::size_t n = 0;
    for (; oldest; ++n) {
        work_item* next = oldest->next;
        ready_.push(*oldest);
        oldest = next;
    }
    return n;
}

std::size_t progress_loop::run_ready(turn t)
{
    // What handlers queue meanwhile waits for the next pass: one that re-posts itself starves nobody.
    if (batch_.empty()) std::swap(batch_, ready_);
    std::size_t n = 0;
    while (work_item* w = batch_.pop()) {
        w->act(w, true);
        if (++n % handlers_per_look == 0 && t.over()) break;
    }
    return n;
}

std::size_t progress_loop::fire_timers() noexcept
{
    const auto time = now();
    std::size_t n = 0;
    while (!timers_.empty() && timers_.front().when <= time) {
        timer& t = timers_.front();
        timers_.remove(t);
        t.fire(&t);
        ++n;
    }
    return n;
}

/// Between passes. False: nothing will ever come.
bool progress_loop::wait(clock::time_point since, clock::time_point until)
{
    if (!by_) {
        idle(since, until);
        return true;
    }
    for (source* s : sources_) s->idle(now());
    return by_->pass(std::min(until, next_timer()));
}

void progress_loop::idle(clock::time_point since, clock::time_point until)
{
    const auto time = clock::now();
    for (source* s : sources_) s->idle(time);
    if (!anything_in_flight()) return sleep(until);
    const bool sleepable = all_have_descriptors();
    if (since == clock::time_point{}) since = last_progress_ = time;
    const duration quiet = time - since;
    if (quiet < idle_.spin && !(sleepable && several_out())) return __builtin_ia32_pause();
    if (!sleepable) {
        if (anything_due()) __builtin_ia32_pause();
        else if (quiet < idle_.spin + idle_.yield) ::sched_yield();
        else std::this_thread::sleep_for(idle_.nap);
    } else if (arm()) {
        sleep(until);
    }
}

/// With several pieces out, one in line is as good as the next: the device stays busy while we sleep, and spinning
/// would only keep the processor from what completes them.
bool progress_loop::several_out() const noexcept
{
    std::size_t out = 0;
    for (const source* s : sources_) out += s->outstanding();
    return out > 1;
}

bool progress_loop::all_have_descriptors() noexcept
{
    descriptors_.clear();
    bool all = true;
    for (const source* s : sources_)
        if (s->in_flight() && !s->descriptors(descriptors_)) all = false;
    return all;
}

/// Before sleeping on the descriptors just found. False: something turned up meanwhile.
bool progress_loop::arm() noexcept
{
    for (source* s : sources_)
        if (s->in_flight() && !s->arm()) return false;
    waits_->await(descriptors_);
    return true;
}

void progress_loop::sleep(clock::time_point until)
{
    sleeping_.store(true, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool something = queued() || inbox_.load(std::memory_order_acquire) || stopped() || nothing_left();
    if (!something) {
        const auto next = std::min(until, next_timer());
        if (next != clock::time_point::max()) waits_->await(next);
        io().run_one();
    }
    sleeping_.store(false, std::memory_order_relaxed);
    last_progress_ = {};
}

void progress_loop::wake() noexcept
{
    if (guest_) return schedule_turn();
    if (sleeping_.load(std::memory_order_seq_cst)) asio::post(io(), [] {});
}

// A guest has turns in its host's time: each does what is ready and says how it wants to be called again.

void progress_loop::schedule_turn() noexcept
{
    if (!guest_ || shut_ || turn_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
    waits_->post_turn();
}

void progress_loop::take_turn()
{
    if (!guest_ || shut_) return;
    turn_scheduled_.store(false, std::memory_order_release);
    bind_thread();
    const entered here{*this};
    const turn t{clock::now() + guest_turn};
    bool progress = false;
    try {
        while (pass(t) != 0) {
            progress = true;
            if (t.over()) break;
        }
    } catch (...) { // of a handler, for whoever runs the host
        schedule_turn();
        throw;
    }
    after_turn(progress);
}

void progress_loop::after_turn(bool progress)
{
    if (progress || queued() || inbox_.load(std::memory_order_acquire)) {
        last_progress_ = {};
        return schedule_turn();
    }
    const auto time = clock::now();
    for (source* s : sources_) s->idle(time);
    const bool in_flight = anything_in_flight();
    if (!in_flight && timers_.empty()) return waits_->cancel();
    if (!timers_.empty()) waits_->await(timers_.front().when);
    if (!in_flight) return;
    if (last_progress_ == clock::time_point{}) last_progress_ = time;
    if (time - last_progress_ < idle_.spin) return schedule_turn();
    // Never by posting again without end: io_context::poll() would not return.
    if (!all_have_descriptors()) waits_->await(time + idle_.nap);
    else if (!arm()) schedule_turn();
}

void progress_loop::hold_host() noexcept
{
    if (!guest_) {
        if (sleeping_.load(std::memory_order_seq_cst)) wake(); // run() may be over
        return;
    }
    const std::lock_guard lock{host_hold_};
    if (work_.load(std::memory_order_acquire) > 0 && !shut_) {
        if (!keep_) keep_.emplace(io().get_executor());
    } else {
        keep_.reset();
    }
}

void progress_loop::shut_down() noexcept
{
    if (shut_) return;
    bind_thread();
    shut_ = true;
    for (std::size_t i = 0; i < sources_.size(); ++i) sources_[i]->drain();
    drop_ready();
    waits_.reset();
    if (guest_) {
        const std::lock_guard lock{host_hold_};
        keep_.reset();
    }
}

void progress_loop::drop_ready() noexcept
{
    // Destroying one coroutine may queue the unwinding of another.
    for (;;) {
        take_inbox();
        while (!timers_.empty()) {
            timer& t = timers_.front();
            timers_.remove(t);
            t.fire(&t);
        }
        work_item* w = batch_.empty() ? ready_.pop() : batch_.pop();
        if (!w) break;
        w->act(w, false);
    }
}

} // namespace wye::detail
