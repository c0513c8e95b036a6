// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wye/libfabric.hpp>
#include <wye/wye.hpp>

#include "support/lab_driver.hpp"

namespace wye::testing {

/// The first so many of 127.0.0.1, 127.0.0.2, ...
inline libfabric_options loopback(std::uint32_t rails, queue_waits waits = queue_waits::automatic)
{
    libfabric_options o;
    for (std::uint32_t i = 1; i <= rails; ++i) o.rails.push_back("127.0.0." + std::to_string(i));
    o.waits = waits;
    return o;
}

inline agent_options knowing(std::string secret)
{
    agent_options o;
    o.peers.secret = std::move(secret);
    return o;
}

/// Two agents of one runtime, each with rails of its own: `here` writes into and reads from what `there` publishes.
struct pair {
    pair(runtime& rt, std::size_t bytes, const libfabric_options& ours, const libfabric_options& theirs)
        : sent{lab::pattern(bytes, 1)}, landed(bytes), here{rt, "here", knowing("secret")},
          there{rt, "there", knowing("secret")}, our_fabric{here.add(make_libfabric(ours))},
          their_fabric{there.add(make_libfabric(theirs))}
    {
    }
    task<> open()
    {
        from = co_await here.register_memory(dram(sent));
        pool = co_await there.register_memory(dram(landed));
        co_await there.publish("kv", pool);
        to = co_await here.connect(there.metadata());
        kv = to.published("kv");
    }

    lab::bytes sent, landed;
    agent here, there;
    fabric& our_fabric;
    fabric& their_fabric;
    region from, pool;
    peer to;
    slice kv;
};

} // namespace wye::testing
