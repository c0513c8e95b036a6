// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/ssl/context.hpp>

#include <wye/task.hpp>
#include <wye/units.hpp>

#include "connection.hpp"
#include "endpoint.hpp"

namespace wye::detail::etcd {

/// A connection to an HTTP server, over which one request goes after the other. What goes wrong on it is thrown as a
/// system_error, and then it is of no more use.
class http_line {
public:
    explicit http_line(boost::asio::any_io_executor);
    ~http_line();

    /// `within` counts from now, and for whatever is under way, until the next `allow`.
    task<> open(place, boost::asio::ssl::context* tls, std::string host, duration within);
    void allow(duration within) { on_->allow(within); }
    /// Nothing is under way, or it may take as long as it likes.
    void rest() noexcept { on_->rest(); }
    /// Ends whatever is under way in an error.
    void close() noexcept { on_->close(); }
    bool late() const noexcept { return on_->late(); }
    bool is_open() const noexcept { return on_->socket.is_open(); }

    /// POSTs JSON, and reads the head of the answer: its status.
    task<unsigned> ask(std::string host, std::string path, std::string token, std::string body);
    /// The next of what the body is; nothing at its end.
    task<std::string> some();
    /// What is left of it. Throws `message_size` beyond `most`.
    task<std::string> rest_of_body(std::size_t most);
    /// The answer was read to its end, and the server keeps the connection.
    bool reusable() const noexcept;
    /// Nothing has come of an answer yet.
    bool silent() const noexcept;

private:
    struct reading;
    task<> read_more();

    std::shared_ptr<connection> on_;
    std::unique_ptr<reading> reading_;
};

} // namespace wye::detail::etcd
