// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>

#include "nearby/both.hpp"
#include "nearby/gpus.hpp"
#include "support/co_test.hpp"
#include "support/same.hpp"

/// What is told of two processes with GPUs, whatever those are.
namespace wye::testing {

/// This end. Its GPU has twice the room: to write from, and to read to.
struct gpu_here {
    explicit gpu_here(runtime& rt, std::size_t n, std::chrono::milliseconds drain = std::chrono::seconds{2}, bool shares = true)
        : bytes{n}, memory{lab::pattern(n, 3)}, back(n), block{2 * n}, a{rt, "here", on_this_machine(drain)}
    {
        add_gpu_ways(a, shares);
    }
    task<> open(std::vector<std::byte> metadata)
    {
        from = co_await a.register_memory(dram(memory));
        to = co_await a.register_memory(dram(back));
        pool = co_await a.register_memory(block.memory());
        if (metadata.empty()) co_return;
        other = co_await a.connect(std::move(metadata));
        kv = other.published("kv");
    }
    slice out(std::size_t at, std::size_t n) const { return pool.at(at, n); }
    slice in(std::size_t at, std::size_t n) const { return pool.at(bytes + at, n); }
    std::uint64_t by_the_short_way() const { return bytes_by(a, "same_host"); }

    std::size_t bytes;
    lab::bytes memory, back;
    gpu_block block;
    agent a;
    region from, to, pool;
    peer other;
    slice kv;
};

/// Written from here, at an odd place, to an odd place over there, and read back to a third. What lies beside it stays as it is.
inline task<> gpu_there_and_back(gpu_here& h, std::size_t n, std::size_t odd)
{
    constexpr std::size_t beside = 64;
    std::fill(h.back.begin(), h.back.end(), std::byte{0x55});
    co_await copy(h.to.at(0, n + 2 * beside), h.in(0, n + 2 * beside));
    co_await copy(h.from.at(0, n), h.out(odd, n));
    co_await copy(h.out(odd, n), h.kv.sub(3 * odd, n));
    co_await copy(h.kv.sub(3 * odd, n), h.in(beside, n));
    co_await copy(h.in(0, n + 2 * beside), h.to.at(0, n + 2 * beside));
    const std::span<const std::byte> back = h.back;
    BOOST_TEST(same(back.subspan(beside, n), std::span{h.memory}.first(n)), n << " bytes at " << odd);
    const bool untouched = all_are(std::byte{0x55}, back.first(beside)) && all_are(std::byte{0x55}, back.subspan(beside + n, beside));
    BOOST_TEST(untouched, "beside " << n << " bytes at " << odd);
}

/// Pages in another order over there, and back.
inline task<> gpu_pages(gpu_here& h, std::size_t count, std::size_t page)
{
    std::vector<transfer> out, in;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back({h.pool.block(i, page), h.kv.block(count - 1 - i, page)});
        in.push_back({h.kv.block(count - 1 - i, page), h.in(i * page, page)});
    }
    co_await copy(h.from, h.out(0, h.bytes));
    BOOST_TEST(co_await copy(out) == count * page);
    BOOST_TEST(co_await copy(in) == count * page);
    co_await copy(h.in(0, h.bytes), h.to);
    BOOST_TEST(same(std::span{h.memory}.first(count * page), std::span{h.back}.first(count * page)));
}

/// Copies for ever until one fails.
inline task<error_code> gpu_until_it_fails(slice from, slice to)
{
    for (;;) {
        const auto [e, n] = co_await copy(from, to, boost::asio::as_tuple(boost::asio::deferred));
        if (e) co_return e;
    }
}

/// It is known at once, and what was under way ends.
inline task<> gpu_peer_killed(gpu_here& h, pid_t peer, bool reads, std::chrono::milliseconds after)
{
    using namespace std::chrono_literals;
    bool over = false;
    error_code ended;
    slice from = h.out(0, h.bytes), to = h.kv.sub(0, h.bytes);
    if (reads) {
        from = to;
        to = h.in(0, h.bytes);
    }
    boost::asio::co_spawn(h.a.runtime(), gpu_until_it_fails(from, to), [&](std::exception_ptr, error_code e) {
        ended = e;
        over = true;
    });
    co_await h.a.runtime().sleep(after);
    const auto begun = std::chrono::steady_clock::now();
    ::kill(peer, SIGKILL);
    while (!over) co_await h.a.runtime().sleep(1ms);
    BOOST_TEST((std::chrono::steady_clock::now() - begun < 2s));
    BOOST_TEST(ended == errc::peer_lost, ended.message());
    while (h.other.alive()) co_await h.a.runtime().sleep(1ms);
}

inline void poll_for(runtime& rt, std::chrono::microseconds t)
{
    for (const auto end = std::chrono::steady_clock::now() + t; std::chrono::steady_clock::now() < end;) rt.poll(std::chrono::microseconds{10});
}

} // namespace wye::testing
