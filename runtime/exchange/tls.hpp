// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <wye/error.hpp>
#include <wye/side_channel.hpp>

#include "peers/wire.hpp"

namespace wye::detail {

using tls_stream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>;

/// For who serves a side channel, and for who calls it or somebody else, who may speak a version as old as this. Throws
/// system_error when a file is missing or makes no sense.
boost::asio::ssl::context serving_context(const tls_options&);
boost::asio::ssl::context calling_context(const tls_options&, long oldest = TLS1_3_VERSION);
/// The server shall have a certificate for this host: a name or an address.
void expect_host(tls_stream&, const std::string& host);
/// What only the two ends of this session know (RFC 8446, 7.5; RFC 9266 says why it names the session).
wire::digest session_of(tls_stream&);

} // namespace wye::detail
