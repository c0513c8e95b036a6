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

task<> connection::write(std::span<const std::byte> from)
{
    const auto whole = asio::buffer(from.data(), from.size());
    if (tls_) co_await asio::async_write(*tls_, whole, asio::use_awaitable);
    else co_await asio::async_write(socket, whole, asio::use_awaitable);
}

task<> connection::read(std::span<std::byte> to)
{
    const auto whole = asio::buffer(to.data(), to.size());
    if (tls_) co_await asio::async_read(*tls_, whole, asio::use_awaitable);
    else co_await asio::async_read(socket, whole, asio::use_awaitable);
}

task<std::size_t> connection::read_some(std::span<std::byte> to)
{
    const auto room = asio::buffer(to.data(), to.size());
    if (tls_) co_return co_await tls_->async_read_some(room, asio::use_awaitable);
    co_return co_await socket.async_read_some(room, asio::use_awaitable);
}

} // namespace wye::detail
