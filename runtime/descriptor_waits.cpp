// SPDX-License-Identifier: Apache-2.0
#include "descriptor_waits.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>

#include "progress_loop.hpp"

namespace wye::detail {

namespace asio = boost::asio;

descriptor_waits::descriptor_waits(asio::io_context& io, progress_loop& l)
    : io_{io}, link_{std::make_shared<link>(&l)}, timer_{io}
{
}

descriptor_waits::~descriptor_waits() { link_->loop = nullptr; }

void descriptor_waits::post_turn()
{
    asio::post(io_, [to = link_] {
        if (to->loop) to->loop->take_turn();
    });
}

void descriptor_waits::await(const std::vector<int>& descriptors)
{
    for (const int fd : descriptors) {
        auto it = std::find_if(watched_.begin(), watched_.end(),
                               [fd](const auto& w) { return w->descriptor.native_handle() == fd; });
        if (it == watched_.end()) it = watched_.insert(it, std::make_shared<watched>(io_, fd));
        if ((*it)->waiting) continue;
        (*it)->waiting = true;
        (*it)->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                     [to = link_, w = *it](const boost::system::error_code&) {
                                         w->waiting = false;
                                         if (to->loop) to->loop->take_turn();
                                     });
    }
}

void descriptor_waits::forget(const std::vector<int>& descriptors) noexcept
{
    std::erase_if(watched_, [&](const auto& w) {
        if (std::find(descriptors.begin(), descriptors.end(), w->descriptor.native_handle()) == descriptors.end())
            return false;
        w->descriptor.release(); // now, not when the aborted handler lets go of it
        return true;
    });
}

void descriptor_waits::await(clock::time_point when)
{
    if (when >= timer_at_) return;
    timer_at_ = when;
    timer_.expires_at(when);
    timer_.async_wait([this, to = link_](const boost::system::error_code& e) {
        if (!to->loop || e) return;
        timer_at_ = clock::time_point::max();
        to->loop->take_turn();
    });
}

void descriptor_waits::cancel() noexcept
{
    for (auto& w : watched_)
        if (w->waiting) w->descriptor.cancel();
    if (timer_at_ != clock::time_point::max()) timer_.cancel();
    timer_at_ = clock::time_point::max();
}

} // namespace wye::detail
