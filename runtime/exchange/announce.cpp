// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/use_awaitable.hpp>

#include <wye/agent.hpp>
#include <wye/directory.hpp>

#include "file_watch.hpp"

namespace wye {

task<> announce(agent& a, directory& d, duration ttl) { return d.put(a.name(), a.metadata(), ttl); }

task<> keep_announced(agent& a, directory& d, duration ttl)
{
    for (;;) {
        co_await announce(a, d, ttl);
        co_await a.runtime().sleep(ttl / 3, boost::asio::use_awaitable);
    }
}

task<peer> connect(agent& a, directory& d, std::string name, duration deadline)
{
    const detail::time_left left{deadline};
    std::uint64_t seen = 0; // of no use to us
    for (;;) {
        std::optional<directory::entry> e = co_await d.changed(name, seen, left.now());
        const bool news = e && e->version != seen;
        if (!news && left.now() == duration{}) throw system_error(errc::deadline_missed, name);
        if (e) seen = e->version;
        else seen = 0;
        if (!news) continue;
        try {
            peer p = co_await a.connect(std::move(e->metadata));
            co_return p;
        } catch (const system_error& failed) {
            if (failed.code() != errc::stale_metadata) throw;
        }
    }
}

} // namespace wye
