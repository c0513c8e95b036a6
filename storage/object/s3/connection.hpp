// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <coroutine>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "flow.hpp"
#include "reactor.hpp"
#include "resolver.hpp"
#include "stream.hpp"

namespace wye::storage::s3 {

class connection_pool;

/// A connection to a server, and who uses it now.
class connection final : public pollable {
public:
    struct user {
        virtual void go_on(turn) noexcept = 0;

    protected:
        ~user() = default;
    };

    explicit connection(connection_pool& p) noexcept : pool_{p} {}
    void run(turn) noexcept override;

    stream socket;
    user* by = nullptr;
    bool idle = false;
    bool used_before = false; ///< a request has gone over it, so that the server may be closing it just now
    reactor::clock::time_point idle_since{};

private:
    connection_pool& pool_;
};

/// A server, and how it is reached.
struct origin {
    std::string host, port;
    bool tls = false;
    std::string proxy_host, proxy_port; ///< empty: none
    std::string proxy_login;            ///< "user:password" for it, if it wants one
    std::string name() const;           ///< as in a Host header
    auto operator<=>(const origin&) const = default;
};

struct pool_limits {
    std::size_t connections = 32;
    duration connect_within, idle_after;
};

/// Connections to one server, kept alive between requests, at most so many. Who finds none waits, urgent ones first.
class connection_pool {
public:
    struct lease {
        error_code error;
        std::string reason;
        std::shared_ptr<connection> on;
    };

    connection_pool(reactor&, resolver&, origin, std::shared_ptr<tls_settings>, const pool_limits&);
    ~connection_pool();

    flow<lease> acquire(stop_signal&, bool urgent);
    /// The other side has closed a connection that rests, or talks to itself. It may be gone afterwards.
    void dropped(connection&) noexcept;
    /// Closes what rests. Nothing is under way, and nothing will be.
    void close() noexcept;
    void release(std::shared_ptr<connection>, bool reusable) noexcept;

    const origin& to() const noexcept { return to_; }
    reactor& loop() const noexcept { return reactor_; }
    std::size_t open() const noexcept { return open_; }
    std::size_t idle() const noexcept { return idle_.size(); }

private:
    struct slot_wait;
    friend struct slot_wait;

    flow<lease> dial(stop_signal&);
    flow<lease> connect(address, stop_signal&, reactor::clock::time_point);
    flow<lease> tunnel(std::shared_ptr<connection>, stop_signal&);
    flow<lease> secure(std::shared_ptr<connection>, stop_signal&, reactor::clock::time_point);
    void watch_idle();
    void close_idle();

    reactor& reactor_;
    resolver& resolver_;
    const origin to_;
    const std::shared_ptr<tls_settings> tls_;
    const pool_limits limits_;
    std::size_t open_ = 0, turn_ = 0;
    std::vector<std::shared_ptr<connection>> idle_; // the one last used is last
    std::deque<slot_wait*> waiting_;
    bool watching_ = false;
    reactor::timer_id watch_;
};

} // namespace wye::storage::s3
