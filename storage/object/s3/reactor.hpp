// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include <boost/intrusive/list.hpp>

#include <wye/driver.hpp>

namespace wye::storage::s3 {

/// What the kernel tells of, or what goes on a little with each turn.
class pollable : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
    /// Goes on until it would block, or the turn is over; then it asks to be run again.
    virtual void run(turn) noexcept = 0;

    bool readable = false, writable = false; ///< the kernel said so, and has not said otherwise since

protected:
    ~pollable() = default;
};

/// Where flows of a driver wait: for sockets, for time, and for the processor. Everything happens in `poll`, on the
/// runtime's thread; `wait_handle` turns readable when there is something for it.
class reactor {
public:
    using clock = std::chrono::steady_clock;

    /// Throws system_error.
    reactor();
    reactor(const reactor&) = delete;
    reactor& operator=(const reactor&) = delete;
    ~reactor();

    /// Edge by edge: `run` is called when something became possible. An errno.
    int watch(int fd, pollable&) noexcept;
    void forget(int fd) noexcept;
    /// `wait_handle` turns readable while this one is. An errno.
    int wake_by(int fd) noexcept;
    /// Runs it in this poll or the next.
    void run_soon(pollable& p) noexcept
    {
        if (!p.is_linked()) runnable_.push_back(p);
    }
    /// The same for a flow.
    void resume_soon(std::coroutine_handle<> h) { ready_.push_back(h); }

    /// Timers: `fire` comes from `poll`.
    using timer_id = std::multimap<clock::time_point, std::function<void()>>::iterator;
    timer_id after(duration, std::function<void()> fire);
    void cancel(timer_id t) noexcept { timers_.erase(t); }
    static clock::time_point now() noexcept { return clock::now(); }

    /// Returns how much was done.
    std::size_t poll(turn);
    int wait_handle() const noexcept { return epoll_; }
    bool arm() noexcept;

private:
    std::size_t take_events();
    std::size_t fire_timers();

    using list = boost::intrusive::list<pollable, boost::intrusive::constant_time_size<false>>;
    int epoll_ = -1, alarm_ = -1;
    list runnable_;
    std::vector<std::coroutine_handle<>> ready_;
    std::multimap<clock::time_point, std::function<void()>> timers_;
    clock::time_point alarm_at_ = clock::time_point::max();
};

/// What a flow may be stopped by: the leaf that it waits in is told. Outlives the flow.
class stop_signal {
public:
    /// In which a flow waits. One at a time.
    struct listener {
        virtual void stop() noexcept = 0;

    protected:
        ~listener() = default;
    };

    void pull() noexcept
    {
        if (pulled_) return;
        pulled_ = true;
        if (listener_) listener_->stop();
    }
    bool pulled() const noexcept { return pulled_; }
    void listen(listener* l) noexcept { listener_ = l; }

private:
    bool pulled_ = false;
    listener* listener_ = nullptr;
};

/// `co_await pause{reactor, 5ms, stop}`: false when it was stopped.
class pause final : stop_signal::listener {
public:
    pause(reactor& r, duration d, stop_signal& s) noexcept : reactor_{r}, time_{d}, stop_{s} {}
    bool await_ready() const noexcept { return stop_.pulled(); }
    void await_suspend(std::coroutine_handle<> h)
    {
        waiting_ = h;
        stop_.listen(this);
        timer_ = reactor_.after(time_, [this] {
            armed_ = false;
            reactor_.resume_soon(waiting_);
        });
        armed_ = true;
    }
    bool await_resume() noexcept
    {
        stop_.listen(nullptr);
        return !stop_.pulled();
    }

private:
    void stop() noexcept override
    {
        if (!std::exchange(armed_, false)) return; // it has fired, and the flow goes on by itself
        reactor_.cancel(timer_);
        reactor_.resume_soon(waiting_);
    }

    reactor& reactor_;
    duration time_;
    stop_signal& stop_;
    std::coroutine_handle<> waiting_;
    reactor::timer_id timer_;
    bool armed_ = false;
};

/// `co_await next_turn{reactor}`: goes on in another part of this poll, or in the next one.
class next_turn {
public:
    explicit next_turn(reactor& r) noexcept : reactor_{r} {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) { reactor_.resume_soon(h); }
    void await_resume() const noexcept {}

private:
    reactor& reactor_;
};

/// `co_await work{reactor, step}`: calls `step(turn)` until it says that it is done, in slices of some microseconds.
template <class Step>
class work final : pollable {
public:
    work(reactor& r, Step s) noexcept : reactor_{r}, step_{std::move(s)} {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) noexcept
    {
        waiting_ = h;
        reactor_.run_soon(*this);
    }
    void await_resume() const noexcept {}

private:
    void run(turn t) noexcept override
    {
        do {
            if (step_()) return reactor_.resume_soon(waiting_);
        } while (!t.over());
        reactor_.run_soon(*this);
    }

    reactor& reactor_;
    Step step_;
    std::coroutine_handle<> waiting_;
};

} // namespace wye::storage::s3
