// SPDX-License-Identifier: Apache-2.0
#include "upload.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <random>

#include <boost/asio/error.hpp>

#include <wye/checksum.hpp>

#include "download.hpp"
#include "errors.hpp"
#include "xml.hpp"

namespace wye::storage::s3 {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t sum_slice = 16 * 1024;  // ~10 us of SHA-256
constexpr std::size_t copy_slice = 64 * 1024; // ~15 us
constexpr unsigned patience_for_completion = 4; // a server may put a large object together first
constexpr int most_drops = 5;
constexpr auto clocks_differ_by = 5s;
constexpr auto name_of_upload = "x-amz-meta-wye-upload";

std::string eight_digits(std::uint32_t n)
{
    char text[9];
    std::snprintf(text, sizeof text, "%08x", n);
    return text;
}

std::string any_name()
{
    static thread_local std::random_device entropy;
    return eight_digits(entropy()) + eight_digits(entropy()) + eight_digits(entropy()) + eight_digits(entropy());
}

void add_sums(call& c, const body_sums& sums)
{
    c.body_hash = sums.sha256;
    if (sums.crc) c.headers.emplace_back("x-amz-checksum-crc32c", base64(*sums.crc));
}

/// Returns the name that the object has from this request alone; empty without a condition.
std::string add_condition(call& c, const object_condition& when)
{
    if (!when.absent && when.tag.empty()) return {};
    if (when.absent) c.headers.emplace_back("If-None-Match", "*");
    if (!when.tag.empty()) c.headers.emplace_back("If-Match", when.tag);
    std::string nonce = any_name();
    c.headers.emplace_back(name_of_upload, nonce);
    return nonce;
}

bool within_quotes(std::string_view tag) noexcept { return tag.size() > 2 && tag.front() == '"' && tag.back() == '"'; }

call control(std::string_view operation, std::string_view method, std::string key)
{
    call c;
    c.operation = operation;
    c.method = method;
    c.key = std::move(key);
    c.urgent = true; // others wait for these, and there are few
    return c;
}

/// Whether the object is what we wrote under that name: perhaps it was done, and the answer lost.
flow<bool> is_ours(client& by, std::string key, std::string nonce)
{
    call c = control("HEAD", "HEAD", std::move(key));
    stop_signal never;
    result r = co_await by.ask(c, never);
    co_return !r.got.error && r.got.header(name_of_upload) == nonce;
}

std::span<const std::byte> bytes_of(const std::string& text) noexcept
{
    return std::as_bytes(std::span{text.data(), text.size()});
}

} // namespace

void part_memory::wake() noexcept
{
    while (!waiting_.empty() && take(waiting_.front()->bytes)) {
        reactor_.resume_soon(waiting_.front()->waiting);
        waiting_.erase(waiting_.begin());
    }
}

flow<body_sums> sum_body(client& by, std::span<const std::byte> body)
{
    body_sums sums;
    const bool sign = by.of().sign_body && !by.of().anonymous, check = by.of().checksums;
    if (body.empty()) {
        if (check) sums.crc = 0;
        co_return sums;
    }
    if (!sign && !check) co_return sums;
    hasher sha;
    std::uint32_t crc = 0;
    std::size_t at = 0;
    const auto step = [&] {
        const std::size_t n = std::min(sum_slice, body.size() - at);
        if (sign) sha.add(body.data() + at, n);
        if (check) crc = crc32c(body.data() + at, n, crc);
        at += n;
        return at == body.size();
    };
    work all{by.loop(), step};
    co_await all;
    if (sign) sums.sha256 = hex(sha.finish());
    if (check) sums.crc = crc;
    co_return sums;
}

flow<error_code> put_whole(client& by, std::string key, const object_condition& when, std::span<const std::byte> body,
                           std::optional<std::uint32_t> keep, bool urgent, stop_signal& stop)
{
    call c;
    c.operation = c.method = "PUT";
    c.key = std::move(key);
    c.urgent = urgent;
    c.body = body;
    c.finish_once_sent = true;
    const body_sums sums = co_await sum_body(by, body);
    add_sums(c, sums);
    if (keep) c.headers.emplace_back("x-amz-meta-wye-crc32c", eight_digits(*keep));
    const std::string nonce = add_condition(c, when);
    bool unanswered = false, bare = false;
    for (;;) {
        result r = co_await by.ask(c, stop);
        unanswered = unanswered || r.unanswered;
        if (r.got.status != 412 || nonce.empty()) co_return r.got.error;
        // What stands in the way may be what an earlier try of this has made.
        if (unanswered) {
            const bool ours = co_await is_ours(by, c.key, nonce);
            if (ours) co_return error_code{};
        }
        if (when.tag.empty()) co_return r.got.error;
        // Ceph 16 knows a generation only without the quotes that it gave it.
        generation there;
        const error_code gone = co_await look_at(by, c.key, urgent, stop, there);
        if (bare || gone || there.etag != when.tag || !within_quotes(when.tag)) co_return s3_errc::changed;
        for (auto& [name, value] : c.headers)
            if (name == "If-Match") value = when.tag.substr(1, when.tag.size() - 2);
        bare = true;
    }
}

/// `co_await change{upload}`: until a part is sent or has memory.
struct upload::change {
    upload& of;
    explicit change(upload& u) noexcept : of{u} {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) { of.waiting_.push_back(h); }
    void await_resume() const noexcept {}
};

upload::upload(std::shared_ptr<client> by, part_memory& memory, std::string key, const object_condition& when, std::uint64_t total,
               std::size_t part_bytes)
    : by_{std::move(by)}, memory_{memory}, key_{std::move(key)}, when_{when}, total_{total}, part_bytes_{part_bytes}, nonce_{any_name()}
{
    parts_.resize(static_cast<std::size_t>(std::max<std::uint64_t>(1, (total + part_bytes_ - 1) / part_bytes_)));
}

upload::~upload()
{
    for (std::size_t i = 0; i < parts_.size(); ++i) free(parts_[i], size_of(i));
}

std::uint64_t upload::size_of(std::size_t index) const noexcept
{
    return std::min(part_bytes_, total_ - index * part_bytes_);
}

void upload::free(part& p, std::size_t bytes) noexcept
{
    if (!p.gathered) return;
    p.gathered.reset();
    memory_.give_back(bytes);
}

void upload::wake()
{
    for (const auto h : std::exchange(waiting_, {})) by_->loop().resume_soon(h);
}

flow<error_code> upload::begin()
{
    if (parts_.size() == 1) co_return error_code{};
    // Many servers do not look at a condition of the completion, and do not say so.
    if (when_.absent || !when_.tag.empty()) co_return errc::not_supported;
    began_ = by_->now();
    call c = control("POST ?uploads", "POST", key_);
    c.query.emplace_back("uploads", "");
    c.headers.emplace_back(name_of_upload, nonce_);
    if (by_->of().checksums) {
        c.headers.emplace_back("x-amz-checksum-algorithm", "CRC32C");
        c.headers.emplace_back("x-amz-checksum-type", "FULL_OBJECT");
    }
    stop_signal never;
    result r = co_await by_->ask(c, never);
    strays_ = r.unanswered;
    error_code e = r.got.error;
    if (!e) id_ = text_of(r.got.text, "InitiateMultipartUploadResult/UploadId");
    if (!e && id_.empty()) e = s3_errc::bad_answer;
    sums_known_ = r.got.header("x-amz-checksum-algorithm") == "CRC32C";
    if (strays_) co_await drop_strays();
    co_return e;
}

flow<error_code> upload::write(std::uint64_t offset, std::span<const std::byte> bytes, bool urgent, stop_signal& stop)
{
    const auto index = static_cast<std::size_t>(offset / part_bytes_);
    if (index >= parts_.size() || offset + bytes.size() > total_) co_return errc::out_of_range;
    if (!id_.empty() && offset % part_bytes_ == 0 && bytes.size() == size_of(index)) {
        error_code e = co_await send(index, bytes, urgent, stop);
        co_return e;
    }
    error_code e = co_await gather(offset, bytes, urgent);
    co_return e;
}

flow<void> upload::have_memory(part& p, std::size_t bytes)
{
    while (!p.gathered && !failed_) {
        if (p.asking) {
            change other{*this};
            co_await other;
            continue;
        }
        p.asking = true;
        part_memory::room some{memory_, bytes};
        co_await some;
        p.gathered.reset(new (std::nothrow) std::byte[bytes]);
        p.asking = false;
        if (!p.gathered) {
            memory_.give_back(bytes);
            failed_ = object_error(ENOMEM);
        }
        wake();
        if (failed_) co_return;
    }
}

flow<error_code> upload::gather(std::uint64_t offset, std::span<const std::byte> bytes, bool urgent)
{
    while (!bytes.empty() && !failed_) {
        const auto index = static_cast<std::size_t>(offset / part_bytes_);
        const std::size_t size = size_of(index), at = static_cast<std::size_t>(offset % part_bytes_);
        part& p = parts_[index];
        co_await have_memory(p, size);
        if (!p.gathered) co_return failed_;
        const std::size_t n = std::min(bytes.size(), size - at);
        std::byte* const to = p.gathered.get() + at;
        const std::byte* const from = bytes.data();
        std::size_t copied = 0;
        const auto step = [&] {
            const std::size_t some = std::min(copy_slice, n - copied);
            std::memcpy(to + copied, from + copied, some);
            copied += some;
            return copied == n;
        };
        work copying{by_->loop(), step};
        co_await copying;
        p.filled += n;
        if (p.filled == size && !id_.empty()) send_gathered(index, urgent);
        offset += n;
        bytes = bytes.subspan(n);
    }
    co_return failed_;
}

detached upload::send_gathered(std::size_t index, bool urgent)
{
    ++sending_;
    memory_.sending();
    part& p = parts_[index];
    const std::size_t size = size_of(index);
    const error_code e = co_await send(index, {p.gathered.get(), size}, urgent, stop_);
    if (e && !failed_) failed_ = e;
    free(p, size);
    memory_.sent();
    --sending_;
    wake();
}

flow<error_code> upload::send(std::size_t index, std::span<const std::byte> bytes, bool urgent, stop_signal& stop)
{
    call c;
    c.operation = "PUT ?partNumber";
    c.method = "PUT";
    c.key = key_;
    c.query.emplace_back("partNumber", std::to_string(index + 1));
    c.query.emplace_back("uploadId", id_);
    c.body = bytes;
    c.urgent = urgent;
    const body_sums sums = co_await sum_body(*by_, bytes);
    add_sums(c, sums);
    result r = co_await by_->ask(c, stop);
    cut_off_ = cut_off_ || r.unanswered;
    error_code e = r.got.error;
    const std::string etag{r.got.header("ETag")};
    if (!e && etag.empty()) e = s3_errc::bad_answer;
    if (stop.pulled() && e) e = boost::asio::error::operation_aborted;
    if (e) co_return e;
    parts_[index].etag = etag;
    parts_[index].crc = sums.crc.value_or(0);
    co_return error_code{};
}

flow<void> upload::no_more_sends()
{
    while (sending_ != 0) {
        change one{*this};
        co_await one;
    }
}

flow<error_code> upload::commit(std::optional<std::uint32_t> keep)
{
    co_await no_more_sends();
    error_code e = failed_;
    if (id_.empty()) {
        part& only = parts_.front();
        if (only.filled != total_) e = errc::short_transfer;
        if (e) co_return e;
        stop_signal never;
        const std::span<const std::byte> all{only.gathered.get(), only.filled};
        e = co_await put_whole(*by_, key_, when_, all, keep, true, never);
        co_return e;
    }
    const auto there = [](const part& p) { return !p.etag.empty(); };
    if (!e && !std::all_of(parts_.begin(), parts_.end(), there)) e = errc::short_transfer;
    if (!e) e = co_await complete(keep);
    else co_await drop(id_);
    co_return e;
}

flow<error_code> upload::complete(std::optional<std::uint32_t> keep)
{
    std::string list = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        list += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + escaped(parts_[i].etag) + "</ETag>";
        if (sums_known_) list += "<ChecksumCRC32C>" + base64(parts_[i].crc) + "</ChecksumCRC32C>";
        list += "</Part>";
    }
    list += "</CompleteMultipartUpload>";
    call c = control("POST ?uploadId", "POST", key_);
    c.query.emplace_back("uploadId", id_);
    c.body = bytes_of(list);
    c.body_hash = hex(sha256(list));
    c.patience = patience_for_completion;
    if (keep && sums_known_) {
        c.headers.emplace_back("x-amz-checksum-crc32c", base64(*keep));
        c.headers.emplace_back("x-amz-checksum-type", "FULL_OBJECT");
    }
    stop_signal never;
    result r = co_await by_->ask(c, never);
    if (!r.got.error) co_return error_code{};
    // Perhaps it was done, and the answer lost.
    if (r.unanswered) {
        const bool done = co_await is_ours(*by_, key_, nonce_);
        if (done) co_return error_code{};
    }
    co_await drop(id_);
    if (r.unanswered) {
        const bool done = co_await is_ours(*by_, key_, nonce_);
        if (done) co_return error_code{};
    }
    co_return r.got.error;
}

flow<error_code> upload::abandon()
{
    stop_.pull();
    co_await no_more_sends();
    if (id_.empty()) co_return error_code{};
    error_code e = co_await drop(id_);
    co_return e;
}

/// Ends an upload, with its parts. A part that was on its way may arrive after that, so it is looked for.
flow<error_code> upload::drop(std::string id)
{
    stop_signal never;
    error_code e;
    for (int i = 0; i < most_drops; ++i) {
        call c = control("DELETE ?uploadId", "DELETE", key_);
        c.query.emplace_back("uploadId", id);
        result r = co_await by_->ask(c, never);
        e = r.got.status == 404 ? error_code{} : r.got.error;
        if (e || !cut_off_) co_return e;
        call look = control("GET ?uploadId", "GET", key_);
        look.query.emplace_back("uploadId", id);
        look.query.emplace_back("max-parts", "1");
        look.quiet = true; // it should fail
        r = co_await by_->ask(look, never);
        if (r.got.error) co_return e;
        pause a_moment{by_->loop(), 100ms * (i + 1), never};
        co_await a_moment;
    }
    co_return e;
}

/// An answer to the request for an upload was lost, and with it the upload's name. Ends what was begun for this key since.
flow<void> upload::drop_strays()
{
    call c = control("GET ?uploads", "GET", {});
    c.query.emplace_back("uploads", "");
    c.query.emplace_back("prefix", key_);
    c.most_text = 4 * 1024 * 1024;
    stop_signal never;
    result r = co_await by_->ask(c, never);
    if (r.got.error) co_return;
    std::vector<std::string> strays;
    std::string key, id, begun;
    const auto leaf = [&](std::string_view at, std::string text) {
        if (at == "ListMultipartUploadsResult/Upload/Key") key = std::move(text);
        else if (at == "ListMultipartUploadsResult/Upload/UploadId") id = std::move(text);
        else if (at == "ListMultipartUploadsResult/Upload/Initiated") begun = std::move(text);
    };
    const auto close = [&](std::string_view at) {
        if (at != "ListMultipartUploadsResult/Upload") return;
        const auto time = read_iso_date(begun);
        if (key == key_ && id != id_ && time && *time + clocks_differ_by >= began_) strays.push_back(id);
    };
    if (!read_xml(r.got.text, leaf, close)) co_return;
    for (const std::string& stray : strays) co_await drop(stray);
}

} // namespace wye::storage::s3
