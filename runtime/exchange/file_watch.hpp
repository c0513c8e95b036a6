// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <wye/runtime.hpp>
#include <wye/task.hpp>

namespace wye::detail {

/// Tells when something in a folder may have changed: inotify(7), and a look each second, since file systems of other
/// hosts do not tell, the folder may not be there yet, and a system has only so many watches.
///
/// What happens after it was made is not missed: make it, look, wait, look.
class file_watch {
public:
    file_watch(runtime&, const std::string& folder);
    /// Until then, or for `at_most`.
    task<> wait(duration at_most);

private:
    void take_events();

    static constexpr duration look_again = std::chrono::seconds{1};
    runtime* runtime_;
    boost::asio::posix::stream_descriptor events_;
};

/// What is left of a deadline; zero means that there is none.
class time_left {
public:
    explicit time_left(duration deadline) noexcept
        : end_{deadline == duration{} ? std::chrono::steady_clock::time_point::max() : std::chrono::steady_clock::now() + deadline}
    {
    }
    duration now() const noexcept
    {
        if (end_ == std::chrono::steady_clock::time_point::max()) return duration::max();
        return std::max(duration{}, std::chrono::duration_cast<duration>(end_ - std::chrono::steady_clock::now()));
    }

private:
    std::chrono::steady_clock::time_point end_;
};

} // namespace wye::detail
