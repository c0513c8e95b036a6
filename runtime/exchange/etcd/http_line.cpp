// SPDX-License-Identifier: Apache-2.0
#include "http_line.hpp"

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "time_left.hpp"

namespace wye::detail::etcd {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

constexpr std::size_t read_at_once = 64 * 1024;
constexpr std::uint32_t most_head = 64 * 1024;
constexpr std::uint64_t most_body = 256 * 1024 * 1024; ///< that is announced

/// Whoever waits for a word on an idle connection is told when the other end has gone without one.
void watch_over(asio::ip::tcp::socket& s)
{
    error_code ignored;
    s.set_option(asio::ip::tcp::no_delay{true}, ignored);
    s.set_option(asio::socket_base::keep_alive{true}, ignored);
    const int idle = 10, between = 3, most = 3;
    ::setsockopt(s.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(s.native_handle(), IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    ::setsockopt(s.native_handle(), IPPROTO_TCP, TCP_KEEPCNT, &most, sizeof most);
}

} // namespace

/// Beast takes answers apart; reading is ours, so that plain and secured connections are one piece of code.
struct http_line::reading {
    std::optional<http::response_parser<http::string_body>> parser;
    boost::beast::flat_buffer buffer;

    void begin()
    {
        parser.emplace();
        parser->header_limit(most_head);
        parser->body_limit(boost::none); // counted where it is taken out
    }
    /// What has come, as far as it goes.
    void parse()
    {
        while (buffer.size() != 0 && !parser->is_done()) {
            error_code error;
            const std::size_t used = parser->put(buffer.data(), error);
            buffer.consume(used);
            if (error && error != http::error::need_more) throw system_error(error);
            if (used == 0) return;
            if (!parser->is_header_done() || parser->eager()) continue;
            // Before Beast makes room for as much as the head says.
            if (parser->content_length().value_or(0) > most_body) throw system_error(http::error::body_limit);
            parser->eager(true);
        }
    }
    void end()
    {
        if (!parser->got_some()) throw system_error(http::error::end_of_stream);
        error_code error;
        parser->put_eof(error);
        if (error) throw system_error(error);
    }
};

http_line::http_line(asio::any_io_executor on)
    : on_{std::make_shared<connection>(asio::ip::tcp::socket{std::move(on)})}, reading_{std::make_unique<reading>()}
{
}
http_line::~http_line() { on_->close(); }

task<> http_line::open(place p, asio::ssl::context* tls, std::string host, duration within)
{
    const time_left left = time_left::of(within);
    const std::vector<asio::ip::tcp::endpoint> where = co_await look_up(on_->socket.get_executor(), std::move(p), within);
    on_->allow(left.now());
    co_await asio::async_connect(on_->socket, where, asio::use_awaitable);
    watch_over(on_->socket);
    if (tls) co_await on_->secure(*tls, asio::ssl::stream_base::client, std::move(host));
}

task<unsigned> http_line::ask(std::string host, std::string path, std::string token, std::string body)
{
    std::string all = "POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n";
    if (!token.empty()) all += "Authorization: " + token + "\r\n";
    all += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    reading_->begin();
    co_await on_->write(std::as_bytes(std::span{all.data(), all.size()}));
    while (!reading_->parser->is_header_done()) co_await read_more();
    co_return reading_->parser->get().result_int();
}

task<> http_line::read_more()
{
    const auto room = reading_->buffer.prepare(read_at_once);
    error_code ended;
    try {
        const std::size_t n = co_await on_->read_some(std::as_writable_bytes(std::span{static_cast<char*>(room.data()), room.size()}));
        reading_->buffer.commit(n);
    } catch (const system_error& e) {
        ended = e.code();
        if (ended != asio::error::eof) throw;
    }
    if (ended) reading_->end(); // which may be how a body ends; a head does not, nor a body of known length
    else reading_->parse();
}

task<std::string> http_line::some()
{
    auto& parser = *reading_->parser;
    while (parser.get().body().empty() && !parser.is_done()) co_await read_more();
    co_return std::exchange(parser.get().body(), std::string{});
}

task<std::string> http_line::rest_of_body(std::size_t most)
{
    std::string all;
    for (;;) {
        std::string more = co_await some();
        if (more.empty()) co_return all;
        all += more;
        if (all.size() > most) throw system_error(asio::error::message_size, "the answer");
    }
}

bool http_line::reusable() const noexcept
{
    return is_open() && reading_->parser && reading_->parser->is_done() && reading_->parser->keep_alive() && reading_->buffer.size() == 0;
}

bool http_line::silent() const noexcept { return reading_->parser && !reading_->parser->got_some() && reading_->buffer.size() == 0; }

} // namespace wye::detail::etcd
