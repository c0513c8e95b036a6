// SPDX-License-Identifier: Apache-2.0
#pragma once

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

} // namespace wye::detail
