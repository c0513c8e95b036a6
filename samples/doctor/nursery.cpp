// SPDX-License-Identifier: Apache-2.0
#include "nursery.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "line.hpp"

namespace doctor {

using namespace std::chrono_literals;

namespace {

constexpr int born_within_ms = 60'000; // registering with many NICs may take long
constexpr wye::duration answer_within = 70s;

void send_all(int to, const void* what, std::size_t n)
{
    for (const char* at = static_cast<const char*>(what); n != 0;) {
        const ::ssize_t sent = ::send(to, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) ::_exit(1); // whoever asked is gone
        at += sent;
        n -= static_cast<std::size_t>(sent);
    }
}

void answer(int to, const std::vector<std::byte>& what)
{
    const auto length = static_cast<std::uint32_t>(what.size());
    send_all(to, &length, sizeof length);
    send_all(to, what.data(), what.size());
}

wye::task<> lend(party& us, int tell)
{
    wye::region pool = co_await us.agent.register_memory(wye::dram(us.memory.data(), us.memory.size()));
    co_await us.agent.publish(std::string{understudy_name}, pool);
    answer(tell, us.agent.metadata());
    ::close(tell);
    co_await us.agent.notified("never");
}

/// Until it is killed.
[[noreturn]] void be_understudy(const settings& s, int tell, ::pid_t parent)
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    try {
        wye::runtime rt;
        party us{rt, s, s.rails, fresh_name("understudy"), understudy_bytes, wye::duration{}};
        run(rt, lend(us, tell));
    } catch (const std::exception& e) {
        std::cerr << "doctor: the understudy: " << e.what() << '\n';
    }
    ::_exit(1);
}

/// The process that has them.
class keeper {
public:
    keeper(const settings& s, int asked) : settings_{s}, asked_{asked} {}

    [[noreturn]] void work()
    {
        for (char what = 0; ::read(asked_, &what, 1) == 1;) {
            if (what == 'h')
                answer(asked_, hire());
            else
                answer(asked_, what == 's' ? stop() : kill());
        }
        kill();
        ::_exit(0);
    }

private:
    /// What it says of itself; nothing when it did not come to that.
    std::vector<std::byte> hire()
    {
        kill();
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
        const ::pid_t parent = ::getpid();
        child_ = ::fork();
        if (child_ == 0) {
            ::close(asked_);
            ::close(ends[0]);
            be_understudy(settings_, ends[1], parent);
        }
        ::close(ends[1]);
        std::vector<std::byte> said = child_ > 0 ? listen(ends[0]) : std::vector<std::byte>{};
        ::close(ends[0]);
        return said;
    }
    static std::vector<std::byte> listen(int from)
    {
        std::uint32_t length = 0;
        if (!read_all(from, &length, sizeof length) || length > letter_bytes) return {};
        std::vector<std::byte> said(length);
        if (!read_all(from, said.data(), said.size())) return {};
        return said;
    }
    static bool read_all(int from, void* into, std::size_t n)
    {
        for (char* at = static_cast<char*>(into); n != 0;) {
            ::pollfd ready{from, POLLIN, 0};
            if (::poll(&ready, 1, born_within_ms) <= 0) return false;
            const ::ssize_t got = ::read(from, at, n);
            if (got <= 0) return false;
            at += got;
            n -= static_cast<std::size_t>(got);
        }
        return true;
    }
    std::vector<std::byte> stop()
    {
        if (child_ > 0 && ::kill(child_, SIGSTOP) == 0) ::waitpid(child_, nullptr, WUNTRACED);
        return {};
    }
    std::vector<std::byte> kill()
    {
        if (child_ > 0 && ::kill(child_, SIGKILL) == 0) ::waitpid(child_, nullptr, 0);
        child_ = 0;
        return {};
    }

    const settings& settings_;
    int asked_;
    ::pid_t child_ = 0;
};

} // namespace

nursery::nursery(const settings& s)
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        throw trouble{"understudy", std::strerror(errno), {}};
    const ::pid_t parent = ::getpid();
    process_ = ::fork();
    if (process_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(ends[0]);
        if (::getppid() != parent) ::_exit(1);
        keeper{s, ends[1]}.work();
    }
    ::close(ends[1]);
    end_ = ends[0];
    if (process_ < 0) {
        ::close(end_);
        throw trouble{"understudy", "no second process", {}};
    }
    ::fcntl(end_, F_SETFL, O_NONBLOCK);
}

nursery::~nursery()
{
    ::close(end_); // it ends by that
    ::waitpid(process_, nullptr, 0);
}

/// Looks now and then: it is no descriptor that the loop sleeps on, and the loop must go on meanwhile.
wye::task<std::vector<std::byte>> nursery::ask(wye::runtime& rt, char what)
{
    if (::send(end_, &what, 1, MSG_NOSIGNAL) != 1)
        throw trouble{"understudy", "the process that makes them is gone", {}};
    std::vector<std::byte> said(sizeof(std::uint32_t) + letter_bytes);
    const auto ends = std::chrono::steady_clock::now() + answer_within;
    for (std::size_t have = 0; std::chrono::steady_clock::now() < ends;) {
        const ::ssize_t got = ::read(end_, said.data() + have, said.size() - have);
        if (got == 0) break;
        if (got > 0) have += static_cast<std::size_t>(got);
        std::uint32_t length = 0;
        if (have >= sizeof length) {
            std::memcpy(&length, said.data(), sizeof length);
            if (have == sizeof length + length)
                co_return std::vector<std::byte>(said.begin() + sizeof length,
                                                 said.begin() + static_cast<std::ptrdiff_t>(have));
        }
        co_await rt.sleep(1ms);
    }
    throw trouble{"understudy", "the process that makes them does not answer", {}};
}

wye::task<std::vector<std::byte>> nursery::hire(wye::runtime& rt)
{
    std::vector<std::byte> metadata = co_await ask(rt, 'h');
    if (metadata.empty()) throw trouble{"understudy", "it did not come up", {}};
    co_return metadata;
}

wye::task<> nursery::stop(wye::runtime& rt) { co_await ask(rt, 's'); }
wye::task<> nursery::kill(wye::runtime& rt) { co_await ask(rt, 'k'); }

} // namespace doctor
