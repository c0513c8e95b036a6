// SPDX-License-Identifier: Apache-2.0
#include "encoding.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <new>

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace wye::storage::s3 {

namespace {

constexpr char upper_digits[] = "0123456789ABCDEF";

bool unreserved(char c) noexcept
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

int digit(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// The number that begins at `at`, of exactly `width` digits.
std::optional<int> number(std::string_view text, std::size_t at, std::size_t width) noexcept
{
    int value = 0;
    if (at + width > text.size()) return {};
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + width, value);
    if (error != std::errc{} || end != text.data() + at + width || value < 0) return {};
    return value;
}

std::optional<wall_time> time_of(int year, int month, int day, std::string_view clock) noexcept
{
    using namespace std::chrono;
    const auto h = number(clock, 0, 2), m = number(clock, 3, 2), s = number(clock, 6, 2);
    const year_month_day date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                              std::chrono::day{static_cast<unsigned>(day)}};
    // The system's clock counts nanoseconds, and so ends in 2262.
    if (year < 1970 || year > 2200) return {};
    if (clock[2] != ':' || clock[5] != ':') return {};
    if (!h || !m || !s || !date.ok() || *h > 23 || *m > 59 || *s > 60) return {};
    return sys_days{date} + hours{*h} + minutes{*m} + seconds{*s};
}

} // namespace

std::string hex(std::span<const unsigned char> bytes)
{
    std::string text;
    text.reserve(2 * bytes.size());
    for (const unsigned char b : bytes) {
        text += "0123456789abcdef"[b >> 4];
        text += "0123456789abcdef"[b & 15];
    }
    return text;
}

std::string base64(std::span<const unsigned char> bytes)
{
    std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0'); // it ends in a NUL
    const int n = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                    static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(n));
    return text;
}

std::string base64(std::uint32_t word)
{
    const std::array<unsigned char, 4> bytes{static_cast<unsigned char>(word >> 24),
                                             static_cast<unsigned char>(word >> 16),
                                             static_cast<unsigned char>(word >> 8),
                                             static_cast<unsigned char>(word)};
    return base64(bytes);
}

std::optional<std::uint32_t> read_base64_word(std::string_view text)
{
    if (text.size() != 8 || !text.ends_with("==")) return {};
    unsigned char bytes[6];
    if (::EVP_DecodeBlock(bytes, reinterpret_cast<const unsigned char*>(text.data()), 8) != 6) return {};
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

std::string percent(std::string_view text, bool keep_slashes)
{
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (unreserved(c) || (keep_slashes && c == '/')) {
            out += c;
            continue;
        }
        const auto b = static_cast<unsigned char>(c);
        out += '%';
        out += upper_digits[b >> 4];
        out += upper_digits[b & 15];
    }
    return out;
}

std::optional<std::string> unpercent(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (i + 2 >= text.size()) return {};
        const int high = digit(text[i + 1]), low = digit(text[i + 2]);
        if (high < 0 || low < 0) return {};
        out += static_cast<char>(high << 4 | low);
        i += 2;
    }
    return out;
}

digest sha256(std::string_view text)
{
    hasher h;
    h.add(text.data(), text.size());
    return h.finish();
}

digest hmac(std::span<const unsigned char> key, std::string_view text)
{
    digest out{};
    unsigned size = out.size();
    if (!::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
                reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &size))
        throw std::bad_alloc{};
    return out;
}

std::string md5_base64(std::string_view text)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (::EVP_Digest(text.data(), text.size(), out, &size, ::EVP_md5(), nullptr) != 1) throw std::bad_alloc{};
    return base64(std::span<const unsigned char>{out, size});
}

hasher::hasher() : state_{::EVP_MD_CTX_new()}
{
    if (!state_ || ::EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(state_), ::EVP_sha256(), nullptr) != 1)
        throw std::bad_alloc{};
}
hasher::~hasher() { ::EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(state_)); }
void hasher::add(const void* data, std::size_t bytes) noexcept
{
    ::EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(state_), data, bytes);
}
digest hasher::finish() noexcept
{
    digest out{};
    unsigned size = out.size();
    ::EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(state_), out.data(), &size);
    return out;
}

std::string compact(wall_time t)
{
    using namespace std::chrono;
    const auto day = floor<days>(t);
    const year_month_day date{day};
    const hh_mm_ss clock{floor<seconds>(t - day)};
    char text[32];
    std::snprintf(text, sizeof text, "%04d%02u%02uT%02d%02d%02dZ", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                  static_cast<int>(clock.seconds().count()));
    return text;
}

std::optional<wall_time> read_http_date(std::string_view text)
{
    constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (text.size() < 29) return {};
    const auto month = months.find(text.substr(8, 3));
    const auto day = number(text, 5, 2), year = number(text, 12, 4);
    if (month == months.npos || month % 3 != 0 || !day || !year) return {};
    return time_of(*year, static_cast<int>(month / 3) + 1, *day, text.substr(17));
}

std::optional<wall_time> read_iso_date(std::string_view text)
{
    if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[10] != 'T') return {};
    const auto year = number(text, 0, 4), month = number(text, 5, 2), day = number(text, 8, 2);
    if (!year || !month || !day) return {};
    return time_of(*year, *month, *day, text.substr(11));
}

bool same_word(std::string_view a, std::string_view b) noexcept
{
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::ranges::equal(a, b, [&](char x, char y) { return lower(x) == lower(y); });
}

} // namespace wye::storage::s3
