// SPDX-License-Identifier: Apache-2.0
#include "notifications.hpp"

#include "eventual.hpp"

namespace wye::detail {

struct notifications::waiter {
    std::shared_ptr<eventual<notification>> event;
};

void notifications::deliver(notification n) noexcept
{
    if (const auto it = waiters_.find(n.key); it != waiters_.end()) {
        const auto event = it->second->event;
        waiters_.erase(it);
        return event->set(std::move(n));
    }
    const auto now = loop_.now();
    expire(now);
    unclaimed_.push_back({std::move(n), now});
}

void notifications::expire(std::chrono::steady_clock::time_point now) noexcept
{
    while (!unclaimed_.empty() &&
           (unclaimed_.size() >= most_unclaimed || now - unclaimed_.front().since > unclaimed_for)) {
        unclaimed_.pop_front();
        ++expired_;
    }
}

task<notification> notifications::wait(std::string key, duration deadline)
{
    for (auto it = unclaimed_.begin(); it != unclaimed_.end(); ++it) {
        if (it->what.key != key) continue;
        notification n = std::move(it->what);
        unclaimed_.erase(it);
        co_return n;
    }
    waiter self{std::make_shared<eventual<notification>>(loop_)};
    struct registered { // also when the wait is cancelled or this frame destroyed
        std::unordered_multimap<std::string, waiter*>& waiters;
        waiter* who;
        const std::string& key;
        ~registered()
        {
            auto [first, last] = waiters.equal_range(key);
            for (; first != last; ++first)
                if (first->second == who) {
                    waiters.erase(first);
                    return;
                }
        }
    } const entry{waiters_, &self, key};
    waiters_.emplace(key, &self);
    co_return co_await eventual<notification>::wait(self.event, deadline);
}

} // namespace wye::detail
