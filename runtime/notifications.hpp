// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include <wye/agent.hpp>
#include <wye/task.hpp>

namespace wye::detail {

class progress_loop;
template <class T>
class eventual;

/// Notifications that came and those that are waited for, by exact key. What nobody claims is dropped when it
/// is old or there is too much of it, and counted; a sender never waits for a reader.
class notifications {
public:
    static constexpr std::size_t most_unclaimed = 65'536;
    static constexpr std::chrono::seconds unclaimed_for{60};

    explicit notifications(progress_loop&);
    ~notifications(); ///< whoever waits is told `shut_down`

    void deliver(notification);
    task<notification> wait(std::string key, duration deadline);
    std::uint64_t expired() const noexcept { return expired_; }

private:
    using clock = std::chrono::steady_clock;
    using event = std::shared_ptr<eventual<notification>>;
    using waiting = std::unordered_multimap<std::string, event>;
    struct unclaimed {
        notification what;
        clock::time_point since;
    };
    struct place; // in `waiting`, given up however the wait ends

    void expire(clock::time_point now) noexcept;
    void take(std::list<unclaimed>::iterator) noexcept;

    progress_loop& loop_;
    std::list<unclaimed> unclaimed_; // oldest first
    std::unordered_multimap<std::string_view, std::list<unclaimed>::iterator> by_key_;
    std::shared_ptr<waiting> waiting_; // shared with the waiters, who may outlive us by a moment
    std::uint64_t expired_ = 0;
};

} // namespace wye::detail
