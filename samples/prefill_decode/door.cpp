// SPDX-License-Identifier: Apache-2.0
#include "door.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <random>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "meeting.hpp"
#include "rethrow.hpp"

namespace pd {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

const std::string entry_name = "front";
constexpr auto job_within = 3s; ///< of who looks for it

std::string host_name()
{
    char name[256] = "";
    ::gethostname(name, sizeof(name) - 1);
    return name;
}

/// A socket's name that nobody has yet, and that goes with the socket (unix(7), "abstract").
std::string draw_address()
{
    std::random_device random;
    std::ostringstream address;
    address << host_name() << " wye-prefill_decode-" << std::hex << random() << random();
    return address.str();
}

bool on_this_host(const std::string& address) { return address.starts_with(host_name() + " "); }

std::pair<::sockaddr_un, ::socklen_t> socket_address(const std::string& address)
{
    ::sockaddr_un a{};
    a.sun_family = AF_UNIX;
    const std::size_t length = address.substr(address.find(' ') + 1).copy(a.sun_path + 1, sizeof(a.sun_path) - 1);
    return {a, static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + 1 + length)};
}

[[noreturn]] void fail(const char* what) { throw std::runtime_error{std::string{what} + ": " + std::strerror(errno)}; }

int new_socket(int flags)
{
    const int s = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
    if (s < 0) fail("no socket");
    return s;
}

int listening_socket(const std::string& address)
{
    const int s = new_socket(SOCK_NONBLOCK);
    const auto [at, length] = socket_address(address);
    if (::bind(s, reinterpret_cast<const ::sockaddr*>(&at), length) == 0 && ::listen(s, SOMAXCONN) == 0) return s;
    ::close(s);
    fail("nobody could join");
}

/// Whether the process at the other side is this user's.
bool is_ours(int socket)
{
    ::ucred who{};
    ::socklen_t size = sizeof(who);
    return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == ::geteuid();
}

/// -1 when nobody is there.
int connected_socket(const std::string& address)
{
    const int s = new_socket(0);
    const auto [at, length] = socket_address(address);
    if (::connect(s, reinterpret_cast<const ::sockaddr*>(&at), length) == 0) return s;
    ::close(s);
    return -1;
}

std::string text_of(const wye::directory::entry& e)
{
    return {reinterpret_cast<const char*>(e.metadata.data()), e.metadata.size()};
}

/// Who died without a word is there until the entry expires, but nobody answers.
bool answers(const std::string& address)
{
    const int s = connected_socket(address);
    if (s >= 0) ::close(s);
    return s >= 0;
}

wye::task<> look(wye::directory& in, std::string& address)
{
    const auto until = std::chrono::steady_clock::now() + job_within;
    std::uint64_t seen = 0;
    while (address.empty()) {
        const auto left = until - std::chrono::steady_clock::now();
        if (left <= left.zero()) co_return;
        const std::optional<wye::directory::entry> there = co_await in.changed(entry_name, seen, left);
        seen = there ? there->version : 0;
        if (!there) continue;
        const std::string found = text_of(*there);
        if (!on_this_host(found)) throw std::runtime_error{"the job is on " + found.substr(0, found.find(' ')) + ": join it there"};
        if (answers(found)) address = found;
    }
}

} // namespace

door::door(wye::runtime& rt, const settings& s)
    : settings_{s}, runtime_{rt}, directory_{open_directory(runtime_, s)}, address_{draw_address()},
      socket_{runtime_.get_executor(), listening_socket(address_)},
      stays_no_more_{std::make_shared<asio::cancellation_signal>()}
{
}

wye::task<> door::open()
{
    const bool free = co_await is_free();
    if (!free) throw std::runtime_error{"another job is in " + settings_.directory + ": choose another place, or --join it"};
    co_await put();
    const auto ended = [stop = stays_no_more_](std::exception_ptr e) { rethrow(e); }; // the signal outlives what it may stop
    asio::co_spawn(runtime_, stay(), asio::bind_cancellation_slot(stays_no_more_->slot(), ended));
}

/// Of other hosts' jobs nobody here can know whether they live; their entries do, for a while.
wye::task<bool> door::is_free()
{
    const std::optional<wye::directory::entry> there = co_await directory_->get(entry_name);
    if (!there) co_return true;
    const std::string other = text_of(*there);
    co_return on_this_host(other) && !answers(other);
}

wye::task<> door::put()
{
    const auto* const begin = reinterpret_cast<const std::byte*>(address_.data());
    co_await directory_->put(entry_name, std::vector<std::byte>(begin, begin + address_.size()), entry_lives);
}

/// The directory may be away for a while, and may have lost what was in it.
wye::task<> door::stay()
{
    while (!closed_) {
        try {
            co_await runtime_.sleep(entry_lives / 3);
            co_await renew();
        } catch (const wye::system_error&) {
            // Tried again, unless this is the end.
        }
    }
}

wye::task<> door::renew()
{
    const std::optional<wye::directory::entry> there = co_await directory_->get(entry_name);
    if (there && text_of(*there) != address_)
        throw std::runtime_error{"another job has come to " + settings_.directory + ": each needs a place of its own"};
    bool kept = false;
    if (there) kept = co_await directory_->keep(entry_name, entry_lives);
    if (!kept) co_await put();
}

wye::task<int> door::knock()
{
    for (;;) {
        co_await socket_.async_wait(asio::posix::descriptor_base::wait_read, asio::deferred);
        const int s = ::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
        if (s >= 0 && is_ours(s)) co_return s;
        if (s >= 0) ::close(s);
        else co_await runtime_.sleep(100ms); // nobody after all, or there are too many open files
    }
}

wye::task<> door::close()
{
    closed_ = true;
    stays_no_more_->emit(asio::cancellation_type::terminal);
    co_await take_out(entry_name);
}

wye::task<> door::take_out(std::string name)
{
    try {
        co_await directory_->remove(std::move(name));
    } catch (const wye::system_error&) {
        // The directory is away: the entry goes by itself.
    }
}

std::string find_door(const settings& s)
{
    wye::runtime rt;
    const std::unique_ptr<wye::directory> in = open_directory(rt, s);
    std::string address;
    asio::co_spawn(rt, look(*in, address), rethrow);
    rt.run();
    if (address.empty()) throw std::runtime_error{"no job is in " + s.directory};
    return address;
}

int knock_at(const std::string& address)
{
    const int s = connected_socket(address);
    if (s < 0) throw std::runtime_error{"the job has ended"};
    if (is_ours(s)) return s;
    ::close(s);
    throw std::runtime_error{"the job is another user's"};
}

} // namespace pd
