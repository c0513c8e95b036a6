// SPDX-License-Identifier: Apache-2.0
// Blocks that several runtimes share.
#define BOOST_TEST_MODULE pool
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstring>
#include <deque>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include <unistd.h>

#include <boost/asio/detached.hpp>

#include "support/lab_world.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

/// Someone who waits for a block.
struct taker {
    taker(runtime& rt, pool& p)
    {
        asio::co_spawn(rt, take(p, *this), asio::bind_cancellation_slot(signal.slot(), [this](std::exception_ptr e) {
                           try {
                               if (e) std::rethrow_exception(e);
                           } catch (const system_error& x) {
                               error = x.code();
                           }
                       }));
        rt.poll();
        rt.poll();
    }
    static task<> take(pool& p, taker& self) { self.got = co_await p.acquire(); }

    pool::lease got;
    error_code error;
    asio::cancellation_signal signal;
};

} // namespace

BOOST_AUTO_TEST_CASE(each_block_once)
{
    pool p{4096, 5};
    BOOST_TEST(p.memory().bytes == 5u * 4096);
    BOOST_TEST(p.block_bytes() == 4096u);
    std::vector<pool::lease> leases;
    std::set<std::uint32_t> seen;
    for (int i = 0; i < 5; ++i) {
        leases.push_back(*p.try_acquire());
        seen.insert(leases.back().index());
    }
    BOOST_TEST(seen.size() == 5u);
    BOOST_TEST((*seen.begin() == 0 && *seen.rbegin() == 4));
    BOOST_TEST(!p.try_acquire().has_value());
    const std::uint32_t one = leases[2].index();
    leases[2].reset();
    leases[2].reset();
    BOOST_TEST(p.free_blocks() == 1u);
    pool::lease again = *p.try_acquire(), moved = std::move(again);
    BOOST_TEST((!again && moved && moved.index() == one));
    moved = {};
    BOOST_TEST(p.free_blocks() == 1u);
}

BOOST_AUTO_TEST_CASE(waiting_in_turn)
{
    runtime rt;
    pool p{64, 1};
    std::optional<pool::lease> held = p.try_acquire();
    std::deque<taker> t;
    for (int i = 0; i < 3; ++i) t.emplace_back(rt, p);
    t[1].signal.emit(asio::cancellation_type::terminal);
    for (int i = 0; i < 4; ++i) rt.poll();
    BOOST_TEST(t[1].error == asio::error::operation_aborted);
    held.reset();
    for (int i = 0; i < 4; ++i) rt.poll();
    BOOST_TEST((t[0].got && !t[2].got));
    t[0].got.reset();
    for (int i = 0; i < 4; ++i) rt.poll();
    BOOST_TEST(bool{t[2].got});
    t[0].signal.emit(asio::cancellation_type::terminal); // of nothing
    t[2].got.reset();
    BOOST_TEST(p.free_blocks() == 1u);
}

// A block that is given to a coroutine that goes before it resumes is not lost.
BOOST_AUTO_TEST_CASE(a_block_on_its_way_to_nobody_comes_back)
{
    pool p{64, 1};
    {
        runtime rt;
        std::optional<pool::lease> held = p.try_acquire();
        asio::co_spawn(rt, [](pool& q) -> task<> { co_await q.acquire(); }(p), asio::detached);
        rt.poll();
        rt.poll();
        held.reset(); // granted, and posted
        BOOST_TEST(p.free_blocks() == 0u);
    }
    BOOST_TEST(p.free_blocks() == 1u);
}

namespace {

/// One of several: takes blocks, writes into them through its own agent, reads them back.
task<> shares(wye::agent& agent, pool& p, std::size_t rounds, unsigned seed, std::atomic<int>& wrong)
{
    const std::size_t n = p.block_bytes();
    std::mt19937 random{seed};
    const region shared = co_await agent.register_memory(p.memory());
    lab::bytes mine(n), back(n);
    const region from = co_await agent.register_memory(dram(mine));
    const region to = co_await agent.register_memory(dram(back));
    for (std::size_t i = 0; i < rounds; ++i) {
        const pool::lease l = co_await p.acquire();
        std::memset(mine.data(), static_cast<int>(random() % 256), n);
        co_await copy(from, shared.block(l.index(), n));
        co_await copy(shared.block(l.index(), n), to);
        wrong += mine != back;
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(several_runtimes_on_several_threads)
{
    pool p{16_KiB, 2};
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t)
        threads.emplace_back([&, t] {
            runtime rt;
            wye::agent agent{rt, "agent " + std::to_string(t)};
            asio::co_spawn(rt, shares(agent, p, 200, t, wrong), asio::detached);
            asio::co_spawn(rt, shares(agent, p, 200, t + 100, wrong), asio::detached);
            rt.run();
        });
    for (auto& t : threads) t.join();
    BOOST_TEST(wrong == 0);
    BOOST_TEST(p.free_blocks() == 2u);
}

namespace {

task<> shares_a_file(wye::agent& agent, pool& p, std::size_t rounds, int fill, std::atomic<int>& wrong)
{
    const std::size_t n = p.block_bytes();
    const wye::file f = co_await agent.open_file(p.path());
    lab::bytes mine(n), back(n);
    const region from = co_await agent.register_memory(dram(mine));
    const region to = co_await agent.register_memory(dram(back));
    for (std::size_t i = 0; i < rounds; ++i) {
        const pool::lease l = co_await p.acquire();
        std::memset(mine.data(), fill + static_cast<int>(i % 16), n);
        co_await copy(from, f.block(l.index(), n));
        co_await copy(f.block(l.index(), n), to);
        wrong += mine != back;
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(a_file_in_common)
{
    std::string path = std::filesystem::temp_directory_path() / "wye-pool-XXXXXX";
    ::close(::mkstemp(path.data()));
    {
        pool p{path, 4_KiB, 2};
        BOOST_TEST(p.memory().bytes == 0u);
        std::atomic<int> wrong = 0;
        std::vector<std::thread> threads;
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&, t] {
                runtime rt;
                wye::agent agent{rt};
                asio::co_spawn(rt, shares_a_file(agent, p, 50, 16 * t, wrong), asio::detached);
                asio::co_spawn(rt, shares_a_file(agent, p, 50, 16 * t + 64, wrong), asio::detached);
                rt.run();
            });
        for (auto& t : threads) t.join();
        BOOST_TEST(wrong == 0);
        BOOST_TEST(p.free_blocks() == 2u);
    }
    std::filesystem::remove(path);
}
