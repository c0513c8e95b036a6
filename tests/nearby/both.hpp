// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <wye/libfabric.hpp>
#include <wye/same_host.hpp>
#include <wye/wye.hpp>

#include "support/lab_driver.hpp"

namespace wye::testing {

inline agent_options on_this_machine(std::chrono::milliseconds drain = std::chrono::seconds{2})
{
    agent_options o;
    o.peers.secret = "secret";
    o.peers.drain_within = drain;
    return o;
}

/// The short way and, where it is built, the long one: TCP on loopback.
inline void add_ways(agent& a)
{
    a.add(make_same_host());
    libfabric_options o;
    o.provider = "tcp;ofi_rxm";
    o.rails = {"127.0.0.1"};
    try {
        a.add(make_libfabric(o));
    } catch (const system_error& e) {
        if (e.code() != errc::not_supported) throw;
    }
}

/// What went by this way.
inline std::uint64_t bytes_by(const agent& a, std::string_view driver)
{
    std::uint64_t bytes = 0;
    for (const driver_metrics& d : a.measure().drivers)
        if (d.name == driver) bytes += d.bytes;
    return bytes;
}

} // namespace wye::testing
