// SPDX-License-Identifier: Apache-2.0
#include "file_watch.hpp"

#include <algorithm>
#include <array>

#include <sys/inotify.h>
#include <unistd.h>

#include <boost/asio/use_awaitable.hpp>

#include <wye/join.hpp>

namespace wye::detail {

namespace asio = boost::asio;

file_watch::file_watch(runtime& rt, const std::string& folder) : runtime_{&rt}, events_{rt.get_executor()}
{
    const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return;
    events_.assign(fd);
    constexpr std::uint32_t changes = IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM;
    if (::inotify_add_watch(fd, folder.c_str(), changes) < 0) events_.close();
}

task<> file_watch::wait(duration at_most)
{
    const duration most = std::min(at_most, look_again);
    if (!events_.is_open()) {
        co_await runtime_->sleep(most, asio::use_awaitable);
        co_return;
    }
    co_await race(events_.async_wait(asio::posix::descriptor_base::wait_read, asio::deferred), runtime_->sleep(most));
    take_events();
}

/// All of them: a look at the folder is due whatever they say.
void file_watch::take_events()
{
    alignas(::inotify_event) std::array<char, 4096> some;
    while (::read(events_.native_handle(), some.data(), some.size()) > 0) {}
}

} // namespace wye::detail
