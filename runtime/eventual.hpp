// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>

#include <wye/task.hpp>

#include "progress_loop.hpp"

namespace wye::detail {

/// A value that comes later, from a callback on the loop's thread, and one coroutine that waits for it. For the
/// control plane (opening, registering, notifications); transfers have their own operation.
///
/// Shared by the two, since either may go first. While somebody waits there is a timer, without an end if
/// need be, by which a loop that shuts down finds the coroutine.
template <class T>
class eventual : public std::enable_shared_from_this<eventual<T>>, private timer {
public:
    explicit eventual(progress_loop& l) noexcept : loop_{l}
    {
        this->fire = [](timer* t) noexcept { static_cast<eventual*>(t)->wake(errc::deadline_missed); };
    }

    void set(T value)
    {
        if (value_) return;
        value_.emplace(std::move(value));
        wake({});
    }
    /// Whoever waits is told this instead.
    void fail(error_code e) noexcept { wake(e); }
    bool here() const noexcept { return loop_.here(); }
    bool ready() const noexcept { return value_.has_value(); }
    const T& peek() const noexcept { return *value_; }

    /// Throws system_error when the time comes first (`deadline_missed`) or the wait is cancelled.
    static task<T> wait(std::shared_ptr<eventual> self, duration deadline = {})
    {
        if (!self->value_) {
            const auto [e] = co_await self->suspend(deadline);
            if (e && !self->value_) throw system_error(e); // a value that came meanwhile has no other taker
        }
        co_return std::move(*self->value_);
    }

    /// Waits without taking, and gives the error in a tuple instead of throwing it.
    auto suspend(duration deadline)
    {
        const auto token = boost::asio::as_tuple(boost::asio::deferred);
        return boost::asio::async_initiate<decltype(token), void(error_code)>(
            [](auto handler, std::shared_ptr<eventual> self, duration d) { self->begin(std::move(handler), d); },
            token, this->shared_from_this(), deadline);
    }

private:
    using handler_type = boost::asio::any_completion_handler<void(error_code)>;

    template <class Handler>
    void begin(Handler handler, duration deadline)
    {
        waiter_.emplace(std::move(handler));
        // Not earlier: the erased handler puts something of its own into the slot of the one that it is made from.
        if (auto slot = boost::asio::get_associated_cancellation_slot(*waiter_); slot.is_connected())
            slot.assign([weak = this->weak_from_this()](boost::asio::cancellation_type) {
                if (auto self = weak.lock()) self->wake(boost::asio::error::operation_aborted);
            });
        this->when = deadline.count() ? loop_.now() + deadline : progress_loop::clock::time_point::max();
        loop_.timers().add(*this);
        loop_.operation_started();
        if (value_) wake({});
        loop_.nudge();
    }

    void wake(error_code e) noexcept
    {
        if (!waiter_) return;
        loop_.timers().remove(*this);
        loop_.operation_finished();
        handler_type handler{std::move(*waiter_)};
        waiter_.reset();
        post(loop_, [h = std::move(handler), e]() mutable {
            // Whoever waited may go on to other things, and the next waiter is not theirs to cancel.
            if (auto slot = boost::asio::get_associated_cancellation_slot(h); slot.is_connected()) slot.clear();
            const auto where = boost::asio::get_associated_executor(h);
            boost::asio::dispatch(where, [h = std::move(h), e]() mutable { std::move(h)(e); });
        });
    }

    progress_loop& loop_;
    std::optional<T> value_;
    std::optional<handler_type> waiter_;
};

/// Calls `start` with a callback and waits until that is called.
template <class T, class Start>
task<T> eventually(progress_loop& l, Start start)
{
    auto value = std::make_shared<eventual<T>>(l);
    start([value](T v) { value->set(std::move(v)); });
    co_return co_await eventual<T>::wait(value);
}

} // namespace wye::detail
