// SPDX-License-Identifier: Apache-2.0
#include "download.hpp"

#include <charconv>

#include <boost/asio/error.hpp>

#include <wye/checksum.hpp>

#include "errors.hpp"

namespace wye::storage::s3 {

namespace {

constexpr std::size_t getting_on = 64 * 1024; // so much more than before, and the tries are counted anew
constexpr int most_restarts = 3;

std::optional<std::uint64_t> number(std::string_view text, int base = 10) noexcept
{
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return {};
    return n;
}

struct content_range {
    std::uint64_t first = 0, last = 0, total = 0;
};

/// "bytes 0-9/100"
std::optional<content_range> read_content_range(std::string_view text)
{
    if (!text.starts_with("bytes ")) return {};
    text.remove_prefix(6);
    const auto dash = text.find('-'), slash = text.find('/');
    if (dash == text.npos || slash == text.npos || slash < dash) return {};
    const auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1, slash - dash - 1)),
               total = number(text.substr(slash + 1));
    if (!first || !last || !total || *last < *first || *total <= *last) return {};
    return content_range{*first, *last, *total};
}

/// Of "bytes */100", which comes with 416: where the object ends.
std::optional<std::uint64_t> size_beside_416(std::string_view text)
{
    return text.starts_with("bytes */") ? number(text.substr(8)) : std::nullopt;
}

/// What of the range is there, and where the next answer's bytes go.
class reading {
public:
    reading(wanted_range w, std::string must) : wanted_{w}, bound_{!must.empty()}
    {
        out.from.etag = std::move(must);
    }

    std::string range() const
    {
        const std::uint64_t begin = wanted_.offset + out.bytes;
        return "bytes=" + std::to_string(begin) + '-' + std::to_string(wanted_.offset + wanted_.into.size() - 1);
    }
    /// Judges the head of an answer. Bytes of another range, or of another generation, find no place.
    std::span<std::byte> place(const answer& a, std::uint64_t length)
    {
        refused = true;
        const std::uint64_t begin = wanted_.offset + out.bytes, left = wanted_.into.size() - out.bytes;
        content_range there{0, length - 1, length}; // of 200: all of it, whatever was asked for
        if (a.status == 206) {
            const auto said = read_content_range(a.header("Content-Range"));
            if (!said || said->last - said->first + 1 != length || length > left) return {};
            there = *said;
        }
        if (there.first != begin) return {};
        const std::string_view etag = a.header("ETag");
        if (!out.from.etag.empty() && etag != out.from.etag) {
            changed = true;
            return {};
        }
        out.from.etag = etag;
        out.from.size = there.total;
        out.from.sum = sum_of(a);
        known = true;
        refused = false;
        if (wanted_.whole && there.total > wanted_.offset + wanted_.into.size()) {
            out.error = errc::length_mismatch;
            return {};
        }
        return wanted_.into.subspan(out.bytes, static_cast<std::size_t>(std::min(length, left)));
    }
    /// Whether there is nothing left to ask for.
    bool complete() const noexcept
    {
        return out.bytes == wanted_.into.size() || (known && wanted_.offset + out.bytes >= out.from.size);
    }
    /// Another generation is there now. From the beginning with that one, unless others read along.
    bool restart() noexcept
    {
        if (bound_ || ++restarts_ > most_restarts) return false;
        out = {};
        changed = known = false;
        return true;
    }

    read_result out;
    bool refused = false, changed = false, known = false;

private:
    const wanted_range wanted_;
    const bool bound_;
    int restarts_ = 0;
};

} // namespace

std::optional<std::uint32_t> sum_of(const answer& a)
{
    if (const auto kept = a.header("x-amz-meta-wye-crc32c"); kept.size() == 8)
        if (const auto n = number(kept, 16)) return static_cast<std::uint32_t>(*n);
    // Of a whole object. One of parts' sums ("...-7") says nothing that could be checked here, nor does one of a range.
    if (a.status == 206 && !a.header("Content-Range").starts_with("bytes 0-")) return {};
    return read_base64_word(a.header("x-amz-checksum-crc32c"));
}

flow<error_code> look_at(client& by, std::string key, bool urgent, stop_signal& stop, generation& g)
{
    call c;
    c.operation = c.method = "HEAD";
    c.key = std::move(key);
    c.urgent = urgent;
    if (by.of().checksums) c.headers.emplace_back("x-amz-checksum-mode", "ENABLED");
    result r = co_await by.ask(c, stop);
    if (r.got.error) co_return r.got.error;
    const auto size = number(r.got.header("Content-Length"));
    if (!size) co_return s3_errc::bad_answer;
    g.size = *size;
    g.etag = r.got.header("ETag");
    g.sum = sum_of(r.got);
    g.modified = read_http_date(r.got.header("Last-Modified")).value_or(wall_time{});
    co_return error_code{};
}

flow<read_result> read_range(client& by, std::string key, wanted_range wanted, std::string must, bool urgent,
                             stop_signal& stop)
{
    reading at{wanted, std::move(must)};
    if (wanted.into.empty()) co_return std::move(at.out);
    attempts tried;
    call c;
    c.operation = c.method = "GET";
    c.key = std::move(key);
    c.urgent = urgent;
    c.place = [&at](const answer& a, std::uint64_t length) { return at.place(a, length); };
    std::size_t before = 0; // when tries were last counted anew
    for (;;) {
        c.headers.clear();
        c.headers.emplace_back("Range", at.range());
        if (by.of().checksums) c.headers.emplace_back("x-amz-checksum-mode", "ENABLED");
        if (!at.out.from.etag.empty()) c.headers.emplace_back("If-Match", at.out.from.etag);
        result r = co_await by.attempt(c, stop, tried);
        at.out.bytes += r.got.landed;
        if (at.out.error) co_return std::move(at.out);
        if (r.got.status == 416) {
            const auto size = size_beside_416(r.got.header("Content-Range"));
            at.out.from.size = size.value_or(0);
            at.known = true;
            if (!size || wanted.offset + at.out.bytes >= *size) co_return std::move(at.out);
        }
        if (r.got.status == 412 || at.changed) {
            r.got.error = s3_errc::changed;
            if (at.restart()) continue;
        } else if (!r.got.error && at.refused) {
            r.got.error = s3_errc::bad_answer;
        }
        if (!r.got.error && at.complete()) co_return std::move(at.out);
        if (!r.got.error) r.got.error = errc::short_transfer; // fewer than were asked for, and the object does not end there
        if (at.out.bytes - before >= getting_on) {
            before = at.out.bytes;
            tried.made = 0;
        }
        const bool again = co_await by.try_again(r, stop, tried);
        if (again) continue;
        r.tries = tried.all;
        by.report(c, r);
        at.out.error = r.got.error;
        if (stop.pulled()) at.out.error = boost::asio::error::operation_aborted;
        co_return std::move(at.out);
    }
}

} // namespace wye::storage::s3
