// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <wye/libfabric.hpp>

/// Says where libfabric finds the provider that stands in for efa, before it is called for anything: a fixture of the
/// program.
struct efa_is_there {
    efa_is_there() { ::setenv("FI_PROVIDER_PATH", EFA_STANDIN_FOLDER, 1); }
};

namespace wye::testing {

inline libfabric_options efa(std::uint32_t rails)
{
    libfabric_options o;
    o.provider = "efa";
    for (std::uint32_t i = 0; i < rails; ++i) o.rails.push_back("standin_" + std::to_string(i) + "-rdm");
    o.connect_within = std::chrono::seconds{2};
    o.bar_within = std::chrono::seconds{3};
    return o;
}

} // namespace wye::testing
