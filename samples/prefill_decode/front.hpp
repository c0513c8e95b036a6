// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/types.h>

#include "line.hpp"
#include "requests.hpp"
#include "settings.hpp"

namespace pd {

/// What one rank has done.
struct rank_report {
    std::string name;
    std::uint64_t bytes = 0;    ///< that it copied
    std::uint64_t peak_rss = 0;
};

/// Starts a process for each rank, has them meet, gives them requests, and sees them off. None of them outlives it.
class front {
public:
    /// Makes the processes. Call it while this one is small: they are copies of it.
    explicit front(const settings&);
    front(const front&) = delete;
    front& operator=(const front&) = delete;
    ~front();

    /// Until all requests are served, or Ctrl-C; calls `begun` before the first. Throws std::runtime_error with one line
    /// when a rank fails.
    void run(std::function<void()> begun);
    outcome result() const { return requests_.result(); }
    const std::vector<rank_report>& ranks() const noexcept { return reports_; }

private:
    enum class phase { starting, meeting, serving, ending };
    struct child {
        place at;
        ::pid_t id = 0;          ///< 0 once it has been waited for
        int socket = -1;         ///< before there is a line
        std::unique_ptr<pd::line> line;
        std::string hint;        ///< for who wants to find it
        bool may_go = false;     ///< killed, or has said bye
    };

    void make(place);
    wye::task<> listen(child&);
    void heard(child&, const message&);
    void gone(child&);
    bool over() const noexcept { return gone_ == children_.size(); } ///< nobody is left
    void introduce();
    void go_on();
    void kill(std::uint32_t engine);
    void end();
    void say(role, std::uint32_t engine, const message&);
    void await_signal();
    void watch();

    const settings& settings_;
    boost::asio::io_context io_; ///< the lines of the children are in it
    std::vector<child> children_;
    boost::asio::signal_set signals_{io_};
    boost::asio::steady_timer watch_{io_};
    requests requests_;
    phase phase_ = phase::starting;
    std::size_t ready_ = 0, met_ = 0, gone_ = 0;
    bool interrupted_ = false;
    std::function<void()> begun_;
    std::chrono::steady_clock::time_point last_word_;
    std::vector<rank_report> reports_;
};

} // namespace pd
