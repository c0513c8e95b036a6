// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace wye::ofi {

/// Does on one helper thread, in order, what may take seconds on a real NIC: registering memory, closing endpoints. All
/// calls are made on the runtime's thread.
class off_loop {
public:
    off_loop();
    off_loop(const off_loop&) = delete;
    ~off_loop(); ///< ends the work that was begun, without `finished`

    /// `work` there, then `finished` from `reap`. Neither may throw.
    void run(std::function<void()> work, std::function<void()> finished);
    std::size_t reap();
    void wait();     ///< until all `work` is done
    bool idle() const noexcept { return outstanding_ == 0; }
    /// Readable while `reap` would find something.
    int descriptor() const noexcept { return event_; }

private:
    struct job {
        std::function<void()> work, finished;
    };
    void help() noexcept;

    const int event_;
    std::size_t outstanding_ = 0; // run, and not reaped
    std::mutex mutex_;            // guards what follows
    std::condition_variable wake_, done_;
    std::deque<job> todo_;
    std::vector<job> over_;
    bool working_ = false, stop_ = false;
    std::thread helper_;
};

} // namespace wye::ofi
