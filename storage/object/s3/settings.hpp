// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <wye/s3.hpp>

#include "connection.hpp"

namespace wye::storage::s3 {

/// What is asked of one bucket, from its URL, the options and the environment.
struct settings {
    std::string bucket;
    origin to;
    std::string host;       ///< as in a Host header
    std::string base;       ///< what the path of every key begins with: "/" or "/bucket/"
    std::string region;
    std::string authorities;
    bool verify = true, sign_body = false, checksums = true, anonymous = false;
    std::string profile;
};

/// Throws system_error (`bad_name`) with what is wrong with the URL.
settings read_settings(std::string_view url, const s3_options&);

/// "http://user:password@host:port/path" in parts.
struct web_address {
    bool tls = false;
    std::string login, host, port, path;
};
/// False when it is none.
bool read_web_address(std::string_view, web_address&);

/// Of the environment; empty where there is none.
std::string environment(const char* name);

} // namespace wye::storage::s3
