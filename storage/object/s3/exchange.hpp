// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <coroutine>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "connection.hpp"
#include "signer.hpp"

namespace wye::storage::s3 {

/// What came back, or what went wrong instead.
struct answer {
    error_code error;       ///< of the connection or of HTTP; none: an answer came whole, whatever its status
    std::string reason;     ///< of TLS or HTTP, for people
    int status = 0;
    fields headers;
    std::string text;       ///< the body, unless it has gone to memory
    std::size_t landed = 0; ///< bytes that have
    bool begun = false;     ///< something came back
    bool sent = false;      ///< all of the request has left

    std::string_view header(std::string_view name) const noexcept;
};

struct message {
    std::string head;                   ///< request line and fields, with the empty line
    std::span<const std::byte> body{};  ///< stays where it is until the exchange is over
    bool head_only = false;             ///< HEAD: an answer has no body, whatever its length says
    bool tunnel = false;                ///< CONNECT: so has one of 200, and what follows is another's
    bool finish_once_sent = false;      ///< stopping comes too late then: what was asked for is being done
    /// Once the head of a good answer (200, 206) with a length is there: where that many bytes go. Nothing: into `text`.
    std::function<std::span<std::byte>(const answer&, std::uint64_t length)> place{};
    duration stalled_after{}, answer_within{};
    std::size_t most_text = 64 * 1024;
};

/// `co_await exchange{reactor, connection, message, stop}`: one request and its answer. The body of an answer with a
/// length goes from the socket into memory by large reads; Beast reads the head, and bodies in chunks.
class exchange final : connection::user, stop_signal::listener {
public:
    exchange(reactor&, connection&, message&, stop_signal&);
    ~exchange();

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>);
    answer await_resume() noexcept;
    /// Afterwards: whether another request may go over this connection.
    bool reusable() const noexcept { return reusable_; }

private:
    enum class phase : std::uint8_t { head, body, text, chunks, over };
    enum class step : std::uint8_t { more, wait, over };
    struct parser;

    void go_on(turn) noexcept override;
    void stop() noexcept override;
    bool send(turn);
    step receive(bool bounded);
    step parse(std::size_t fresh);
    step headed();
    step parse_chunks(std::size_t fresh);
    void start_parser();
    void take_fields();
    step fill(std::byte* to, std::uint64_t left, bool bounded);
    step body(bool bounded);
    step whole() noexcept;
    step ended() noexcept;
    step fail(error_code) noexcept;
    void settle() noexcept;
    void watch();
    void check_time();

    reactor& reactor_;
    connection& on_;
    message& out_;
    stop_signal& stop_;
    answer got_;
    std::unique_ptr<parser> parser_;
    std::array<char, 8192> buffer_;
    std::size_t in_buffer_ = 0, sent_ = 0;
    std::span<std::byte> into_{};
    std::uint64_t left_ = 0; ///< of the body
    phase at_ = phase::head;
    bool reusable_ = false, cut_ = false;
    bool timing_ = false;
    reactor::clock::time_point last_;
    reactor::timer_id timer_;
    std::coroutine_handle<> waiting_;
};

} // namespace wye::storage::s3
