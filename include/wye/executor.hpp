// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>

#include <wye/detail/loop.hpp>

namespace wye {

/// Runs functions on a runtime's thread. A standard Asio executor: any thread may use it, its properties can
/// be required and preferred, and it converts to `any_io_executor`. It does not keep the runtime alive.
class executor {
public:
    explicit executor(detail::loop& l) noexcept : loop_{&l} {}
    executor(const executor& o) noexcept : loop_{o.loop_}, never_{o.never_}, tracked_{o.tracked_} { start(); }
    executor(executor&& o) noexcept
        : loop_{o.loop_}, never_{o.never_}, tracked_{std::exchange(o.tracked_, false)} {}
    executor& operator=(executor o) noexcept
    {
        std::swap(loop_, o.loop_);
        std::swap(never_, o.never_);
        std::swap(tracked_, o.tracked_);
        return *this;
    }
    ~executor() { if (tracked_) loop_->work_finished(); }

    /// Sockets and timers made with this executor live in the runtime's `io_context`.
    boost::asio::execution_context& query(boost::asio::execution::context_t) const noexcept { return loop_->io(); }
    boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t) const noexcept
    {
        if (never_) return boost::asio::execution::blocking.never;
        return boost::asio::execution::blocking.possibly;
    }
    boost::asio::execution::outstanding_work_t query(boost::asio::execution::outstanding_work_t) const noexcept
    {
        if (tracked_) return boost::asio::execution::outstanding_work.tracked;
        return boost::asio::execution::outstanding_work.untracked;
    }
    static constexpr boost::asio::execution::relationship_t query(boost::asio::execution::relationship_t) noexcept
    {
        return boost::asio::execution::relationship.fork;
    }
    static constexpr boost::asio::execution::mapping_t query(boost::asio::execution::mapping_t) noexcept
    {
        return boost::asio::execution::mapping.thread;
    }

    executor require(boost::asio::execution::blocking_t::never_t) const noexcept { return {loop_, true, tracked_}; }
    executor require(boost::asio::execution::blocking_t::possibly_t) const noexcept { return {loop_, false, tracked_}; }
    executor require(boost::asio::execution::outstanding_work_t::tracked_t) const noexcept { return {loop_, never_, true}; }
    executor require(boost::asio::execution::outstanding_work_t::untracked_t) const noexcept { return {loop_, never_, false}; }
    executor require(boost::asio::execution::relationship_t::fork_t) const noexcept { return *this; }
    executor require(boost::asio::execution::relationship_t::continuation_t) const noexcept { return *this; }

    /// Queues `f`; runs it at once when that is allowed and this is the loop's own thread inside the loop.
    template <class F>
    void execute(F&& f) const
    {
        if (!never_ && loop_->inside()) return std::decay_t<F>(std::forward<F>(f))();
        detail::post(*loop_, std::forward<F>(f));
    }

    detail::loop& loop() const noexcept { return *loop_; }
    friend bool operator==(const executor& a, const executor& b) noexcept
    {
        return a.loop_ == b.loop_ && a.never_ == b.never_ && a.tracked_ == b.tracked_;
    }
    friend bool operator!=(const executor& a, const executor& b) noexcept { return !(a == b); }

private:
    executor(detail::loop* l, bool never, bool tracked) noexcept : loop_{l}, never_{never}, tracked_{tracked} { start(); }
    void start() const noexcept { if (tracked_) loop_->work_started(); }

    detail::loop* loop_;
    bool never_ = false;
    bool tracked_ = false;
};

} // namespace wye
