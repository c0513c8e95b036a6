// SPDX-License-Identifier: Apache-2.0
#include "endpoint.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/error.hpp>

namespace wye::detail {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// Of one name. Who has waited long enough lets go of it; the system comes back in its own time.
struct question {
    explicit question(const asio::any_io_executor& on) : resolver{on}, answered{on} {}

    tcp::resolver resolver;
    asio::steady_timer answered; ///< ends the wait
    error_code error = asio::error::timed_out;
    std::vector<tcp::endpoint> found;
};

} // namespace

std::string place::to_string() const
{
    const bool bare = host.find(':') == std::string::npos;
    return (bare ? host : '[' + host + ']') + ':' + std::to_string(port);
}

place parse_endpoint(std::string_view endpoint, std::uint16_t usual)
{
    const auto malformed = [&] { return system_error(errc::bad_name, "not an endpoint: " + std::string{endpoint}); };
    std::string_view host = endpoint, port;
    const std::size_t colon = endpoint.rfind(':'), bracket = endpoint.rfind(']');
    const bool has_port = colon != endpoint.npos && (bracket == endpoint.npos || bracket < colon);
    if (has_port) host = endpoint.substr(0, colon), port = endpoint.substr(colon + 1);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    else if (host.find(':') != host.npos) throw malformed();
    place p{std::string{host}, has_port ? std::uint16_t{0} : usual};
    if (has_port) {
        const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), p.port);
        if (failed != std::errc{} || end != port.data() + port.size()) throw malformed();
    }
    if (host.empty() || p.port == 0) throw malformed();
    return p;
}

task<std::vector<tcp::endpoint>> look_up(asio::any_io_executor on, place p, duration at_most)
{
    error_code is_name;
    const auto address = asio::ip::make_address(p.host, is_name);
    if (!is_name) {
        std::vector<tcp::endpoint> itself(1, tcp::endpoint{address, p.port});
        co_return itself;
    }
    const auto q = std::make_shared<question>(on);
    q->answered.expires_after(std::min<duration>(at_most, std::chrono::hours{24}));
    q->resolver.async_resolve(p.host, std::to_string(p.port), [q](error_code e, const tcp::resolver::results_type& r) {
        q->error = e;
        for (const auto& each : r) q->found.push_back(each.endpoint());
        q->answered.cancel();
    });
    error_code ignored;
    co_await q->answered.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (q->error) throw system_error(q->error, p.host);
    co_return q->found;
}

} // namespace wye::detail
