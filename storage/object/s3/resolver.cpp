// SPDX-License-Identifier: Apache-2.0
#include "resolver.hpp"

#include <cstring>

#include <boost/asio/error.hpp>
#include <netdb.h>

#include <wye/s3.hpp>

namespace wye::storage::s3 {

namespace {

constexpr auto remembered = std::chrono::seconds{5}; // about what big stores give their names

std::vector<address> look_up(const std::string& host, const std::string& port, int flags)
{
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | flags;
    addrinfo* first = nullptr;
    std::vector<address> all;
    if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &first) != 0) return all;
    for (const addrinfo* a = first; a; a = a->ai_next) {
        address one;
        if (a->ai_addrlen > sizeof one.storage) continue;
        std::memcpy(&one.storage, a->ai_addr, a->ai_addrlen);
        one.size = a->ai_addrlen;
        all.push_back(one);
    }
    ::freeaddrinfo(first);
    return all;
}

} // namespace

struct resolver::lookup::question final : blocking_pool::job {
    explicit question(lookup& l) : by{&l}, host{l.host_}, port{l.port_} {}
    void work() noexcept override { addresses = look_up(host, port, AI_ADDRCONFIG); }
    void finished() noexcept override
    {
        const std::unique_ptr<question> self{this};
        if (!by) return;
        by->asked_ = nullptr;
        if (addresses.empty()) by->found_.error = s3_errc::name_unknown;
        else by->resolver_.known_[host + ' ' + port] = {addresses, reactor::now() + remembered};
        by->found_.addresses = std::move(addresses);
        by->resolver_.reactor_.resume_soon(by->waiting_);
    }

    lookup* by; // null once it was stopped
    std::string host, port;
    std::vector<address> addresses;
};

bool resolver::lookup::await_ready()
{
    if (stop_.pulled()) return true;
    const auto known = resolver_.known_.find(host_ + ' ' + port_);
    if (known != resolver_.known_.end() && reactor::now() < known->second.until) {
        found_.addresses = known->second.addresses;
        return true;
    }
    found_.addresses = look_up(host_, port_, AI_NUMERICHOST); // asks nobody
    return !found_.addresses.empty();
}

void resolver::lookup::await_suspend(std::coroutine_handle<> h)
{
    waiting_ = h;
    asked_ = new question{*this};
    stop_.listen(this);
    resolver_.helpers_.submit(*asked_, true);
}

resolver::found resolver::lookup::await_resume() noexcept
{
    stop_.listen(nullptr);
    if (stop_.pulled()) found_.error = boost::asio::error::operation_aborted;
    return std::move(found_);
}

void resolver::lookup::stop() noexcept
{
    if (!asked_) return;
    std::exchange(asked_, nullptr)->by = nullptr;
    resolver_.reactor_.resume_soon(waiting_);
}

} // namespace wye::storage::s3
