// SPDX-License-Identifier: Apache-2.0
#include "reactor.hpp"

#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace wye::storage::s3 {

namespace {

int checked(int fd, const char* what)
{
    if (fd < 0) throw system_error(object_error(errno), what);
    return fd;
}

} // namespace

reactor::reactor() : epoll_{checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")}
{
    alarm_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    const int failed = alarm_ < 0 ? errno : wake_by(alarm_);
    if (!failed) return;
    if (alarm_ >= 0) ::close(alarm_);
    ::close(epoll_);
    throw system_error(object_error(failed), "timerfd");
}

reactor::~reactor()
{
    ::close(alarm_);
    ::close(epoll_);
}

int reactor::watch(int fd, pollable& p) noexcept
{
    epoll_event e{};
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    e.data.ptr = &p;
    return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : errno;
}

int reactor::wake_by(int fd) noexcept
{
    epoll_event e{};
    e.events = EPOLLIN;
    return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : errno;
}

void reactor::forget(int fd) noexcept { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

reactor::timer_id reactor::after(duration d, std::function<void()> fire)
{
    return timers_.emplace(now() + d, std::move(fire));
}

std::size_t reactor::poll(turn t)
{
    std::size_t n = take_events() + fire_timers();
    // What is queued meanwhile has its turn with the next poll, so that none keeps the others waiting.
    list batch;
    batch.swap(runnable_);
    while (!batch.empty()) {
        pollable& p = batch.front();
        batch.pop_front();
        p.run(t);
        ++n;
        if (t.over()) break;
    }
    runnable_.splice(runnable_.begin(), batch);

    std::vector<std::coroutine_handle<>> going;
    going.swap(ready_);
    std::size_t resumed = 0;
    while (resumed < going.size()) {
        going[resumed++].resume();
        if (t.over()) break;
    }
    ready_.insert(ready_.begin(), going.begin() + static_cast<std::ptrdiff_t>(resumed), going.end());
    return n + resumed;
}

/// All flags are set before anything runs: what runs may end what another event is for.
std::size_t reactor::take_events()
{
    std::array<epoll_event, 64> events;
    const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    std::size_t taken = 0;
    for (int i = 0; i < n; ++i) {
        auto* const p = static_cast<pollable*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (!p) continue;
        const auto what = events[static_cast<std::size_t>(i)].events;
        if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) p->readable = true;
        if (what & (EPOLLOUT | EPOLLHUP | EPOLLERR)) p->writable = true;
        run_soon(*p);
        ++taken;
    }
    return taken;
}

std::size_t reactor::fire_timers()
{
    if (timers_.empty()) return 0;
    const auto time = now();
    std::size_t n = 0;
    for (; !timers_.empty() && timers_.begin()->first <= time; ++n) {
        const auto fire = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        fire();
    }
    return n;
}

bool reactor::arm() noexcept
{
    if (!runnable_.empty() || !ready_.empty()) return false;
    const auto next = timers_.empty() ? clock::time_point::max() : timers_.begin()->first;
    if (next != clock::time_point::max() && next <= now()) return false;
    if (next == alarm_at_ && next == clock::time_point::max()) return true;
    // Set anew each time: that clears what it has told, too.
    itimerspec at{};
    if (next != clock::time_point::max()) {
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(next.time_since_epoch()).count();
        at.it_value.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
        at.it_value.tv_nsec = static_cast<long>(ns % 1'000'000'000);
    }
    ::timerfd_settime(alarm_, TFD_TIMER_ABSTIME, &at, nullptr);
    alarm_at_ = next;
    return true;
}

} // namespace wye::storage::s3
