// SPDX-License-Identifier: Apache-2.0
#include "blocking_pool.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <system_error>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace wye::storage {

namespace {

int make_event()
{
    const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) throw std::system_error{errno, std::system_category(), "eventfd"};
    return event;
}

} // namespace

blocking_pool::blocking_pool(unsigned threads) : most_threads_{std::max(threads, 1u)}, event_{make_event()}
{
    helpers_.reserve(most_threads_);
}

blocking_pool::~blocking_pool()
{
    while (outstanding_ != 0) {
        pollfd wait{event_, POLLIN, 0};
        if (arm()) ::poll(&wait, 1, -1);
        reap();
    }
    {
        const std::lock_guard lock{mutex_};
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
    ::close(event_);
}

void blocking_pool::fifo::push(job& j) noexcept
{
    j.next = nullptr;
    (head ? tail->next : head) = &j;
    tail = &j;
}

blocking_pool::job* blocking_pool::fifo::pop() noexcept
{
    job* const first = head;
    if (first) head = first->next;
    return first;
}

void blocking_pool::submit(job& j, bool urgent) noexcept
{
    ++outstanding_;
    bool call = false;
    {
        const std::lock_guard lock{mutex_};
        (urgent ? urgent_ : normal_).push(j);
        // A helper that is awake comes back to the queue by itself; waking costs a system call, so each
        // sleeper is called once and counted as busy from then on.
        if (idle_ != 0) {
            --idle_;
            ++calls_;
            call = true;
        }
    }
    if (call) wake_.notify_one();
    else if (helpers_.size() < most_threads_) start_helper();
}

std::size_t blocking_pool::reap() noexcept
{
    if (ready_.load(std::memory_order_relaxed) == nullptr) return 0;
    job* latest = ready_.exchange(nullptr, std::memory_order_acquire);
    job* oldest = nullptr;
    while (latest) {
        job* const below = latest->next;
        latest->next = oldest;
        oldest = latest;
        latest = below;
    }
    std::size_t reaped = 0;
    while (oldest) {
        job& j = *oldest;
        oldest = j.next;
        --outstanding_;
        j.finished();
        ++reaped;
    }
    return reaped;
}

bool blocking_pool::arm() noexcept
{
    // Always read: a helper may have taken the last arming and write only now.
    std::uint64_t count;
    [[maybe_unused]] const auto cleared = ::read(event_, &count, sizeof count);
    armed_.store(true, std::memory_order_seq_cst);
    if (ready_.load(std::memory_order_seq_cst) == nullptr) return true;
    armed_.store(false, std::memory_order_relaxed);
    return false;
}

void blocking_pool::start_helper() noexcept
{
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before); // inherited by the thread
    try {
        helpers_.emplace_back([this] { help(); });
    } catch (const std::system_error&) {
        // Out of threads. Those that run will get to the job; without any, the caller must.
        if (helpers_.empty()) {
            job* const j = take();
            j->work();
            hand_back(*j);
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void blocking_pool::help() noexcept
{
    while (job* const j = take()) {
        j->work();
        hand_back(*j);
    }
}

blocking_pool::job* blocking_pool::take() noexcept
{
    std::unique_lock lock{mutex_};
    while (true) {
        if (job* const j = urgent_.pop()) return j;
        if (job* const j = normal_.pop()) return j;
        if (stop_) return nullptr;
        ++idle_;
        wake_.wait(lock, [this] { return calls_ != 0 || stop_; });
        if (calls_ != 0) --calls_;
    }
}

void blocking_pool::hand_back(job& j) noexcept
{
    job* top = ready_.load(std::memory_order_relaxed);
    do {
        j.next = top;
    } while (!ready_.compare_exchange_weak(top, &j, std::memory_order_seq_cst, std::memory_order_relaxed));

    // The loop stores armed_ and then loads ready_, this thread the other way round, both seq_cst: one of
    // the two sees the other.
    if (armed_.load(std::memory_order_seq_cst) && armed_.exchange(false)) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(event_, &one, sizeof one);
    }
}

} // namespace wye::storage
