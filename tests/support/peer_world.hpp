// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/test/unit_test.hpp>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

// Two agents on two simulated hosts, who know each other: what tests of peers begin with.
namespace wye::lab {

inline constexpr std::size_t area_bytes = 4_MiB;

inline sim::host_options with_rails(std::size_t rails)
{
    sim::host_options o;
    o.nic = sim::default_nic(rails);
    return o;
}

inline agent_options knowing(std::string secret)
{
    agent_options o;
    o.peers.secret = std::move(secret);
    return o;
}

/// What was thrown.
inline task<error_code> failure_of(task<> t)
{
    try {
        co_await std::move(t);
    } catch (const system_error& e) {
        co_return e.code();
    }
    co_return error_code{};
}

inline task<> drop(task<peer> t)
{
    const peer p = co_await std::move(t);
}
inline task<> drop(task<notification> t)
{
    const notification n = co_await std::move(t);
}

inline copy_options telling(std::string_view key, std::span<const std::byte> payload = {})
{
    copy_options o;
    o.notify = key;
    o.payload = payload;
    return o;
}

/// Prefill writes into what decode publishes.
struct peer_world {
    explicit peer_world(std::uint64_t seed = 1, std::size_t rails_here = 4, std::size_t rails_there = 4,
                   const agent_options& o = knowing("the secret"))
        : peer_world{seed, with_rails(rails_here), with_rails(rails_there), o}
    {
    }
    peer_world(std::uint64_t seed, const sim::host_options& here, const sim::host_options& there, const agent_options& o)
        : it{seed}, a{it.add_host("a", here)}, b{it.add_host("b", there)}, prefill{it.spawn("prefill", a, o)},
          decode{it.spawn("decode", b, o)}
    {
    }
    ~peer_world()
    {
        for (const std::string& c : it.complaints()) BOOST_TEST(c == "");
    }
    task<> open()
    {
        from = co_await prefill.register_memory(dram(sent));
        pool = co_await decode.register_memory(dram(landed));
        co_await decode.publish("kv", pool);
        to = co_await prefill.connect(decode.metadata());
    }
    /// Runs it beside the world.
    void run(task<> (*story)(peer_world&))
    {
        it.run(open());
        it.run(story(*this));
    }

    bytes sent = pattern(area_bytes, 1), landed = bytes(area_bytes);
    sim::world it;
    sim::host a, b;
    agent& prefill;
    agent& decode;
    region from, pool;
    peer to;
};

} // namespace wye::lab
