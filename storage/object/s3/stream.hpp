// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <wye/error.hpp>

struct ssl_ctx_st;
struct ssl_st;

namespace wye::storage::s3 {

struct address {
    sockaddr_storage storage{};
    socklen_t size = 0;
};

/// What TLS connections of one kind have in common. Throws system_error when the file of authorities is no good.
class tls_settings {
public:
    tls_settings(const std::string& authorities, bool verify);
    ssl_ctx_st* get() const noexcept { return context_.get(); }
    bool verifies() const noexcept { return verify_; }

private:
    std::shared_ptr<ssl_ctx_st> context_;
    bool verify_;
};

/// A TCP connection that never blocks, with TLS on it if wanted. A socket as it is: bytes go straight into the caller's
/// memory and out of it.
class stream {
public:
    /// How a call went. `again`: not now, and `wants_read`, `wants_write` say what for.
    enum class outcome : std::uint8_t { some, again, end, failed };

    stream() = default;
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream();

    /// An errno; 0 when it is connected or on its way.
    int connect(const address&) noexcept;
    /// Once the socket is writable: an errno.
    int connected() noexcept;
    /// TLS from now on, with a server that must be `host`.
    void secure(const tls_settings&, const std::string& host);
    outcome handshake(error_code&) noexcept;

    outcome read(void*, std::size_t bytes, std::size_t& got, error_code&) noexcept;
    outcome write(const iovec* parts, int count, std::size_t& sent, error_code&) noexcept;
    /// The kernel calls it readable only when so many bytes are there, or the other side has ended. From 1.
    void readable_at(int bytes) noexcept;
    /// Whether some bytes are there, though not so many.
    bool holds_back() const noexcept;
    bool tls() const noexcept { return ssl_ != nullptr; }
    int descriptor() const noexcept { return fd_; }
    /// While TLS writes a record: whether another one comes right after it.
    bool more_follows() const noexcept { return more_follows_; }
    /// What TLS made of the last failure, for people.
    const std::string& reason() const noexcept { return reason_; }
    bool wants_read = false, wants_write = false;

private:
    outcome tls_failed(int result, error_code&) noexcept;

    int fd_ = -1, readable_at_ = 1;
    ssl_st* ssl_ = nullptr;
    bool more_follows_ = false;
    std::string reason_;
};

} // namespace wye::storage::s3
