// SPDX-License-Identifier: Apache-2.0
#include "notifications.hpp"

#include <algorithm>

#include "eventual.hpp"

namespace wye::detail {

/// Whoever waits. What came for it, if not all did, is there for the next.
class notifications::place {
public:
    place(notifications& n, const std::string& key, waiter& w) : of_{n.self_}, key_{key}, who_{w}
    {
        n.waiting_.emplace(key_, &who_);
        n.named_ += !who_.peer.empty();
    }
    place(const place&) = delete;
    ~place()
    {
        notifications* const n = *of_;
        if (!n) return;
        const auto [first, last] = n->waiting_.equal_range(key_);
        const auto it = std::find_if(first, last, [&](const auto& w) { return w.second == &who_; });
        if (it == last) return;
        n->waiting_.erase(it);
        n->named_ -= !who_.peer.empty();
        for (notification& came : who_.came) n->keep(std::move(came));
    }

private:
    std::shared_ptr<notifications*> of_;
    const std::string& key_;
    waiter& who_;
};

notifications::notifications(progress_loop& l) : loop_{l}, self_{std::make_shared<notifications*>(this)} {}

notifications::~notifications()
{
    *self_ = nullptr;
    for (const auto& [key, w] : waiting_) w->who->fail(errc::shut_down);
}

/// True when it was the last that is waited for.
bool notifications::accept(waiter& w, notification n)
{
    w.came.push_back(std::move(n));
    if (--w.left != 0) return false;
    const bool aborted = std::any_of(w.came.begin(), w.came.end(), [](const auto& c) { return c.aborted; });
    notification last = std::move(w.came.back());
    w.came.clear();
    last.aborted = aborted;
    w.who->set(std::move(last));
    return true;
}

void notifications::deliver(notification n)
{
    const auto [first, last] = waiting_.equal_range(n.key);
    const auto it = std::find_if(first, last, [&](const auto& w) {
        return !w.second->who->ready() && (w.second->peer.empty() || w.second->peer == n.peer);
    });
    if (it == last) return keep(std::move(n));
    waiter& w = *it->second;
    if (!accept(w, std::move(n))) return;
    named_ -= !w.peer.empty();
    waiting_.erase(it);
}

/// Nobody waits for it yet.
void notifications::keep(notification n)
{
    const auto now = loop_.now();
    unclaimed_.push_back({std::move(n), now});
    const auto last = std::prev(unclaimed_.end());
    by_key_.emplace(last->what.key, last);
    expire(now);
}

notification notifications::take(std::list<unclaimed>::iterator it) noexcept
{
    auto [first, last] = by_key_.equal_range(it->what.key);
    while (first != last && first->second != it) ++first;
    by_key_.erase(first);
    notification n = std::move(it->what);
    unclaimed_.erase(it);
    return n;
}

void notifications::expire(clock::time_point now) noexcept
{
    while (!unclaimed_.empty() &&
           (unclaimed_.size() > most_unclaimed || now - unclaimed_.front().since > unclaimed_for)) {
        take(unclaimed_.begin());
        ++expired_;
    }
}

/// What came before anybody waited for it.
void notifications::claim(const std::string& key, waiter& w)
{
    std::vector<std::list<unclaimed>::iterator> suits;
    const auto [first, last] = by_key_.equal_range(key);
    for (auto it = first; it != last; ++it)
        if (w.peer.empty() || w.peer == it->second->what.peer) suits.push_back(it->second);
    for (const auto& it : suits)
        if (w.left != 0) accept(w, take(it));
}

bool notifications::any_for(const std::string& peer) const noexcept
{
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.second->peer == peer; });
}

void notifications::lose(const std::string& peer)
{
    if (lost_.size() < most_lost) lost_.insert(peer);
    for (const auto& [key, w] : waiting_)
        if (w->peer == peer) w->who->fail(errc::peer_lost);
}

task<notification> notifications::wait(std::string key, std::string peer, std::uint32_t count, duration deadline)
{
    expire(loop_.now());
    waiter w{std::move(peer), std::max(1u, count), {}, std::make_shared<eventual<notification>>(loop_)};
    claim(key, w);
    if (w.left != 0) {
        const place mine{*this, key, w};
        if (lost_.contains(w.peer)) throw system_error(errc::peer_lost, w.peer);
        co_return co_await eventual<notification>::wait(w.who, deadline);
    }
    co_return co_await eventual<notification>::wait(w.who);
}

} // namespace wye::detail
