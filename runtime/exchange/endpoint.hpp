// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <wye/task.hpp>
#include <wye/units.hpp>

namespace wye::detail {

/// Where somebody listens.
struct place {
    std::string host; ///< a name or an address, without brackets
    std::uint16_t port = 0;

    std::string to_string() const; ///< "host:5", "[::1]:5"
};

/// "host:port", "1.2.3.4:5", "[::1]:5"; without a port where there is a `usual` one. Throws `bad_name`.
place parse_endpoint(std::string_view, std::uint16_t usual = 0);

/// An address is its own answer; a name is asked for, beside the loop, for as long as that. Throws system_error
/// (`timed_out`, what the system says).
task<std::vector<boost::asio::ip::tcp::endpoint>> look_up(boost::asio::any_io_executor, place, duration at_most);

} // namespace wye::detail
