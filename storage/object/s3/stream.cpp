// SPDX-License-Identifier: Apache-2.0
#include "stream.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <wye/s3.hpp>

namespace wye::storage::s3 {

namespace {

// A BIO over a socket that, unlike OpenSSL's own, raises no SIGPIPE, and is told when more records follow at once: then
// the kernel makes large packets of them.

int send_quietly(BIO* b, const char* data, int size)
{
    BIO_clear_retry_flags(b);
    const auto& s = *static_cast<const stream*>(::BIO_get_data(b));
    const int flags = MSG_NOSIGNAL | (s.more_follows() ? MSG_MORE : 0);
    const ssize_t n = ::send(s.descriptor(), data, static_cast<std::size_t>(size), flags);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(b);
    return static_cast<int>(n);
}

int receive(BIO* b, char* data, int size)
{
    BIO_clear_retry_flags(b);
    const int fd = static_cast<const stream*>(::BIO_get_data(b))->descriptor();
    const ssize_t n = ::recv(fd, data, static_cast<std::size_t>(size), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(b);
    return static_cast<int>(n);
}

long control(BIO*, int what, long, void*) { return what == BIO_CTRL_FLUSH ? 1 : 0; }
int created(BIO* b)
{
    ::BIO_set_init(b, 1);
    return 1;
}

BIO_METHOD* quiet_socket()
{
    static BIO_METHOD* const method = [] {
        BIO_METHOD* m = ::BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wye socket");
        ::BIO_meth_set_write(m, send_quietly);
        ::BIO_meth_set_read(m, receive);
        ::BIO_meth_set_ctrl(m, control);
        ::BIO_meth_set_create(m, created);
        return m;
    }();
    return method;
}

bool is_address(const std::string& host) noexcept
{
    in6_addr ignored;
    return ::inet_pton(AF_INET, host.c_str(), &ignored) == 1 || ::inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

constexpr std::size_t read_ahead = 256 * 1024;
// OpenSSL's own, but AES with 128 bits comes first, as in browsers: a seventh less to compute, on both sides.
constexpr auto suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr auto ciphers_before_1_3 = "ECDHE+AESGCM+AES128:DEFAULT";

} // namespace

tls_settings::tls_settings(const std::string& authorities, bool verify)
    : context_{::SSL_CTX_new(::TLS_client_method()), &::SSL_CTX_free}, verify_{verify}
{
    if (!context_) throw system_error(s3_errc::tls, "SSL_CTX_new");
    SSL_CTX* const c = context_.get();
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    ::SSL_CTX_set_ciphersuites(c, suites);
    ::SSL_CTX_set_cipher_list(c, ciphers_before_1_3);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(c, 1); // one read of the socket for many records
    ::SSL_CTX_set_default_read_buffer_len(c, read_ahead);
    ::SSL_CTX_set_verify(c, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    ::ERR_clear_error();
    const int loaded = authorities.empty() ? ::SSL_CTX_set_default_verify_paths(c)
                                           : ::SSL_CTX_load_verify_file(c, authorities.c_str());
    if (loaded != 1) {
        ::ERR_clear_error();
        throw system_error(s3_errc::certificate, "no certificates in " + authorities);
    }
}

stream::~stream()
{
    ::SSL_free(ssl_); // without a word to the other side, which needs none
    if (fd_ >= 0) ::close(fd_);
}

int stream::connect(const address& to) noexcept
{
    fd_ = ::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return errno;
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to.storage), to.size) == 0) return 0;
    return errno == EINPROGRESS ? 0 : errno;
}

int stream::connected() noexcept
{
    int failed = 0;
    socklen_t size = sizeof failed;
    return ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 ? failed : errno;
}

void stream::readable_at(int bytes) noexcept
{
    if (bytes == readable_at_) return;
    if (::setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0) readable_at_ = bytes;
}

bool stream::holds_back() const noexcept
{
    int waiting = 0;
    return readable_at_ > 1 && ::ioctl(fd_, FIONREAD, &waiting) == 0 && waiting > 0;
}

void stream::secure(const tls_settings& s, const std::string& host)
{
    ssl_ = ::SSL_new(s.get());
    BIO* const b = ssl_ ? ::BIO_new(quiet_socket()) : nullptr;
    if (!b) throw system_error(s3_errc::tls, "SSL_new");
    ::BIO_set_data(b, this);
    ::SSL_set_bio(ssl_, b, b);
    ::SSL_set_connect_state(ssl_);
    if (is_address(host)) {
        ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl_), host.c_str());
    } else {
        std::string name = host;
        ::SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
        ::SSL_set1_host(ssl_, host.c_str());
    }
}

stream::outcome stream::handshake(error_code& e) noexcept
{
    ::ERR_clear_error();
    const int n = ::SSL_do_handshake(ssl_);
    return n == 1 ? outcome::some : tls_failed(n, e);
}

stream::outcome stream::tls_failed(int result, error_code& e) noexcept
{
    const int system = errno;
    wants_read = wants_write = false;
    switch (::SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ: wants_read = true; return outcome::again;
    case SSL_ERROR_WANT_WRITE: wants_write = true; return outcome::again;
    case SSL_ERROR_ZERO_RETURN: return outcome::end;
    case SSL_ERROR_SYSCALL:
        if (system == 0 || result == 0) return outcome::end;
        e = object_error(system);
        return outcome::failed;
    default: break;
    }
    const auto code = ::ERR_peek_error();
    // Some servers close without the alert that TLS wants; whoever knows the length of what he reads will see.
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return outcome::end;
    const long judged = ::SSL_get_verify_mode(ssl_) == SSL_VERIFY_NONE ? X509_V_OK : ::SSL_get_verify_result(ssl_);
    if (judged != X509_V_OK) {
        e = s3_errc::certificate;
        reason_ = ::X509_verify_cert_error_string(judged);
    } else {
        e = s3_errc::tls;
        const char* const text = ::ERR_reason_error_string(code);
        reason_ = text ? text : "";
    }
    return outcome::failed;
}

stream::outcome stream::read(void* into, std::size_t bytes, std::size_t& got, error_code& e) noexcept
{
    got = 0;
    if (ssl_) {
        ::ERR_clear_error();
        errno = 0;
        const int n = ::SSL_read_ex(ssl_, into, bytes, &got);
        return n == 1 ? outcome::some : tls_failed(n, e);
    }
    const ssize_t n = ::recv(fd_, into, bytes, 0);
    if (n > 0) {
        got = static_cast<std::size_t>(n);
        return outcome::some;
    }
    if (n == 0) return outcome::end;
    wants_read = true, wants_write = false;
    if (errno == EAGAIN || errno == EINTR) return outcome::again;
    e = object_error(errno);
    return outcome::failed;
}

stream::outcome stream::write(const iovec* parts, int count, std::size_t& sent, error_code& e) noexcept
{
    sent = 0;
    wants_read = wants_write = false;
    if (ssl_) {
        ::ERR_clear_error();
        errno = 0;
        more_follows_ = count > 1 || parts[0].iov_len > SSL3_RT_MAX_PLAIN_LENGTH; // one record goes with each call
        const int n = ::SSL_write_ex(ssl_, parts[0].iov_base, parts[0].iov_len, &sent);
        more_follows_ = false;
        return n == 1 ? outcome::some : tls_failed(n, e);
    }
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<std::size_t>(count);
    const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n >= 0) {
        sent = static_cast<std::size_t>(n);
        return outcome::some;
    }
    wants_write = true;
    if (errno == EAGAIN || errno == EINTR) return outcome::again;
    e = object_error(errno);
    return outcome::failed;
}

} // namespace wye::storage::s3
