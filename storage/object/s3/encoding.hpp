// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wye::storage::s3 {

using digest = std::array<unsigned char, 32>;
using wall_time = std::chrono::system_clock::time_point;

std::string hex(std::span<const unsigned char>);
std::string base64(std::span<const unsigned char>);
/// Four bytes, most significant first, as S3 writes a CRC32C.
std::string base64(std::uint32_t);
std::optional<std::uint32_t> read_base64_word(std::string_view);

/// Everything but A-Z a-z 0-9 - . _ ~ as %XX; '/', too, unless it is to be kept.
std::string percent(std::string_view, bool keep_slashes);
/// Its inverse; nothing where a '%' leads to no number. '+' stays.
std::optional<std::string> unpercent(std::string_view);

digest sha256(std::string_view);
digest hmac(std::span<const unsigned char> key, std::string_view text);
std::string md5_base64(std::string_view);

/// A SHA-256 in pieces.
class hasher {
public:
    hasher();
    hasher(const hasher&) = delete;
    hasher& operator=(const hasher&) = delete;
    ~hasher();
    void add(const void* data, std::size_t bytes) noexcept;
    digest finish() noexcept;

private:
    void* state_;
};

/// "20150830T123600Z"
std::string compact(wall_time);
/// "Sun, 06 Nov 1994 08:49:37 GMT", as in HTTP.
std::optional<wall_time> read_http_date(std::string_view);
/// "2009-10-12T17:50:30.000Z", as in XML and JSON.
std::optional<wall_time> read_iso_date(std::string_view);

/// ASCII letters of either case are the same.
bool same_word(std::string_view, std::string_view) noexcept;

} // namespace wye::storage::s3
