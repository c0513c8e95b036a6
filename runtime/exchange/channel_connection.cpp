// SPDX-License-Identifier: Apache-2.0
#include "channel_connection.hpp"

namespace wye::detail {

wire::digest channel_connection::session()
{
    tls_stream* const secured = tls();
    return secured ? session_of(*secured) : wire::digest{};
}

task<> channel_connection::send(channel::kind k, wire::view body)
{
    // In one piece: what is answered to a header alone would wait for the rest of it.
    const channel::header h = channel::encode_header(k, body.size());
    wire::bytes all(h.begin(), h.end());
    all.insert(all.end(), body.begin(), body.end());
    co_await write(all);
}

task<wire::bytes> channel_connection::receive(channel::kind due)
{
    channel::header h;
    co_await read(h);
    const auto length = channel::decode_header(h, due);
    if (!length) throw system_error(errc::bad_metadata, "not a side channel's frame");
    wire::bytes body(*length);
    co_await read(body);
    co_return body;
}

} // namespace wye::detail
