// SPDX-License-Identifier: Apache-2.0
// Who calls a side channel.
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/agent.hpp>
#include <wye/side_channel.hpp>

#include "channel_connection.hpp"
#include "endpoint.hpp"
#include "peers/proof.hpp"
#include "small_array.hpp"

namespace wye {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace detail {

/// A connection, and what goes with it. Shared with its calls, so that who lets go of it in mid-call ends that in an error.
class caller {
public:
    caller(runtime& rt, fetch_options o)
        : options_{std::move(o)}, connection_{std::make_shared<channel_connection>(tcp::socket{rt.get_executor()})}
    {
        if (options_.tls) tls_.emplace(calling_context(*options_.tls));
    }
    ~caller() { connection_->close(); }

    static task<> call(std::shared_ptr<caller>, std::string endpoint);
    static task<wire::bytes> ask(std::shared_ptr<caller>);
    void close() noexcept { connection_->close(); }

private:
    static task<> reach(std::shared_ptr<caller>, place);
    static task<> trust(std::shared_ptr<caller>, place);
    static task<wire::bytes> question(std::shared_ptr<caller>);
    /// What ended by the deadline says so, whatever it looked like.
    [[noreturn]] void rethrow() const
    {
        if (connection_->late()) throw system_error(errc::deadline_missed, "side channel");
        throw;
    }

    const fetch_options options_;
    std::optional<asio::ssl::context> tls_;
    const std::shared_ptr<channel_connection> connection_;
    std::optional<channel::seals> seals_;
};

task<> caller::reach(std::shared_ptr<caller> c, place p)
{
    const duration within = c->options_.connect_within;
    const std::vector<tcp::endpoint> where = co_await look_up(c->connection_->socket.get_executor(), p, within);
    c->connection_->allow(within);
    co_await asio::async_connect(c->connection_->socket, where, asio::use_awaitable);
    if (!c->tls_) co_return;
    const tls_options& t = *c->options_.tls;
    // Without verification there is no name to hold it to.
    const std::string host = !t.verify ? std::string{} : t.host.empty() ? p.host : t.host;
    co_await c->connection_->secure(*c->tls_, asio::ssl::stream_base::client, host);
}

task<> caller::trust(std::shared_ptr<caller> c, place p)
{
    co_await reach(c, std::move(p));
    channel_connection& line = *c->connection_;
    channel::oath o;
    o.session = line.session();
    fill_randomly(o.caller);
    co_await line.send(channel::kind::hello, o.caller);
    const wire::bytes challenge = co_await line.receive(channel::kind::challenge);
    o.called = array_from<wire::nonce>(challenge);
    const wire::digest ours = channel::prove_caller(c->options_.secret, o);
    co_await line.send(channel::kind::caller_proof, ours);
    wire::bytes theirs;
    try {
        theirs = co_await line.receive(channel::kind::called_proof);
    } catch (const system_error&) {
        // Who hangs up on a proof does not believe it.
        if (!line.late() && line.socket.is_open()) throw system_error(errc::not_trusted, "side channel");
        throw;
    }
    if (!same(array_from<wire::digest>(theirs), channel::prove_called(c->options_.secret, o)))
        throw system_error(errc::not_trusted, "side channel");
    c->seals_.emplace(c->options_.secret, o);
    line.rest();
}

task<> caller::call(std::shared_ptr<caller> c, std::string endpoint)
{
    place p = parse_endpoint(endpoint);
    if (c->options_.secret.empty()) throw system_error(errc::not_trusted, "a side channel needs a secret");
    try {
        co_await trust(c, std::move(p));
    } catch (const system_error&) {
        c->rethrow();
    }
}

task<wire::bytes> caller::question(std::shared_ptr<caller> c)
{
    channel_connection& line = *c->connection_;
    line.allow(c->options_.answer_within);
    const wire::digest seal = c->seals_->question();
    co_await line.send(channel::kind::question, seal);
    wire::bytes answer = co_await line.receive(channel::kind::answer);
    const std::size_t length = answer.size() - sizeof(wire::digest);
    const auto theirs = array_from<wire::digest>(wire::view{answer}.subspan(length));
    answer.resize(length);
    if (!same(theirs, c->seals_->answer(answer))) throw system_error(errc::not_trusted, "side channel");
    co_return answer;
}

task<wire::bytes> caller::ask(std::shared_ptr<caller> c)
{
    try {
        wire::bytes answer = co_await question(c);
        c->connection_->rest();
        co_return answer;
    } catch (const system_error&) {
        c->connection_->close();
        c->rethrow();
    }
}

} // namespace detail

metadata_source::metadata_source(std::shared_ptr<detail::caller> c) noexcept : caller_{std::move(c)} {}
metadata_source::metadata_source(metadata_source&&) noexcept = default;
metadata_source& metadata_source::operator=(metadata_source&& o) noexcept
{
    std::swap(caller_, o.caller_);
    return *this;
}
metadata_source::~metadata_source()
{
    if (caller_) caller_->close();
}

task<metadata_source> metadata_source::open(runtime& rt, std::string endpoint, fetch_options o)
{
    const auto c = std::make_shared<detail::caller>(rt, std::move(o));
    co_await detail::caller::call(c, std::move(endpoint));
    co_return metadata_source{c};
}

task<std::vector<std::byte>> metadata_source::fetch() { return detail::caller::ask(caller_); }

task<peer> connect(agent& a, std::string endpoint, fetch_options o)
{
    std::vector<std::byte> metadata;
    {
        metadata_source source = co_await metadata_source::open(a.runtime(), std::move(endpoint), std::move(o));
        metadata = co_await source.fetch();
    }
    peer p = co_await a.connect(std::move(metadata));
    co_return p;
}

} // namespace wye
