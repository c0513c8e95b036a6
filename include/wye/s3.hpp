// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <wye/clock.hpp>
#include <wye/driver.hpp>
#include <wye/error.hpp>
#include <wye/units.hpp>

namespace wye {

/// Where the bucket's name goes: into the path or the host's name.
enum class s3_style : std::uint8_t {
    automatic, ///< the host's name at AWS (unless TLS could not have it: a name with dots), else the path
    path,
    virtual_host,
};

/// Whether the signature covers the bytes of the body, which costs a SHA-256 of them.
enum class s3_payload : std::uint8_t {
    automatic, ///< signed over plain HTTP; over TLS not, which protects them by itself
    signed_body,
    unsigned_body,
};

/// A request that did not get what it asked for, after all tries. Views last as long as the call that hands it out.
struct s3_failure {
    std::string_view operation;  ///< "GET", "PUT", "POST ?uploads"
    std::string_view bucket, key;
    error_code error;
    int status = 0;              ///< of HTTP; 0 without an answer
    std::string_view code;       ///< "NoSuchBucket", of the server
    std::string_view request_id; ///< by which the server's people find it
    std::string_view message;    ///< what the server, or TLS, says
    unsigned tries = 0;

    std::string to_string() const; ///< one line
};

/// How buckets of "s3://NAME?option=value&..." are reached. What a URL says comes first, then this, then the
/// environment. A URL may say endpoint, region, profile, style (path, virtual), payload (signed, unsigned), checksums
/// (on, off), credentials (none), ca (a file) and verify (on, off).
struct s3_options {
    std::string endpoint{};      ///< "https://host:port"; empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else AWS's of the region
    std::string region{};        ///< empty: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1
    /// Empty: AWS_ACCESS_KEY_ID and its like, then the shared credentials file, then the endpoints that containers and
    /// instances have. The last two are asked again before what they gave expires.
    std::string access_key{}, secret_key{}, session_token{};
    std::string profile{};       ///< of the shared credentials file; empty: AWS_PROFILE, else "default"
    bool anonymous = false;      ///< requests are not signed
    s3_style style = s3_style::automatic;
    s3_payload payload = s3_payload::automatic;
    bool checksums = true;       ///< a CRC32C goes with what is written, and is checked where a server gives one back

    std::string authorities{};   ///< a file of certificates to trust; empty: AWS_CA_BUNDLE, else the system's
    bool verify = true;          ///< the server's certificate and name
    std::string proxy{};         ///< "http://host:port" or "none"; empty: http_proxy, https_proxy, no_proxy

    std::uint32_t connections = 32;       ///< to one server; so many requests are under way at most
    std::size_t part_bytes = 8_MiB;       ///< of a ranged read or a part of an upload; at least 5 MiB
    duration connect_within = std::chrono::seconds{5};   ///< name, connection and TLS
    duration stalled_after = std::chrono::seconds{10};   ///< without a byte either way
    duration answer_within = std::chrono::seconds{30};   ///< from the end of a request to the beginning of its answer
    duration idle_after = std::chrono::seconds{15};      ///< a connection that nobody needs is closed
    unsigned tries = 6;                   ///< of one request, with a growing, jittered pause between them
    /// Called on the runtime's thread for each failure that a request ends in, a missing object excepted.
    std::function<void(const s3_failure&)> failed{};
};

/// The OBJ tier in S3 and what speaks like it. Not in builds without WYE_WITH_S3. Throws system_error.
std::unique_ptr<driver> make_s3(const s3_options& = {});

/// What no server has a status for. Values from 256 are 256 * status + a number of the server's code: `s3_status`.
enum class s3_errc {
    name_unknown = 1, ///< the host has no address
    certificate,      ///< the server's is not trusted, expired, or another host's
    tls,              ///< TLS failed otherwise
    bad_answer,       ///< not HTTP, or not what was asked for
    no_credentials,   ///< nobody gave any
    proxy_refused,    ///< the proxy does not let us through
    changed,          ///< the object was replaced while it was read, or is not the generation that was asked for
};

/// `message()` is "s3: 403 AccessDenied". Its values compare with the standard conditions.
const boost::system::error_category& s3_category() noexcept;
inline error_code make_error_code(s3_errc e) noexcept { return {static_cast<int>(e), s3_category()}; }
/// The HTTP status that an error of this category stands for; 0 when it stands for none.
int s3_status(const error_code&) noexcept;

} // namespace wye

template <>
struct boost::system::is_error_code_enum<wye::s3_errc> : std::true_type {};
