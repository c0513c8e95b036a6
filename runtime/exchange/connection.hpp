// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <wye/task.hpp>
#include <wye/units.hpp>

#include "tls.hpp"

namespace wye::detail {

/// TCP or TLS under a deadline that closes it. Held by shared pointer, by the coroutine that talks over it and by who may
/// close it.
class connection : public std::enable_shared_from_this<connection> {
public:
    explicit connection(boost::asio::ip::tcp::socket s) : socket{std::move(s)}, timer_{socket.get_executor()} {}

    boost::asio::ip::tcp::socket socket;

    /// From now on all that is under way must end within `d`, or the connection is closed.
    void allow(duration d);
    /// Nothing is under way, and it may be idle for as long as the other side likes.
    void rest() noexcept;
    bool late() const noexcept { return late_; }
    void close() noexcept;

    /// Whatever is sent from now on goes through TLS. For a caller with a host, that must be in the certificate.
    task<> secure(boost::asio::ssl::context&, boost::asio::ssl::stream_base::handshake_type, std::string host = {});
    task<> write(std::span<const std::byte>);
    /// All of it.
    task<> read(std::span<std::byte>);
    /// What is there, at least one byte. Throws `asio::error::eof` at the end.
    task<std::size_t> read_some(std::span<std::byte>);

protected:
    tls_stream* tls() noexcept { return tls_ ? &*tls_ : nullptr; }

private:
    boost::asio::steady_timer timer_;
    std::optional<tls_stream> tls_;
    std::uint64_t allowance_ = 0; ///< which one; a timer that fires for an earlier one says nothing
    bool late_ = false;
};

} // namespace wye::detail
