// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <sys/types.h>

#include <wye/task.hpp>

#include "line.hpp"
#include "settings.hpp"

namespace pd {

/// Brings an engine to a job that another command has begun: a process for each of its ranks, which talk to that job's front as
/// its own do, and are found by its ranks in the directory. None of them outlives it.
class visit {
public:
    /// Finds the job, and makes the processes. Throws std::runtime_error when there is no job, or it lets nobody in.
    explicit visit(const settings&);
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;
    ~visit();

    /// Until Ctrl-C, at which the engine leaves in order, or the job ends. False: at once, by a second Ctrl-C. Throws
    /// std::runtime_error when the job has lost it.
    bool run();

private:
    std::optional<message> ask();
    void make(std::uint32_t rank);
    wye::task<> listen();
    void heard(const message&);
    void await_signal();

    const settings& mine_;
    boost::asio::io_context io_;
    boost::asio::signal_set signals_; ///< from the beginning: Ctrl-C is not lost while it comes
    const std::string address_;
    const int socket_;
    line line_; ///< to the front
    settings settings_; ///< the job's
    place at_;
    std::vector<::pid_t> ranks_;
    bool leaves_ = false, gone_ = false;
};

} // namespace pd
