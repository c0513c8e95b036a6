// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <boost/asio/detail/thread_info_base.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <wye/detail/loop.hpp>
#include <wye/driver.hpp>
#include <wye/runtime.hpp>

#include "timer_heap.hpp"

namespace wye::detail {

/// Something the loop polls: an agent's drivers and scheduler.
class source {
public:
    virtual ~source() = default;
    /// Does what can be done now; returns how much that was.
    virtual std::size_t poll(turn) noexcept = 0;
    /// Handlers have run, which may have given it something: what others wait for goes now.
    virtual void handed_over() noexcept {}
    /// Whether polling may still find something.
    virtual bool in_flight() const noexcept = 0;
    /// Whether polling it finds nothing but what others begin.
    virtual bool only_listens() const noexcept { return false; }
    /// Pieces that drivers have.
    virtual std::size_t outstanding() const noexcept = 0;
    /// Descriptors that turn readable when it would, added to `out`; false when some of it can only be polled.
    virtual bool descriptors(std::vector<int>& out) const noexcept = 0;
    /// Before sleeping on them. False: poll instead.
    virtual bool arm() noexcept = 0;
    /// Whether what can only be polled will be there in microseconds.
    virtual bool due() const noexcept { return false; }
    /// No progress was found: time for bookkeeping that is kept off the hot path.
    virtual void idle(std::chrono::steady_clock::time_point now) noexcept = 0;
    /// Cancels everything and waits until no hardware touches anything.
    virtual void drain() noexcept = 0;
};

class descriptor_waits;

/// The loop itself: one pass over what is ready, what is polled, timers and the `io_context`; and what to do
/// between passes when it is driven by `run`, by `poll`, or by somebody's `io_context`.
class progress_loop final : public loop {
public:
    using clock = std::chrono::steady_clock;

    explicit progress_loop(const runtime_options&);
    progress_loop(boost::asio::io_context& host, const runtime_options&);
    ~progress_loop();

    std::size_t run(clock::time_point until);
    poll_result poll(duration budget);
    void stop() noexcept;
    bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }
    bool has_work() const noexcept;

    void add(source&);
    void remove(source&) noexcept;
    timer_heap& timers() noexcept { return timers_; }
    clock::time_point now() const noexcept { return by_ ? by_->now() : clock::now(); }
    std::uint64_t stamp() const noexcept { return static_cast<std::uint64_t>(now().time_since_epoch().count()); }
    clock::time_point next_timer() const noexcept
    {
        return timers_.empty() ? clock::time_point::max() : timers_.front().when;
    }
    virtual_clock* goes_by() const noexcept { return by_; } ///< null: the system's clock
    /// For who polls in a circle: with a clock of its own, what is waited for comes only as time passes.
    void pass_time() noexcept
    {
        if (by_ && fire_timers() == 0) by_->pass(next_timer());
    }

    /// Operations to be used again; the loop's, since an operation may outlive its agent.
    void keep(work_item& operation) noexcept
    {
        operation.next = spare_operations_;
        spare_operations_ = &operation;
    }
    work_item* kept() noexcept
    {
        work_item* const w = spare_operations_;
        if (w) spare_operations_ = w->next;
        return w;
    }

    /// Operations begun on this loop and not completed keep `run` going.
    void operation_started() noexcept { ++operations_; }
    void operation_finished() noexcept { --operations_; }
    /// Whether the caller of this pass counts the microseconds.
    bool in_bounded_turn() const noexcept { return bounded_; }
    /// Whether no handler runs after this one in this pass.
    bool runs_the_last() const noexcept { return batch_.empty(); }
    /// After something was begun from outside the loop: a guest needs a turn to see to it.
    void nudge() noexcept { if (depth_ == 0) kick(); }

    /// Cancels and drains everything, then destroys what is queued, unresumed. The host is going, or we are.
    void shut_down() noexcept;
    bool shut() const noexcept { return shut_; }

    // Called by `loop`, on any thread.
    void wake() noexcept;
    void schedule_turn() noexcept;
    void hold_host() noexcept;

private:
    struct entered; // marks the thread as inside the loop

    void bind_thread() noexcept;
    /// Agents that only listen are polled in each so many of those that run handlers: a power of two.
    std::size_t pass(turn, std::uint32_t listen_every = 1);
    std::size_t run_ready(turn);
    std::size_t take_inbox() noexcept;
    std::size_t fire_timers() noexcept;
    bool anything_in_flight() const noexcept;
    bool anything_due() const noexcept;
    bool nothing_left() const noexcept;
    bool queued() const noexcept { return !batch_.empty() || !ready_.empty(); }
    bool wait(clock::time_point since, clock::time_point until);
    void idle(clock::time_point since, clock::time_point until);
    bool all_have_descriptors() noexcept;
    bool arm() noexcept;
    bool several_out() const noexcept;
    void sleep(clock::time_point until);
    void take_turn();
    void after_turn(bool progress);
    void drop_ready() noexcept;

    struct own_context final : boost::asio::io_context {
        using io_context::io_context;
        void close() { shutdown(); } // drops what waits in it, and keeps its services
    };
    std::unique_ptr<own_context> own_; // none when a guest
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> keep_;
    std::unique_ptr<descriptor_waits> waits_;
    idle_policy idle_;
    virtual_clock* by_ = nullptr; // instead of the system's clock
    boost::asio::detail::thread_info_base frames_; // where Asio recycles coroutine frames
    fifo<work_item> batch_; // what was ready when this pass began
    timer_heap timers_;
    std::vector<source*> sources_;
    std::vector<int> descriptors_; // of what is in flight, when last asked
    std::size_t operations_ = 0;
    work_item* spare_operations_ = nullptr;
    std::uint32_t passes_ = 0;
    bool bounded_ = false;
    clock::time_point last_progress_{};
    bool guest_ = false;
    std::atomic<bool> shut_{false};
    std::atomic<bool> stopped_{false};
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> turn_scheduled_{false};
    std::mutex host_hold_;

    friend class descriptor_waits;
};

inline progress_loop& full(loop& l) noexcept { return static_cast<progress_loop&>(l); }

/// The latest loop of this thread, where what belongs to none completes; null when there is none.
loop* loop_of_this_thread() noexcept;

} // namespace wye::detail
