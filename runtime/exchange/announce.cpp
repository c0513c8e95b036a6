// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <exception>
#include <string_view>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/agent.hpp>
#include <wye/directory.hpp>

#include "time_left.hpp"

namespace wye {

namespace asio = boost::asio;

namespace {

std::string name_of(const agent& a, const announce_options& o) { return o.label.empty() ? a.name() : a.name() + '/' + o.label; }

std::vector<std::byte> metadata_of(const agent& a, const announce_options& o)
{
    if (o.names.empty()) return a.metadata();
    const std::vector<std::string_view> names(o.names.begin(), o.names.end());
    return a.metadata(names);
}

/// One who stays announced: what was told last, and how the next time goes.
struct standing {
    agent& of;
    directory& in;
    announce_options how;
    std::vector<std::byte> told{};

    task<> put()
    {
        std::vector<std::byte> now = metadata_of(of, how);
        co_await in.put(name_of(of, how), now, how.ttl);
        told = std::move(now);
    }
    task<> renew()
    {
        bool there = metadata_of(of, how) == told;
        if (there) there = co_await in.keep(name_of(of, how), how.ttl);
        if (!there) co_await put();
    }
};

/// Sooner than usual after a failure, so that there are some tries before the entry expires.
task<> stay(standing s)
{
    const duration usual = s.how.ttl / 3, soon = s.how.ttl / 12;
    for (duration pause = usual;;) {
        co_await s.of.runtime().sleep(pause, asio::use_awaitable);
        std::string failure;
        try {
            co_await s.renew();
            pause = usual;
        } catch (const system_error& e) {
            failure = e.what();
        }
        if (failure.empty()) continue;
        pause = soon;
        const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() == asio::cancellation_type::none && s.how.failed) s.how.failed(failure);
    }
}

} // namespace

task<> announce(agent& a, directory& d, announce_options o)
{
    standing s{a, d, std::move(o)};
    co_await s.put();
}

task<> announce(agent& a, directory& d, duration ttl)
{
    announce_options o;
    o.ttl = ttl;
    return announce(a, d, std::move(o));
}

task<> keep_announced(agent& a, directory& d, announce_options o)
{
    standing s{a, d, std::move(o)};
    co_await s.put();
    co_await stay(std::move(s));
}

task<> keep_announced(agent& a, directory& d, duration ttl)
{
    announce_options o;
    o.ttl = ttl;
    return keep_announced(a, d, std::move(o));
}

struct announcement::state {
    asio::cancellation_signal stop;
    directory* in = nullptr;
    std::string name;
};

announcement::announcement(std::shared_ptr<state> s) noexcept : state_{std::move(s)} {}
announcement::announcement(announcement&&) noexcept = default;
announcement& announcement::operator=(announcement&& o) noexcept
{
    std::swap(state_, o.state_);
    return *this;
}
announcement::~announcement()
{
    if (state_) state_->stop.emit(asio::cancellation_type::terminal);
}

task<announcement> announcement::make(agent& a, directory& d, announce_options o)
{
    const auto s = std::make_shared<state>();
    s->in = &d;
    s->name = name_of(a, o);
    const bool stays = o.ttl == duration{};
    standing it{a, d, std::move(o)};
    co_await it.put();
    if (!stays) // it holds the state as long as somebody may cancel it
        asio::co_spawn(a.runtime(), stay(std::move(it)), asio::bind_cancellation_slot(s->stop.slot(), [s](std::exception_ptr) {}));
    co_return announcement{s};
}

task<> announcement::withdraw()
{
    const auto s = std::exchange(state_, nullptr);
    if (!s) co_return;
    s->stop.emit(asio::cancellation_type::terminal);
    co_await s->in->remove(s->name);
}

task<peer> connect(agent& a, directory& d, std::string name, duration deadline)
{
    const detail::time_left left{deadline};
    std::uint64_t seen = 0; // of no use to us
    for (;;) {
        std::optional<directory::entry> e = co_await d.changed(name, seen, left.now());
        const bool news = e && e->version != seen;
        seen = e ? e->version : 0;
        error_code stale;
        if (news) {
            try {
                peer p = co_await a.connect(std::move(e->metadata));
                co_return p;
            } catch (const system_error& failed) {
                stale = failed.code();
                if (stale != errc::stale_metadata) throw;
            }
        }
        if (left.over()) throw system_error(errc::deadline_missed, name);
    }
}

} // namespace wye
