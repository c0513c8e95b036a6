// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "channel_frames.hpp"
#include "connection.hpp"

namespace wye::detail {

/// A side channel's connection: frames.
class channel_connection final : public connection {
public:
    using connection::connection;

    /// Of the TLS session; zero without.
    wire::digest session();
    task<> send(channel::kind, wire::view body);
    /// A frame of this kind. Throws `bad_metadata` for anything else.
    task<wire::bytes> receive(channel::kind);
};

} // namespace wye::detail
