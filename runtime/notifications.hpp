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
#include <unordered_set>
#include <vector>

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
    static constexpr std::size_t most_unclaimed = 65'536, most_lost = 65'536;
    static constexpr std::chrono::seconds unclaimed_for{60};

    explicit notifications(progress_loop&);
    ~notifications(); ///< whoever waits is told `shut_down`

    void deliver(notification);
    task<notification> wait(std::string key, std::string peer, std::uint32_t count, duration deadline);
    /// Waits that name this agent end in `errc::peer_lost`, now and later, until it is found again.
    void lose(const std::string& peer);
    void find(const std::string& peer) noexcept { lost_.erase(peer); }
    bool waits_for(const std::string& peer) const noexcept { return named_ != 0 && any_for(peer); }
    bool waits_for_any() const noexcept { return named_ != 0; } ///< peer that is named
    std::uint64_t expired() const noexcept { return expired_; }

private:
    using clock = std::chrono::steady_clock;
    struct waiter {
        std::string peer; ///< empty: from anybody
        std::uint32_t left = 1;
        std::vector<notification> came;
        std::shared_ptr<eventual<notification>> who;
    };
    using waiting = std::unordered_multimap<std::string, waiter*>;
    struct unclaimed {
        notification what;
        clock::time_point since;
    };
    class place; // in `waiting_`, given up however the wait ends

    bool any_for(const std::string& peer) const noexcept;
    void keep(notification);
    void expire(clock::time_point now) noexcept;
    notification take(std::list<unclaimed>::iterator) noexcept;
    void claim(const std::string& key, waiter&);
    static bool accept(waiter&, notification);

    progress_loop& loop_;
    std::list<unclaimed> unclaimed_; // oldest first
    std::unordered_multimap<std::string_view, std::list<unclaimed>::iterator> by_key_;
    waiting waiting_;
    std::size_t named_ = 0; // waits that name a peer
    std::unordered_set<std::string> lost_;
    std::shared_ptr<notifications*> self_; // for waiters, who may outlive us by a moment
    std::uint64_t expired_ = 0;
};

} // namespace wye::detail
