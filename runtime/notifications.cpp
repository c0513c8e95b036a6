// SPDX-License-Identifier: Apache-2.0
#include "notifications.hpp"

#include "eventual.hpp"

namespace wye::detail {

struct notifications::place {
    std::shared_ptr<waiting> in;
    const std::string& key;
    event who;

    place(std::shared_ptr<waiting> w, const std::string& k, event e) : in{std::move(w)}, key{k}, who{std::move(e)}
    {
        in->emplace(key, who);
    }
    place(const place&) = delete;
    ~place()
    {
        auto [first, last] = in->equal_range(key);
        for (; first != last; ++first)
            if (first->second == who) {
                in->erase(first);
                return;
            }
    }
};

notifications::notifications(progress_loop& l) : loop_{l}, waiting_{std::make_shared<waiting>()} {}

notifications::~notifications()
{
    for (const auto& [key, who] : *waiting_) who->fail(errc::shut_down);
}

void notifications::deliver(notification n)
{
    if (const auto it = waiting_->find(n.key); it != waiting_->end()) {
        const event who = it->second;
        waiting_->erase(it);
        return who->set(std::move(n));
    }
    const auto now = loop_.now();
    unclaimed_.push_back({std::move(n), now});
    const auto last = std::prev(unclaimed_.end());
    by_key_.emplace(last->what.key, last);
    expire(now);
}

void notifications::take(std::list<unclaimed>::iterator it) noexcept
{
    auto [first, last] = by_key_.equal_range(it->what.key);
    while (first != last && first->second != it) ++first;
    by_key_.erase(first);
    unclaimed_.erase(it);
}

void notifications::expire(clock::time_point now) noexcept
{
    while (!unclaimed_.empty() &&
           (unclaimed_.size() > most_unclaimed || now - unclaimed_.front().since > unclaimed_for)) {
        take(unclaimed_.begin());
        ++expired_;
    }
}

task<notification> notifications::wait(std::string key, duration deadline)
{
    expire(loop_.now());
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
        const auto it = found->second;
        by_key_.erase(found);
        notification n = std::move(it->what);
        unclaimed_.erase(it);
        co_return n;
    }
    const auto who = std::make_shared<eventual<notification>>(loop_);
    const place mine{waiting_, key, who};
    co_return co_await eventual<notification>::wait(who, deadline);
}

} // namespace wye::detail
