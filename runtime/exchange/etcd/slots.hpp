// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/error.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

namespace wye::detail::etcd {

/// So many at once; the others wait in turn.
class slots {
public:
    /// One of them, until it goes.
    class slot {
    public:
        explicit slot(slots& of) noexcept : of_{&of} {}
        slot(slot&& o) noexcept : of_{std::exchange(o.of_, nullptr)} {}
        slot& operator=(slot&&) = delete;
        ~slot() { if (of_) of_->release(); }

    private:
        slots* of_;
    };

    slots(boost::asio::any_io_executor on, std::size_t many) : on_{std::move(on)}, free_{many} {}

    /// Throws `timed_out`.
    task<slot> take(duration within)
    {
        if (free_ != 0) {
            --free_;
            co_return slot{*this};
        }
        place_in_line mine{*this};
        mine.turn.expires_after(within);
        error_code ignored;
        co_await mine.turn.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
        if (!std::exchange(mine.given, false)) throw system_error(boost::asio::error::timed_out, "waiting for a connection");
        co_return slot{*this};
    }

private:
    struct place_in_line {
        explicit place_in_line(slots& s) : of{s}, turn{s.on_} { of.waiting_.push_back(this); }
        place_in_line(const place_in_line&) = delete;
        place_in_line& operator=(const place_in_line&) = delete;
        ~place_in_line()
        {
            std::erase(of.waiting_, this);
            if (given) of.release();
        }

        slots& of;
        boost::asio::steady_timer turn; ///< ends early when it has come
        bool given = false;
    };

    void release() noexcept
    {
        if (waiting_.empty()) {
            ++free_;
            return;
        }
        place_in_line& next = *waiting_.front();
        waiting_.pop_front();
        next.given = true;
        next.turn.cancel();
    }

    boost::asio::any_io_executor on_;
    std::size_t free_;
    std::deque<place_in_line*> waiting_;
};

} // namespace wye::detail::etcd
