// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <algorithm>
#include <cerrno>

#include <boost/asio/error.hpp>

#include <wye/s3.hpp>

#include "encoding.hpp"
#include "exchange.hpp"

namespace wye::storage::s3 {

namespace {

const error_code aborted = boost::asio::error::operation_aborted;

/// Whether the other side has neither closed a connection that rests nor said anything on it.
bool silent(connection& c) noexcept
{
    char ignored;
    const ssize_t n = ::recv(c.socket.descriptor(), &ignored, 1, MSG_PEEK);
    c.readable = n >= 0 || errno != EAGAIN;
    return !c.readable;
}

/// `co_await ready{...}`: until a socket is what is wanted of it.
class ready final : connection::user, stop_signal::listener {
public:
    ready(reactor& r, connection& c, bool read, bool write, reactor::clock::time_point until, stop_signal& s) noexcept
        : reactor_{r}, on_{c}, read_{read}, write_{write}, until_{until}, stop_{s}
    {
    }
    bool await_ready() const noexcept { return stop_.pulled() || there(); }
    void await_suspend(std::coroutine_handle<> h)
    {
        waiting_ = h;
        on_.by = this;
        stop_.listen(this);
        timer_ = reactor_.after(until_ - reactor::now(), [this] {
            timing_ = false;
            late_ = true;
            end();
        });
        timing_ = true;
    }
    error_code await_resume() noexcept
    {
        stop_.listen(nullptr);
        if (stop_.pulled()) return aborted;
        return late_ ? object_error(ETIMEDOUT) : error_code{};
    }

private:
    bool there() const noexcept { return (read_ && on_.readable) || (write_ && on_.writable); }
    void go_on(turn) noexcept override
    {
        if (there()) end();
    }
    void stop() noexcept override { end(); }
    void end() noexcept
    {
        if (!on_.by) return; // it has ended
        on_.by = nullptr;
        if (timing_) reactor_.cancel(timer_);
        timing_ = false;
        reactor_.resume_soon(waiting_);
    }

    reactor& reactor_;
    connection& on_;
    const bool read_, write_;
    const reactor::clock::time_point until_;
    stop_signal& stop_;
    reactor::timer_id timer_;
    bool timing_ = false, late_ = false;
    std::coroutine_handle<> waiting_;
};

} // namespace

void connection::run(turn t) noexcept
{
    if (by) by->go_on(t);
    else if (idle && readable) pool_.dropped(*this);
}

std::string origin::name() const
{
    const bool usual = port == (tls ? "443" : "80");
    const std::string shown = host.find(':') == host.npos ? host : '[' + host + ']';
    return usual ? shown : shown + ':' + port;
}

/// In line for a connection, or for room to make one.
struct connection_pool::slot_wait final : stop_signal::listener {
    slot_wait(connection_pool& p, stop_signal& s, bool u) noexcept : pool{p}, stopped{s}, urgent{u} {}
    bool await_ready() const noexcept { return stopped.pulled(); }
    void await_suspend(std::coroutine_handle<> h)
    {
        waiting = h;
        stopped.listen(this);
        auto place = pool.waiting_.end();
        if (urgent) place = std::find_if(pool.waiting_.begin(), place, [](const slot_wait* w) { return !w->urgent; });
        pool.waiting_.insert(place, this);
    }
    void await_resume() noexcept { stopped.listen(nullptr); }
    void stop() noexcept override
    {
        if (std::erase(pool.waiting_, this) != 0) pool.reactor_.resume_soon(waiting);
    }

    connection_pool& pool;
    stop_signal& stopped;
    const bool urgent;
    std::coroutine_handle<> waiting;
    std::shared_ptr<connection> given;
    bool may_dial = false;
};

connection_pool::connection_pool(reactor& r, resolver& names, origin to, std::shared_ptr<tls_settings> tls,
                                 const pool_limits& l)
    : reactor_{r}, resolver_{names}, to_{std::move(to)}, tls_{std::move(tls)}, limits_{l}
{
}

connection_pool::~connection_pool() = default;

void connection_pool::close() noexcept
{
    if (std::exchange(watching_, false)) reactor_.cancel(watch_);
    open_ -= idle_.size();
    idle_.clear();
}

flow<connection_pool::lease> connection_pool::acquire(stop_signal& stop, bool urgent)
{
    lease got;
    while (!idle_.empty() && !got.on) {
        got.on = std::move(idle_.back());
        idle_.pop_back();
        got.on->idle = false;
        if (silent(*got.on)) co_return got;
        got.on.reset();
        --open_;
    }
    bool may_dial = false;
    if (open_ < limits_.connections) {
        ++open_;
        may_dial = true;
    } else {
        slot_wait in_line{*this, stop, urgent};
        co_await in_line;
        got.on = std::move(in_line.given);
        may_dial = in_line.may_dial;
    }
    if (stop.pulled()) {
        if (got.on) release(std::move(got.on), true);
        else if (may_dial) release(nullptr, false);
        got.error = aborted;
        co_return got;
    }
    if (got.on) co_return got;
    lease made = co_await dial(stop);
    if (made.error) release(nullptr, false);
    co_return made;
}

/// `gone` may be null: a connection that was never made.
void connection_pool::release(std::shared_ptr<connection> c, bool reusable) noexcept
{
    reusable = reusable && c && silent(*c);
    if (!reusable) {
        c.reset();
        --open_;
    }
    if (!waiting_.empty()) {
        slot_wait& next = *waiting_.front();
        waiting_.pop_front();
        next.given = std::move(c);
        next.may_dial = !next.given;
        if (next.may_dial) ++open_;
        reactor_.resume_soon(next.waiting);
        return;
    }
    if (!c) return;
    c->idle = true;
    c->idle_since = reactor::now();
    idle_.push_back(std::move(c));
    watch_idle();
}

void connection_pool::dropped(connection& c) noexcept
{
    if (silent(c)) return;
    const auto it = std::find_if(idle_.begin(), idle_.end(), [&](const auto& i) { return i.get() == &c; });
    if (it == idle_.end()) return;
    idle_.erase(it);
    --open_;
}

void connection_pool::watch_idle()
{
    if (watching_ || idle_.empty()) return;
    watching_ = true;
    watch_ = reactor_.after(limits_.idle_after, [this] {
        watching_ = false;
        close_idle();
    });
}

void connection_pool::close_idle()
{
    const auto long_ago = reactor::now() - limits_.idle_after;
    open_ -= std::erase_if(idle_, [&](const auto& c) { return c->idle_since <= long_ago; });
    watch_idle();
}

flow<connection_pool::lease> connection_pool::dial(stop_signal& stop)
{
    const auto until = reactor::now() + limits_.connect_within;
    const std::string& host = to_.proxy_host.empty() ? to_.host : to_.proxy_host;
    const std::string& port = to_.proxy_host.empty() ? to_.port : to_.proxy_port;
    resolver::lookup question{resolver_, host, port, stop};
    const resolver::found there = co_await question;
    lease got;
    got.error = there.error;
    // Not all connections to the first of several addresses; and the next when one does not answer.
    const std::size_t first = turn_++;
    for (std::size_t i = 0; i < there.addresses.size(); ++i) {
        const auto left = (until - reactor::now()) / static_cast<std::int64_t>(there.addresses.size() - i);
        const address& a = there.addresses[(first + i) % there.addresses.size()];
        got = co_await connect(a, stop, reactor::now() + left);
        if (!got.error || stop.pulled()) break;
    }
    if (got.error && got.error != aborted) resolver_.forget(host, port);
    if (!got.error && to_.tls && !to_.proxy_host.empty()) got = co_await tunnel(std::move(got.on), stop);
    if (!got.error && to_.tls) got = co_await secure(std::move(got.on), stop, until);
    co_return got;
}

flow<connection_pool::lease> connection_pool::connect(address to, stop_signal& stop, reactor::clock::time_point until)
{
    lease got;
    auto c = std::make_shared<connection>(*this);
    int failed = c->socket.connect(to);
    if (!failed) failed = reactor_.watch(c->socket.descriptor(), *c);
    if (failed) {
        got.error = object_error(failed);
        co_return got;
    }
    ready connected{reactor_, *c, false, true, until, stop};
    got.error = co_await connected;
    if (!got.error) failed = c->socket.connected();
    if (failed) got.error = object_error(failed);
    if (!got.error) got.on = std::move(c);
    co_return got;
}

/// Through a proxy to where TLS is spoken: it sees nothing but the name.
flow<connection_pool::lease> connection_pool::tunnel(std::shared_ptr<connection> c, stop_signal& stop)
{
    const std::string target = (to_.host.find(':') == to_.host.npos ? to_.host : '[' + to_.host + ']') + ':' + to_.port;
    message m;
    m.head = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n";
    if (!to_.proxy_login.empty()) {
        const auto* const login = reinterpret_cast<const unsigned char*>(to_.proxy_login.data());
        m.head += "Proxy-Authorization: Basic " + base64(std::span{login, to_.proxy_login.size()}) + "\r\n";
    }
    m.head += "\r\n";
    m.tunnel = true;
    m.stalled_after = m.answer_within = limits_.connect_within;
    exchange asked{reactor_, *c, m, stop};
    answer said = co_await asked;
    lease got;
    got.error = said.error;
    if (!got.error && said.status / 100 != 2) {
        got.error = s3_errc::proxy_refused;
        got.reason = "the proxy says " + std::to_string(said.status);
    }
    if (!got.error) got.on = std::move(c);
    co_return got;
}

flow<connection_pool::lease> connection_pool::secure(std::shared_ptr<connection> c, stop_signal& stop,
                                                     reactor::clock::time_point until)
{
    lease got;
    c->socket.secure(*tls_, to_.host);
    for (;;) {
        const auto how = c->socket.handshake(got.error);
        if (how == stream::outcome::some) break;
        if (how == stream::outcome::end) got.error = object_error(ECONNRESET);
        if (how != stream::outcome::again) {
            got.reason = c->socket.reason();
            co_return got;
        }
        const bool read = c->socket.wants_read, write = c->socket.wants_write;
        if (read) c->readable = false;
        if (write) c->writable = false;
        ready more{reactor_, *c, read, write, until, stop};
        got.error = co_await more;
        if (got.error) co_return got;
    }
    got.on = std::move(c);
    co_return got;
}

} // namespace wye::storage::s3
