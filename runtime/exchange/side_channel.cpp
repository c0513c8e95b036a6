// SPDX-License-Identifier: Apache-2.0
#include <wye/side_channel.hpp>

#include <algorithm>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/agent.hpp>

#include "channel_connection.hpp"
#include "peers/proof.hpp"
#include "small_array.hpp"

namespace wye {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace detail {

/// What listens, and who came. Its coroutines hold it too; once it is shut they touch the agent no more.
class door : public std::enable_shared_from_this<door> {
public:
    door(agent& a, const side_channel_options& o);
    void open();
    void shut() noexcept;

    tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }
    side_channel_counts counts;
    std::size_t connections() const noexcept { return connections_.size(); }

private:
    static task<> accept(std::shared_ptr<door>);
    static task<> serve(std::shared_ptr<door>, std::shared_ptr<channel_connection>);
    static task<> talk(std::shared_ptr<door>, std::shared_ptr<channel_connection>);
    static task<channel::oath> trust(std::shared_ptr<door>, std::shared_ptr<channel_connection>);
    void let_in(tcp::socket);

    agent* agent_; ///< null once it is shut
    const side_channel_options options_;
    std::optional<asio::ssl::context> tls_;
    tcp::acceptor acceptor_;
    asio::steady_timer patience_;
    std::vector<std::shared_ptr<channel_connection>> connections_;
};

namespace {

constexpr auto after_failed_accept = std::chrono::milliseconds{100};

tcp::endpoint endpoint_of(const side_channel_options& o)
{
    error_code malformed;
    const auto address = asio::ip::make_address(o.address, malformed);
    if (malformed) throw system_error(errc::bad_name, "not an IP address: " + o.address);
    return {address, o.port};
}

} // namespace

door::door(agent& a, const side_channel_options& o)
    : agent_{&a}, options_{o}, acceptor_{a.runtime().get_executor()}, patience_{a.runtime().get_executor()}
{
    if (o.secret.empty()) throw system_error(errc::not_trusted, "a side channel needs a secret");
    if (o.tls) tls_.emplace(serving_context(*o.tls));
    const tcp::endpoint at = endpoint_of(o);
    acceptor_.open(at.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address{true});
    acceptor_.bind(at);
    acceptor_.listen();
}

void door::open() { asio::co_spawn(acceptor_.get_executor(), accept(shared_from_this()), asio::detached); }

void door::shut() noexcept
{
    agent_ = nullptr;
    error_code ignored;
    acceptor_.close(ignored);
    patience_.cancel();
    for (const auto& c : connections_) c->close();
}

task<> door::accept(std::shared_ptr<door> d)
{
    while (d->agent_) {
        error_code failed;
        tcp::socket s = co_await d->acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, failed));
        if (!d->agent_) co_return;
        if (!failed) {
            d->let_in(std::move(s));
            continue;
        }
        // As when there are no descriptors left: some may be later.
        d->patience_.expires_after(after_failed_accept);
        co_await d->patience_.async_wait(asio::redirect_error(asio::use_awaitable, failed));
    }
}

void door::let_in(tcp::socket s)
{
    ++counts.accepted;
    if (connections_.size() >= options_.most_connections) {
        ++counts.turned_away;
        return; // which closes it
    }
    const auto c = std::make_shared<channel_connection>(std::move(s));
    connections_.push_back(c);
    asio::co_spawn(acceptor_.get_executor(), serve(shared_from_this(), c), asio::detached);
}

task<> door::serve(std::shared_ptr<door> d, std::shared_ptr<channel_connection> c)
{
    try {
        co_await talk(d, c);
    } catch (const std::exception&) {
        // Whatever it was, this connection is over and no other is touched.
    }
    if (c->late()) ++d->counts.late;
    c->close();
    std::erase(d->connections_, c);
}

/// Who is there proves the secret first, so that strangers get nothing that is made of it.
task<channel::oath> door::trust(std::shared_ptr<door> d, std::shared_ptr<channel_connection> c)
{
    if (d->tls_) co_await c->secure(*d->tls_, asio::ssl::stream_base::server);
    channel::oath o;
    o.session = c->session();
    const wire::bytes hello = co_await c->receive(channel::kind::hello);
    o.caller = array_from<wire::nonce>(hello);
    fill_randomly(o.called);
    co_await c->send(channel::kind::challenge, o.called);
    const wire::bytes proof = co_await c->receive(channel::kind::caller_proof);
    if (!same(array_from<wire::digest>(proof), channel::prove_caller(d->options_.secret, o)))
        throw system_error(errc::not_trusted);
    const wire::digest ours = channel::prove_called(d->options_.secret, o);
    co_await c->send(channel::kind::called_proof, ours);
    co_return o;
}

task<> door::talk(std::shared_ptr<door> d, std::shared_ptr<channel_connection> c)
{
    c->allow(d->options_.handshake_within);
    channel::oath o;
    try {
        o = co_await trust(d, c);
    } catch (const std::exception&) {
        if (!c->late() && d->agent_) ++d->counts.refused;
        throw;
    }
    channel::seals seals{d->options_.secret, o};
    while (d->agent_) {
        c->allow(d->options_.idle_within);
        const wire::bytes question = co_await c->receive(channel::kind::question);
        if (!d->agent_) co_return;
        if (!same(array_from<wire::digest>(question), seals.question())) {
            ++d->counts.refused;
            co_return;
        }
        wire::bytes answer = d->agent_->metadata();
        const wire::digest seal = seals.answer(answer);
        answer.insert(answer.end(), seal.begin(), seal.end());
        c->allow(d->options_.idle_within);
        co_await c->send(channel::kind::answer, answer);
        ++d->counts.served;
    }
}

} // namespace detail

side_channel::side_channel(agent& a, const side_channel_options& o) : door_{std::make_shared<detail::door>(a, o)}
{
    door_->open();
}

side_channel::~side_channel() { door_->shut(); }

std::string side_channel::endpoint() const
{
    const tcp::endpoint e = door_->endpoint();
    const std::string address = e.address().to_string();
    return (e.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(e.port());
}

const side_channel_counts& side_channel::counts() const noexcept { return door_->counts; }
std::size_t side_channel::connections() const noexcept { return door_->connections(); }

} // namespace wye
