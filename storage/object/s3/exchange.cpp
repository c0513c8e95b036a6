// SPDX-License-Identifier: Apache-2.0
#include "exchange.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include <boost/asio/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <wye/s3.hpp>

namespace wye::storage::s3 {

namespace {

namespace http = boost::beast::http;

constexpr std::size_t large_read = 2 * 1024 * 1024;
// About 20 us of copying by the kernel, or of ciphering.
constexpr std::size_t small_piece = 128 * 1024;
// Of a body, while more than twice that is to come: a record of TLS may be with OpenSSL in part. Else each packet wakes us.
constexpr int worth_waking = 256 * 1024;
constexpr std::size_t first_read = 2048; // what comes of the body with the head is copied, so not much of it
constexpr std::size_t most_head = 32 * 1024;

} // namespace

struct exchange::parser : http::response_parser<http::string_body> {};

std::string_view answer::header(std::string_view name) const noexcept
{
    for (const auto& [n, v] : headers)
        if (same_word(n, name)) return v;
    return {};
}

exchange::exchange(reactor& r, connection& c, message& m, stop_signal& s) : reactor_{r}, on_{c}, out_{m}, stop_{s} {}
exchange::~exchange() = default;

void exchange::await_suspend(std::coroutine_handle<> h)
{
    waiting_ = h;
    on_.by = this;
    stop_.listen(this);
    last_ = reactor::now();
    start_parser();
    watch();
    on_.readable = on_.writable = true; // until the kernel says otherwise
    reactor_.run_soon(on_);
}

answer exchange::await_resume() noexcept
{
    stop_.listen(nullptr);
    on_.used_before = true;
    return std::move(got_);
}

void exchange::stop() noexcept
{
    if (at_ == phase::over || (got_.sent && out_.finish_once_sent)) return;
    fail(boost::asio::error::operation_aborted);
    settle();
}

/// The flow goes on in the next round.
void exchange::settle() noexcept
{
    at_ = phase::over;
    on_.by = nullptr;
    if (std::exchange(timing_, false)) reactor_.cancel(timer_);
    reactor_.resume_soon(waiting_);
}

void exchange::go_on(turn t) noexcept
{
    const bool bounded = t.bounded();
    try {
        for (;;) {
            if (!got_.sent && !cut_ && on_.writable && !send(t)) {
                // The server may have said why it does not listen any more.
                cut_ = true;
            }
            const bool reads_first = on_.socket.tls() && on_.socket.wants_read; // a renegotiation
            const bool sending = !got_.sent && !cut_ && on_.writable && !reads_first;
            if (!on_.readable) {
                if (sending) reactor_.run_soon(on_); // the turn is over
                return;
            }
            const step s = receive(bounded);
            if (s == step::over) return settle();
            if (s == step::wait && !sending) return;
            if (t.over()) return reactor_.run_soon(on_);
        }
    } catch (const std::exception&) { // no memory
        fail(object_error(ENOMEM));
        settle();
    }
}

/// As much as goes out now; false when the connection does not take any more.
bool exchange::send(turn t)
{
    const std::size_t all = out_.head.size() + out_.body.size();
    while (sent_ < all) {
        iovec parts[2];
        int count = 0;
        if (sent_ < out_.head.size()) parts[count++] = {out_.head.data() + sent_, out_.head.size() - sent_};
        const std::size_t of_body = sent_ < out_.head.size() ? 0 : sent_ - out_.head.size();
        const std::size_t most = t.bounded() ? small_piece : large_read;
        if (const std::size_t size = std::min(out_.body.size() - of_body, most))
            parts[count++] = {const_cast<std::byte*>(out_.body.data()) + of_body, size};
        std::size_t n = 0;
        error_code e;
        const auto how = on_.socket.write(parts, count, n, e);
        if (how == stream::outcome::again) {
            // TLS that must read first finds out in `receive`.
            on_.writable = !on_.socket.wants_write;
            last_ = n ? reactor::now() : last_;
            return true;
        }
        if (how != stream::outcome::some) {
            got_.reason = on_.socket.reason();
            return false;
        }
        sent_ += n;
        last_ = reactor::now();
        if (sent_ < all && (t.over() || on_.readable)) return true; // an answer before the end is a refusal
    }
    got_.sent = true;
    return true;
}

exchange::step exchange::receive(bool bounded)
{
    if (at_ == phase::body) return body(bounded);
    // The rest of a body of known length never reads on into what comes after it.
    std::size_t most = at_ == phase::head ? std::min(first_read, buffer_.size() - in_buffer_) : buffer_.size() - in_buffer_;
    if (at_ == phase::text) most = static_cast<std::size_t>(std::min<std::uint64_t>(most, left_));
    std::size_t n = 0;
    error_code e;
    switch (on_.socket.read(buffer_.data() + in_buffer_, most, n, e)) {
    case stream::outcome::again: on_.readable = false; return step::wait;
    case stream::outcome::end: return ended();
    case stream::outcome::failed: got_.reason = on_.socket.reason(); return fail(e);
    case stream::outcome::some: break;
    }
    last_ = reactor::now();
    if (at_ == phase::head) return parse(n);
    if (at_ == phase::chunks) return parse_chunks(n);
    got_.text.append(buffer_.data(), n);
    left_ -= n;
    return left_ == 0 ? whole() : step::more;
}

exchange::step exchange::parse(std::size_t fresh)
{
    got_.begun = true;
    in_buffer_ += fresh;
    error_code e;
    const std::size_t used = parser_->put(boost::asio::buffer(buffer_.data(), in_buffer_), e);
    std::memmove(buffer_.data(), buffer_.data() + used, in_buffer_ - used);
    in_buffer_ -= used;
    if (e == http::error::need_more) {
        if (in_buffer_ == buffer_.size()) return fail(s3_errc::bad_answer);
        return step::more;
    }
    if (e) {
        got_.reason = e.message();
        return fail(s3_errc::bad_answer);
    }
    if (!parser_->is_header_done()) return step::more;
    if (parser_->get().result_int() / 100 != 1) return headed();
    // A word in between (100 Continue); the answer is still to come.
    start_parser();
    return in_buffer_ ? parse(0) : step::more;
}

void exchange::start_parser()
{
    parser_ = std::make_unique<parser>();
    parser_->header_limit(most_head);
    parser_->body_limit(boost::none); // what is too long is for `headed` to say
    parser_->eager(false);
}

void exchange::take_fields()
{
    got_.status = static_cast<int>(parser_->get().result_int());
    for (const auto& f : parser_->get().base()) {
        const auto name = f.name_string(), value = f.value();
        got_.headers.emplace_back(std::string{name.data(), name.size()}, std::string{value.data(), value.size()});
    }
}

/// The head is there: what becomes of the body?
exchange::step exchange::headed()
{
    take_fields();
    const bool none = out_.head_only || (out_.tunnel && got_.status / 100 == 2) || got_.status == 204 ||
                      got_.status == 304;
    if (none) return whole();
    const bool good = got_.status == 200 || got_.status == 206;
    if (parser_->chunked() || !parser_->content_length()) {
        const std::size_t most = good && out_.place ? std::max(out_.most_text, 64 * large_read) : out_.most_text;
        parser_->body_limit(most);
        parser_->eager(true);
        at_ = phase::chunks;
        if (in_buffer_) return parse_chunks(0);
        return parser_->is_done() ? whole() : step::more;
    }
    left_ = *parser_->content_length();
    if (good && out_.place) {
        into_ = out_.place(got_, left_);
        cut_ = cut_ || into_.size() < left_; // the rest is not read, and with it goes the connection
        left_ = std::min<std::uint64_t>(left_, into_.size());
        at_ = phase::body;
        const std::size_t with_head = static_cast<std::size_t>(std::min<std::uint64_t>(in_buffer_, left_));
        if (with_head) std::memcpy(into_.data(), buffer_.data(), with_head);
        got_.landed = with_head;
        if (in_buffer_ != with_head) cut_ = true;
        in_buffer_ = 0;
        left_ -= with_head;
        return left_ == 0 ? whole() : step::more;
    }
    if (left_ > out_.most_text) return fail(s3_errc::bad_answer);
    at_ = phase::text;
    const std::size_t with_head = static_cast<std::size_t>(std::min<std::uint64_t>(in_buffer_, left_));
    got_.text.assign(buffer_.data(), with_head);
    if (in_buffer_ != with_head) cut_ = true;
    in_buffer_ = 0;
    left_ -= with_head;
    return left_ == 0 ? whole() : step::more;
}

exchange::step exchange::parse_chunks(std::size_t fresh)
{
    in_buffer_ += fresh;
    while (in_buffer_ && !parser_->is_done()) {
        error_code e;
        const std::size_t used = parser_->put(boost::asio::buffer(buffer_.data(), in_buffer_), e);
        std::memmove(buffer_.data(), buffer_.data() + used, in_buffer_ - used);
        in_buffer_ -= used;
        if (e == http::error::need_more && in_buffer_ < buffer_.size()) return step::more;
        if (e && e != http::error::need_more) {
            got_.reason = e.message();
            return fail(s3_errc::bad_answer);
        }
        if (used == 0 && !parser_->is_done()) return in_buffer_ < buffer_.size() ? step::more : fail(s3_errc::bad_answer);
    }
    if (!parser_->is_done()) return step::more;
    got_.text = std::move(parser_->get().body());
    const bool good = got_.status == 200 || got_.status == 206;
    if (good && out_.place) {
        const auto into = out_.place(got_, got_.text.size());
        got_.landed = std::min(into.size(), got_.text.size());
        if (got_.landed) std::memcpy(into.data(), got_.text.data(), got_.landed);
        got_.text.clear();
    }
    return whole();
}

/// Straight into the caller's memory.
exchange::step exchange::body(bool bounded)
{
    const std::size_t most = bounded ? small_piece : large_read;
    std::size_t n = 0;
    error_code e;
    switch (on_.socket.read(into_.data() + got_.landed, static_cast<std::size_t>(std::min<std::uint64_t>(left_, most)), n, e)) {
    case stream::outcome::again:
        on_.readable = false;
        on_.socket.readable_at(left_ > 2 * worth_waking ? worth_waking : 1);
        return step::wait;
    case stream::outcome::end: return ended();
    case stream::outcome::failed: got_.reason = on_.socket.reason(); return fail(e);
    case stream::outcome::some: break;
    }
    got_.landed += n;
    left_ -= n;
    last_ = reactor::now();
    return left_ == 0 ? whole() : step::more;
}

exchange::step exchange::whole() noexcept
{
    on_.socket.readable_at(1);
    reusable_ = got_.sent && !cut_ && in_buffer_ == 0 && parser_->keep_alive();
    if (out_.tunnel) reusable_ = true;
    return step::over;
}

/// The server has closed the connection.
exchange::step exchange::ended() noexcept
{
    if (at_ == phase::chunks && !parser_->chunked()) { // a body without a length ends so
        error_code e;
        parser_->put_eof(e);
        // Of an object nobody could say whether that is all of it.
        if (!e && !out_.place) {
            got_.text = std::move(parser_->get().body());
            cut_ = true;
            return whole();
        }
    }
    return fail(at_ == phase::head ? object_error(ECONNRESET) : error_code{errc::short_transfer});
}

exchange::step exchange::fail(error_code e) noexcept
{
    got_.error = e;
    reusable_ = false;
    return step::over;
}

void exchange::watch()
{
    const duration allowed = got_.sent && at_ == phase::head && !got_.begun ? out_.answer_within : out_.stalled_after;
    const duration left = std::max<duration>(allowed - (reactor::now() - last_), std::chrono::milliseconds{1});
    timing_ = true;
    timer_ = reactor_.after(left, [this] {
        timing_ = false;
        check_time();
    });
}

void exchange::check_time()
{
    const duration allowed = got_.sent && at_ == phase::head && !got_.begun ? out_.answer_within : out_.stalled_after;
    // What has come and was not looked at yet is no silence: the loop may have been away.
    if (on_.socket.holds_back()) {
        on_.readable = true;
        reactor_.run_soon(on_);
    }
    if (on_.is_linked() || reactor::now() - last_ < allowed) return watch();
    fail(object_error(ETIMEDOUT));
    settle();
}

} // namespace wye::storage::s3
