// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <wye/libfabric.hpp>

namespace doctor {

/// What was asked for on the command line.
struct settings {
    std::string topology, json, sys = "/";
    bool serve = false, efa = false, once = false;
    std::string listen = "127.0.0.1"; ///< an address
    std::uint16_t port = 0;           ///< 0: one that is free
    std::string peer;                 ///< "10.0.0.7:4711"
    std::string secret;
    std::string provider;
    std::vector<std::string> rails;
    std::uint64_t peers = 64, regions = 80; ///< for the budget
    double register_gib = 16;
    std::size_t mib = 0; ///< lent to a peer; 0: by what is asked for
    double seconds = 1;  ///< for each measurement

    std::size_t area_bytes() const noexcept { return (mib != 0 ? mib : efa ? 1024 : 64) << 20; }
    wye::libfabric_options fabric() const;
};

/// Throws samples::bad_usage.
settings read_settings(int argc, char** argv);

} // namespace doctor
