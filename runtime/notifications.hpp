// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

#include <boost/asio/any_completion_handler.hpp>

#include <wye/agent.hpp>
#include <wye/task.hpp>

namespace wye::detail {

class progress_loop;

/// Notifications that came and those that are waited for, by exact key. What nobody claims is dropped when it
/// is old or there is too much of it, and counted; a sender never waits for a reader.
class notifications {
public:
    static constexpr std::size_t most_unclaimed = 65'536;
    static constexpr std::chrono::seconds unclaimed_for{60};

    explicit notifications(progress_loop& l) noexcept : loop_{l} {}

    void deliver(notification) noexcept;
    task<notification> wait(std::string key, duration deadline);
    std::uint64_t expired() const noexcept { return expired_; }

private:
    struct waiter;
    struct unclaimed {
        notification what;
        std::chrono::steady_clock::time_point since;
    };
    void expire(std::chrono::steady_clock::time_point now) noexcept;

    progress_loop& loop_;
    std::deque<unclaimed> unclaimed_; // oldest first
    std::unordered_multimap<std::string, waiter*> waiters_;
    std::uint64_t expired_ = 0;
};

} // namespace wye::detail
