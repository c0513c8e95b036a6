// SPDX-License-Identifier: Apache-2.0
#include "proof.hpp"

#include <cerrno>
#include <system_error>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "wire_bytes.hpp"

namespace wye::detail {

namespace {

void write(wire::writer& w, const wire::incarnation& i)
{
    w.number(i.high);
    w.number(i.low);
}

/// What is sworn to. Texts go behind their lengths and all else has a fixed one, so no two handshakes look alike; and
/// no other use of the secret begins like this.
wire::bytes transcript(side who, const handshake& h)
{
    const std::string_view purpose = who == side::caller ? "wye 1 caller" : "wye 1 called";
    wire::bytes out;
    wire::writer w{out};
    for (const std::string_view text : {purpose, h.name}) {
        w.number(std::uint64_t{text.size()});
        w.append(std::as_bytes(std::span{text}));
    }
    write(w, h.caller);
    write(w, h.called);
    w.number(h.caller_token);
    w.number(h.called_token);
    w.raw(h.caller_nonce);
    w.raw(h.called_nonce);
    return out;
}

} // namespace

void fill_randomly(std::span<std::byte> to)
{
    while (!to.empty()) {
        const auto got = ::getrandom(to.data(), to.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw std::system_error{errno, std::generic_category(), "getrandom"};
        to = to.subspan(static_cast<std::size_t>(got));
    }
}

wire::digest hmac(std::string_view key, wire::view text)
{
    wire::digest out{};
    unsigned length = 0;
    // A null key would mean the one before to OpenSSL.
    const char* const from = key.empty() ? "" : key.data();
    if (!::HMAC(::EVP_sha256(), from, static_cast<int>(key.size()),
                reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                reinterpret_cast<unsigned char*>(out.data()), &length) ||
        length != out.size())
        throw std::system_error{std::make_error_code(std::errc::not_supported), "HMAC-SHA256"};
    return out;
}

wire::digest prove(std::string_view secret, side who, const handshake& h)
{
    return hmac(secret, transcript(who, h));
}

bool same(const wire::digest& a, const wire::digest& b) noexcept
{
    return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

} // namespace wye::detail
