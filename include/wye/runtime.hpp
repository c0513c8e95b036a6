// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/execution_context.hpp>

#include <wye/detail/initiate.hpp>
#include <wye/executor.hpp>
#include <wye/units.hpp>

namespace boost::asio {
class io_context;
}

namespace wye {

class virtual_clock;

/// What the loop does when nothing is ready but something is in flight. While all of that has descriptors: with
/// one piece out it polls without pause for `spin`, then sleeps in the kernel; with several it sleeps at once, since
/// the device stays busy meanwhile. While some of it can only be polled: it spins, then for `yield` yields the
/// processor between polls, then naps; it goes on spinning while a driver says that something is due (`driver::due`). With nothing in flight it sleeps, and uses no processor time.
struct idle_policy {
    duration spin = std::chrono::microseconds{20};
    duration yield = std::chrono::microseconds{50};
    duration nap = std::chrono::microseconds{50};
};

struct runtime_options {
    idle_policy idle;
    virtual_clock* clock = nullptr; ///< to go by instead of the system's, for simulations; not for guests
};

/// What a call of `runtime::poll` found.
struct poll_result {
    std::size_t progress = 0; ///< handlers run and completions reaped
    bool more = false;        ///< something is ready or must be polled: call again soon. False: everything in
                              ///< flight has a descriptor or a timer, and `run_for` may sleep on it
    explicit operator bool() const noexcept { return more; }
};

/// One thread's progress loop: completion queues, io_uring, timers, sockets and coroutines together.
///
/// It is an Asio execution context: `co_spawn(rt, …)`, `asio::post(rt, …)`. Drive it in one of three ways:
/// `run()` on a thread of its own, `poll(budget)` from your scheduler, or as a guest in your `io_context`
/// (which then drives it). One thread at a time; that thread owns it and every handle made from it. A copy
/// begun on another thread ends in `errc::wrong_thread`; `asio::post(rt, …)` is the way in.
///
/// The destructor cancels and drains what is in flight, then drops what waits without resuming it. Agents,
/// regions and files must be gone by then, or live in coroutines that it drops.
class runtime : public boost::asio::execution_context {
public:
    using executor_type = executor;

    explicit runtime(const runtime_options& = {});
    /// A guest: `io` drives it, and drains it before its own destruction destroys suspended coroutines. `io`
    /// must be run by one thread at a time.
    explicit runtime(boost::asio::io_context& io, const runtime_options& = {});
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;
    ~runtime();

    executor get_executor() const noexcept { return executor{*loop_}; }

    /// Until there is no work left (copies, coroutines, tracked executors) or `stop()`. Sleeps when idle.
    /// Returns how many handlers ran. Lets exceptions of handlers through; call it again to go on.
    std::size_t run();
    /// The same, for at most so long.
    std::size_t run_for(duration);
    /// Never blocks. Works for about `budget`: copies and checksums that do not fit wait for the next call.
    /// Without a budget: one pass over everything that is ready.
    poll_result poll(duration budget = duration::max());
    /// When the earliest of its timers (deadlines, sleeps) is due, for who calls `poll`; `max()` without any.
    std::chrono::steady_clock::time_point next_timer() const noexcept;
    /// Makes `run` return soon. Any thread.
    void stop() noexcept;
    bool stopped() const noexcept;

    /// The `io_context` for sockets, signals and Asio timers: its own, or the host's.
    boost::asio::io_context& io() noexcept;
    /// Whether copies, coroutines or posted functions are outstanding.
    bool has_work() const noexcept;

    /// Completes after `d`, on the loop's own timer heap (an Asio timer costs 16 us an await).
    /// Signature `void(error_code)`; cancellable.
    template <boost::asio::completion_token_for<void(error_code)> Token = boost::asio::deferred_t>
    [[nodiscard]] auto sleep(duration d, Token&& token = boost::asio::deferred_t{})
    {
        return boost::asio::async_initiate<Token, void(error_code)>(detail::initiate_sleep{*loop_, d}, token);
    }

    detail::loop& loop() noexcept { return *loop_; }

private:
    std::unique_ptr<detail::loop, void (*)(detail::loop*)> loop_;
};

} // namespace wye
