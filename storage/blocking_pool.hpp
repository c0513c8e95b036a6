// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

namespace wye::storage {

/// Runs blocking calls on helper threads and hands them back on the runtime's thread.
///
/// Every call is made on the runtime's thread. Jobs begin in the order of submission, urgent ones first, and
/// may end in any.
/// The helpers block all signals, so that the program's handlers run where the program expects them.
class blocking_pool {
public:
    /// A blocking call. The pool borrows it from `submit` until it calls `finished`.
    struct job {
        job* next = nullptr;              ///< the pool's, while it has the job
        virtual void work() noexcept = 0; ///< the blocking part, on a helper thread
        virtual void finished() noexcept = 0; ///< on the runtime's thread, from `reap`; may delete the job

    protected:
        ~job() = default;
    };

    /// At most so many helpers (at least one); each starts when a job finds none idle. Throws system_error.
    explicit blocking_pool(unsigned threads);
    blocking_pool(const blocking_pool&) = delete;
    blocking_pool& operator=(const blocking_pool&) = delete;
    /// Waits for what was submitted, then calls `finished` for all of it.
    ~blocking_pool();

    /// Where not one helper thread can be had, the work is done here and now.
    void submit(job&, bool urgent = false) noexcept;
    /// Calls `finished` for what is ready, oldest first; returns how many that were. One atomic load when
    /// nothing is.
    std::size_t reap() noexcept;
    /// Submitted, and `finished` not yet called.
    std::size_t outstanding() const noexcept { return outstanding_; }

    /// An eventfd that turns readable when `reap` would find something, if `arm` said so before.
    int wait_handle() const noexcept { return event_; }
    /// Before sleeping on it: clears it. False: something is ready already. Only an armed pool makes its
    /// helpers write to the eventfd; a loop that is awake anyway costs them no system call.
    bool arm() noexcept;

private:
    struct fifo {
        job* head = nullptr;
        job* tail = nullptr;
        void push(job&) noexcept;
        job* pop() noexcept;
    };

    void start_helper() noexcept;
    void help() noexcept;
    job* take() noexcept;
    void hand_back(job&) noexcept;

    const std::size_t most_threads_;
    const int event_;
    std::size_t outstanding_ = 0;
    std::vector<std::thread> helpers_;

    std::mutex mutex_; // guards what follows, up to ready_
    std::condition_variable wake_;
    fifo urgent_, normal_;
    std::size_t idle_ = 0;  // helpers asleep that nobody has called yet
    std::size_t calls_ = 0; // helpers called and not yet awake
    bool stop_ = false;

    std::atomic<job*> ready_{nullptr}; // a stack: the latest on top
    std::atomic<bool> armed_{false};
};

} // namespace wye::storage
