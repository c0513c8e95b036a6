// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "wire.hpp"

namespace wye::detail {

/// Bytes that nobody can guess, of the operating system's. Throws system_error when it has none.
void fill_randomly(std::span<std::byte>);

/// HMAC-SHA256 (RFC 2104).
wire::digest hmac(std::string_view key, wire::view text);

/// What both sides of a link swear to. Either side's proof covers all of it, so none can be played back elsewhere.
struct handshake {
    std::string_view name;            ///< of who said hello
    wire::incarnation caller, called;
    std::uint64_t caller_token = 0, called_token = 0;
    wire::nonce caller_nonce{}, called_nonce{};
};
enum class side : std::uint8_t { caller, called };

/// `hmac` by the secret, of which side speaks and the handshake in a form in which no two are alike.
wire::digest prove(std::string_view secret, side, const handshake&);
/// Compares in constant time.
bool same(const wire::digest&, const wire::digest&) noexcept;

} // namespace wye::detail
