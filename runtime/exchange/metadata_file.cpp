// SPDX-License-Identifier: Apache-2.0
#include <wye/agent.hpp>
#include <wye/directory.hpp>

#include "file_watch.hpp"
#include "helper.hpp"
#include "small_file.hpp"
#include "time_left.hpp"

namespace wye {

task<> write_metadata(agent& a, std::string path)
{
    const std::vector<std::byte> metadata = a.metadata();
    co_await detail::beside_loop(a.runtime(), [&metadata, &path] { detail::replace_file(path, metadata); });
}

task<peer> connect_by_file(agent& a, std::string path, duration deadline)
{
    const detail::time_left left{deadline};
    detail::file_watch watch{a.runtime(), detail::folder_of(path)};
    std::optional<std::vector<std::byte>> found;
    const auto look = [&found, &path] { found = detail::read_file(path, detail::wire::most_metadata); };
    for (;;) {
        co_await detail::beside_loop(a.runtime(), look);
        if (found) break;
        if (left.now() == duration{}) throw system_error(errc::deadline_missed, path);
        co_await watch.wait(left.now());
    }
    peer p = co_await a.connect(std::move(*found));
    co_return p;
}

} // namespace wye
