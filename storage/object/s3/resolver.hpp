// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <coroutine>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "blocking_pool.hpp"

#include "reactor.hpp"
#include "stream.hpp"

namespace wye::storage::s3 {

/// Addresses of hosts, asked for on a helper thread and remembered for some seconds.
class resolver {
public:
    struct found {
        error_code error;
        std::vector<address> addresses;
    };

    resolver(reactor& r, blocking_pool& helpers) noexcept : reactor_{r}, helpers_{helpers} {}

    /// `co_await lookup{...}`. Ends early when it is stopped; the helper then works for nobody.
    class lookup final : stop_signal::listener {
    public:
        lookup(resolver& r, std::string host, std::string port, stop_signal& s)
            : resolver_{r}, host_{std::move(host)}, port_{std::move(port)}, stop_{s}
        {
        }
        bool await_ready();
        void await_suspend(std::coroutine_handle<>);
        found await_resume() noexcept;

    private:
        void stop() noexcept override;

        struct question;
        resolver& resolver_;
        std::string host_, port_;
        stop_signal& stop_;
        question* asked_ = nullptr;
        std::coroutine_handle<> waiting_;
        found found_;
    };

    /// What is remembered of it did not answer.
    void forget(const std::string& host, const std::string& port) { known_.erase(host + ' ' + port); }

private:
    struct entry {
        std::vector<address> addresses;
        reactor::clock::time_point until;
    };

    reactor& reactor_;
    blocking_pool& helpers_;
    std::map<std::string, entry> known_;
};

} // namespace wye::storage::s3
