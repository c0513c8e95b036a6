// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

namespace wye::detail {

class progress_loop;

/// How a loop reaches the `io_context` that it sleeps in, or that drives it: turns posted to it, descriptors
/// and one timer awaited in it. Whatever is still queued there when this goes finds nobody and does nothing.
class descriptor_waits {
public:
    using clock = std::chrono::steady_clock;

    descriptor_waits(boost::asio::io_context&, progress_loop&);
    ~descriptor_waits();

    /// Runs a turn of the loop from the `io_context`.
    void post_turn();
    /// Awaits each descriptor once, unless that is under way.
    void await(const std::vector<int>& descriptors);
    /// Forgets descriptors that are about to be closed.
    void forget(const std::vector<int>& descriptors) noexcept;
    /// Wakes at `when` at the latest. An earlier one that is set already will do.
    void await(clock::time_point when);
    /// Lets an `io_context` that has nothing else to do return from `run`.
    void cancel() noexcept;

private:
    struct watched {
        explicit watched(boost::asio::io_context& io, int fd) : descriptor{io, fd} {}
        ~watched() { descriptor.release(); } // the driver's own, not ours to close
        boost::asio::posix::stream_descriptor descriptor;
        bool waiting = false;
    };
    struct link {
        progress_loop* loop;
    };

    boost::asio::io_context& io_;
    std::shared_ptr<link> link_;
    std::vector<std::shared_ptr<watched>> watched_;
    boost::asio::steady_timer timer_;
    clock::time_point timer_at_ = clock::time_point::max();
};

} // namespace wye::detail
