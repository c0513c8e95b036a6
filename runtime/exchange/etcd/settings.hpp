// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <wye/etcd.hpp>

#include "endpoint.hpp"

namespace wye::detail::etcd {

/// What a URL and options come to. Everything is checked.
struct settings {
    std::vector<place> endpoints; ///< at least one
    bool secured = false;
    std::string prefix;           ///< of keys, with the slash at its end
    etcd_options options;
};

/// Throws `bad_name` with what is wrong, what the system says of a password's file.
settings read_settings(std::string_view url, const etcd_options&);

} // namespace wye::detail::etcd
