// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace wye::detail {

namespace asio = boost::asio;

void connection::allow(duration d)
{
    timer_.expires_after(d); // ends an earlier wait
    timer_.async_wait([weak = weak_from_this(), mine = ++allowance_](error_code) {
        const auto self = weak.lock();
        if (!self || self->allowance_ != mine) return;
        self->late_ = true;
        self->close();
    });
}

void connection::rest() noexcept
{
    ++allowance_;
    timer_.cancel();
}

void connection::close() noexcept
{
    error_code ignored;
    socket.close(ignored);
    rest();
}

task<> connection::secure(asio::ssl::context& c, asio::ssl::stream_base::handshake_type as, std::string host)
{
    tls_.emplace(socket, c);
    if (!host.empty()) expect_host(*tls_, host);
    co_await tls_->async_handshake(as, asio::use_awaitable);
}

wire::digest connection::session()
{
    if (!tls_) return {};
    return session_of(*tls_);
}

task<> connection::send(channel::kind k, wire::view body)
{
    // In one piece: what is answered to a header alone would wait for the rest of it.
    const channel::header h = channel::encode_header(k, body.size());
    wire::bytes all(h.begin(), h.end());
    all.insert(all.end(), body.begin(), body.end());
    const auto whole = asio::buffer(all);
    if (tls_) co_await asio::async_write(*tls_, whole, asio::use_awaitable);
    else co_await asio::async_write(socket, whole, asio::use_awaitable);
}

task<> connection::read(std::span<std::byte> to)
{
    const auto whole = asio::buffer(to.data(), to.size());
    if (tls_) co_await asio::async_read(*tls_, whole, asio::use_awaitable);
    else co_await asio::async_read(socket, whole, asio::use_awaitable);
}

task<wire::bytes> connection::receive(channel::kind due)
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
