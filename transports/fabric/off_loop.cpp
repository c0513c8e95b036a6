// SPDX-License-Identifier: Apache-2.0
#include "off_loop.hpp"

#include <cerrno>
#include <csignal>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

#include <wye/error.hpp>

namespace wye::ofi {

off_loop::off_loop() : event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}
{
    if (event_ < 0) throw system_error(error_code{errno, boost::system::generic_category()}, "eventfd");
    // The helper takes no signals, so that the program's handlers run where it expects them.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    helper_ = std::thread{[this] { help(); }};
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

off_loop::~off_loop()
{
    {
        const std::lock_guard lock{mutex_};
        stop_ = true;
    }
    wake_.notify_one();
    helper_.join();
    ::close(event_);
}

void off_loop::run(std::function<void()> work, std::function<void()> finished)
{
    ++outstanding_;
    {
        const std::lock_guard lock{mutex_};
        todo_.push_back({std::move(work), std::move(finished)});
    }
    wake_.notify_one();
}

std::size_t off_loop::reap()
{
    if (outstanding_ == 0) return 0;
    std::vector<job> over;
    {
        const std::lock_guard lock{mutex_};
        over.swap(over_);
        std::uint64_t count;
        [[maybe_unused]] const auto n = ::read(event_, &count, sizeof count);
    }
    outstanding_ -= over.size();
    for (job& j : over) j.finished();
    return over.size();
}

void off_loop::wait()
{
    std::unique_lock lock{mutex_};
    done_.wait(lock, [this] { return todo_.empty() && !working_; });
}

void off_loop::help() noexcept
{
    std::unique_lock lock{mutex_};
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || !todo_.empty(); });
        if (todo_.empty()) return;
        job j = std::move(todo_.front());
        todo_.pop_front();
        working_ = true;
        lock.unlock();
        j.work();
        lock.lock();
        working_ = false;
        over_.push_back(std::move(j));
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto n = ::write(event_, &one, sizeof one);
        done_.notify_all();
    }
}

} // namespace wye::ofi
