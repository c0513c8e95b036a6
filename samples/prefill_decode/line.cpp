// SPDX-License-Identifier: Apache-2.0
#include "line.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <boost/asio/deferred.hpp>

#include <sys/socket.h>

namespace pd {

namespace {

template <class T>
void put(std::vector<std::byte>& out, const T* from, std::size_t count)
{
    const auto at = out.size();
    out.resize(at + count * sizeof(T));
    if (count) std::memcpy(out.data() + at, from, count * sizeof(T));
}

/// Takes what `put` wrote. Both ends are this program, or say so: a wrong length is a bug.
struct reader {
    std::span<const std::byte> from;
    std::size_t at = 0;

    template <class T>
    void take(T* to, std::size_t count)
    {
        if (count * sizeof(T) > from.size() - at) throw std::logic_error{"a message that makes no sense"};
        if (count) std::memcpy(to, from.data() + at, count * sizeof(T));
        at += count * sizeof(T);
    }
    template <class Container>
    void take_all(Container& to)
    {
        std::uint32_t count = 0;
        take(&count, 1);
        if (count > from.size()) throw std::logic_error{"a message that makes no sense"};
        to.resize(count);
        take(to.data(), count);
    }
};

template <class Container>
void put_all(std::vector<std::byte>& out, const Container& from)
{
    const auto count = static_cast<std::uint32_t>(from.size());
    put(out, &count, 1);
    put(out, from.data(), count);
}

} // namespace

std::vector<std::byte> message::encode() const
{
    std::vector<std::byte> out;
    put(out, &f, 1);
    put_all(out, mine);
    put_all(out, theirs);
    put_all(out, text);
    return out;
}

message message::decode(std::span<const std::byte> in)
{
    message m;
    reader r{in};
    r.take(&m.f, 1);
    r.take_all(m.mine);
    r.take_all(m.theirs);
    r.take_all(m.text);
    return m;
}

message word(verb what)
{
    message m;
    m.f.what = what;
    return m;
}

void line::say(const message& m)
{
    waiting_.push_back(m.encode());
    if (waiting_.size() == 1) flush();
}

void line::flush()
{
    while (!waiting_.empty()) {
        const auto& first = waiting_.front();
        const auto sent = ::send(socket_.native_handle(), first.data(), first.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            socket_.async_wait(boost::asio::posix::descriptor_base::wait_write, [this](const auto& error) {
                if (!error) flush();
            });
            return;
        }
        waiting_.pop_front(); // sent, or to nobody: `next` tells
    }
}

void line::hang_up() noexcept { ::shutdown(socket_.native_handle(), SHUT_RDWR); }

wye::task<std::optional<message>> line::next()
{
    for (;;) {
        const auto got = ::recv(socket_.native_handle(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (got > 0) co_return message::decode({buffer_.data(), static_cast<std::size_t>(got)});
        const bool later = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
        if (!later) co_return std::nullopt;
        co_await socket_.async_wait(boost::asio::posix::descriptor_base::wait_read, boost::asio::deferred);
    }
}

} // namespace pd
