// SPDX-License-Identifier: Apache-2.0
#include "line.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <random>

#include <boost/asio/co_spawn.hpp>

#include <unistd.h>

namespace doctor {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr wye::duration gap = 5s;             // while it fills and compares memory it does not poll
constexpr wye::duration welcome_within = 20s; // another one may have it first
constexpr wye::duration answer_within = 60s;  // it may have a gigabyte to look through

wye::agent_options options_of(const settings& s, wye::duration longest_gap)
{
    wye::agent_options o;
    o.peers.secret = s.secret;
    o.peers.longest_gap = longest_gap;
    return o;
}

std::unique_ptr<wye::fabric> fabric_over(const settings& s, const std::vector<std::string>& rails)
{
    wye::libfabric_options o = s.fabric();
    o.rails = rails;
    return wye::make_libfabric(o);
}

} // namespace

void run(wye::runtime& rt, wye::task<> t)
{
    std::exception_ptr error;
    asio::co_spawn(rt, std::move(t), [&](std::exception_ptr e) {
        error = e;
        rt.stop();
    });
    rt.run();
    if (error) std::rethrow_exception(error);
}

party::party(wye::runtime& rt, const settings& s, const std::vector<std::string>& rails, std::string name,
             std::size_t bytes, wye::duration longest_gap)
    : memory{bytes}, agent{rt, std::move(name), options_of(s, longest_gap)}, fabric{agent.add(fabric_over(s, rails))},
      facts{wye::facts_of(fabric)}
{
}

std::string fresh_name(const std::string& role)
{
    char text[64];
    std::random_device random;
    std::snprintf(text, sizeof text, "-%ld-%08x%08x", static_cast<long>(::getpid()), random(), random());
    return role + text;
}

line::line(wye::runtime& rt, const settings& s, const std::vector<std::string>& rails)
    : us{rt, s, rails, fresh_name("doctor"), 2 * s.area_bytes(), gap}
{
}

wye::task<> line::connect(std::vector<std::byte> metadata)
{
    mine = co_await us.agent.register_memory(wye::dram(us.memory.data(), us.memory.size()));
    there = co_await us.agent.connect(std::move(metadata));
    const wye::slice all = there.published(area_name);
    area = all.sub(0, std::min<std::uint64_t>(all.length, half()));
}

wye::task<welcome> talk::begin()
{
    const std::vector<std::string_view> nothing;
    const std::vector<std::byte> metadata = line_.us.agent.metadata(nothing);
    if (metadata.size() > letter_bytes)
        throw trouble{"handshake", "this agent's metadata does not fit in the letter", {}};
    std::copy(metadata.begin(), metadata.end(), line_.us.memory.data());
    const std::vector<std::byte> length = as_bytes<std::uint64_t>(metadata.size());
    wye::copy_options o;
    o.notify = begin_key;
    o.payload = length;
    const wye::slice letter = line_.there.published(letter_name);
    co_await wye::copy(line_.sent(0, metadata.size()), letter.sub(0, metadata.size()), o);

    const wye::wanted answer{.key = welcome_key, .peer = line_.there.name(), .deadline = welcome_within};
    wye::notification n;
    try {
        n = co_await line_.us.agent.notified(answer);
    } catch (const wye::system_error& e) {
        if (e.code() != wye::errc::deadline_missed) throw;
        throw trouble{"handshake",
                      "it has taken the letter and does not answer",
                      {"wait for the other one that it serves at present"}};
    }
    const auto w = from_bytes<welcome>(n.payload);
    if (!w || w->version != welcome{}.version)
        throw trouble{"handshake", "it is a doctor of another version", {"run the same on both sides"}};
    co_return *w;
}

wye::task<std::vector<std::byte>> talk::ask(order o)
{
    co_await line_.us.agent.notify(line_.there, std::string{order_key}, as_bytes(o));
    const wye::wanted answer{.key = answer_key, .peer = line_.there.name(), .deadline = answer_within};
    wye::notification n = co_await line_.us.agent.notified(answer);
    co_return std::move(n.payload);
}

wye::task<tally> talk::checked(std::uint64_t expected)
{
    order o;
    o.what = order::kind::tally;
    o.length = expected;
    const std::vector<std::byte> answer = co_await ask(o);
    const auto t = from_bytes<tally>(answer);
    if (!t) throw trouble{"handshake", "an answer of another kind", {}};
    co_return *t;
}

wye::task<> talk::end()
{
    order o;
    o.what = order::kind::end;
    co_await line_.us.agent.notify(line_.there, std::string{order_key}, as_bytes(o));
}

} // namespace doctor
