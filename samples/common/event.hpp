// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cassert>
#include <optional>
#include <utility>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>

#include <wye/executor.hpp>

namespace samples {

/// Something changed: wakes the one coroutine that waits for that, which then looks for itself. A change that
/// nobody waits for is not remembered.
class event {
public:
    explicit event(const wye::executor& on) : on_{on} {}

    auto wait()
    {
        return boost::asio::async_initiate<const boost::asio::deferred_t, void()>(
            [](auto&& waiter, event* self) {
                assert(!self->waiter_);
                self->waiter_.emplace(std::forward<decltype(waiter)>(waiter));
            },
            boost::asio::deferred, this);
    }

    void notify()
    {
        if (!waiter_) return;
        handler woken = std::move(*waiter_);
        waiter_.reset();
        boost::asio::post(on_, std::move(woken));
    }

private:
    using handler = boost::asio::any_completion_handler<void()>;
    wye::executor on_;
    std::optional<handler> waiter_;
};

} // namespace samples
