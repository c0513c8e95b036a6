// SPDX-License-Identifier: Apache-2.0
// Two processes of one machine: what they move is right, one that is killed or stopped does no harm, and one of another
// user is reached by the network.
#define BOOST_TEST_MODULE nearby_process
#include <boost/test/unit_test.hpp>

#include <csignal>
#include <fstream>
#include <thread>

#include <boost/asio/as_tuple.hpp>
#include <unistd.h>

#include "nearby/both.hpp"
#include "nearby/process.hpp"
#include "support/co_test.hpp"

using namespace wye;
using namespace std::chrono_literals;
using wye::testing::bytes_by, wye::testing::finish;
namespace asio = boost::asio;

namespace {

constexpr std::size_t area = 64_MiB + 8;
constexpr unsigned another_user = 65534;

/// A peer in a process of its own.
struct process : wye::testing::process {
    explicit process(std::size_t bytes = area, unsigned user = 0)
        : wye::testing::process{"nearby_peer", {std::to_string(bytes), std::to_string(user)}}
    {
    }
};

struct here {
    explicit here(runtime& rt, std::size_t bytes = area, std::chrono::milliseconds drain = 2s)
        : memory{lab::pattern(bytes, 3)}, back(bytes), a{rt, "here", wye::testing::on_this_machine(drain)}
    {
        wye::testing::add_ways(a);
    }
    task<> open(std::vector<std::byte> metadata)
    {
        from = co_await a.register_memory(dram(memory));
        to = co_await a.register_memory(dram(back));
        if (metadata.empty()) co_return;
        other = co_await a.connect(std::move(metadata));
        kv = other.published("kv");
    }
    std::uint64_t by_the_short_way() const { return bytes_by(a, "same_host"); }

    lab::bytes memory, back;
    agent a;
    region from, to;
    peer other;
    slice kv;
};

task<> there_and_back(here& h, std::size_t bytes, std::size_t at)
{
    std::fill(h.back.begin(), h.back.end(), std::byte{0});
    co_await copy(h.from.at(0, bytes), h.kv.sub(at, bytes));
    co_await copy(h.kv.sub(at, bytes), h.to.at(0, bytes));
    const auto end = h.memory.begin() + static_cast<std::ptrdiff_t>(bytes);
    BOOST_TEST(std::equal(h.memory.begin(), end, h.back.begin()), bytes << " at " << at);
}

task<> pages(here& h)
{
    constexpr std::size_t count = 10'000, page = 4_KiB;
    std::vector<transfer> out, in;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back({h.from.block(i, page), h.kv.block(count - 1 - i, page)});
        in.push_back({h.kv.block(count - 1 - i, page), h.to.block(i, page)});
    }
    BOOST_TEST(co_await copy(out) == count * page);
    BOOST_TEST(co_await copy(in) == count * page);
    BOOST_TEST(std::equal(h.memory.begin(), h.memory.begin() + count * page, h.back.begin()));
}

task<> tells(here& h, std::size_t bytes)
{
    copy_options o;
    o.notify = "page";
    co_await copy(h.from.at(0, bytes), h.kv.sub(0, bytes), o);
}

/// Copies for ever until one fails.
task<error_code> until_it_fails(slice from, slice to)
{
    for (;;) {
        const auto [e, n] = co_await copy(from, to, asio::as_tuple(asio::deferred));
        if (e) co_return e;
    }
}

task<> killed(here& h, const process& p, bool reads, std::chrono::milliseconds after)
{
    bool over = false;
    error_code ended;
    slice ours = h.from.at(0, 64_MiB), theirs = h.kv.sub(0, 64_MiB);
    if (reads) std::swap(ours, theirs);
    asio::co_spawn(h.a.runtime(), until_it_fails(ours, theirs), [&](std::exception_ptr, error_code e) {
        ended = e;
        over = true;
    });
    co_await h.a.runtime().sleep(after);
    const auto begun = std::chrono::steady_clock::now();
    p.kill(SIGKILL);
    while (!over) co_await h.a.runtime().sleep(1ms);
    BOOST_TEST((std::chrono::steady_clock::now() - begun < 1s)); // by its end, not by silence
    BOOST_TEST(ended == errc::peer_lost, ended.message());
    while (h.other.alive()) co_await h.a.runtime().sleep(1ms);
}

/// While the peer writes for ever, and was stopped wherever it was.
task<> takes_back(here& h, const process& p)
{
    p.kill(SIGSTOP);
    co_await h.a.revoke("kv", "there");
    std::fill(h.back.begin(), h.back.end(), std::byte{0x77}); // used again
    p.kill(SIGCONT);
    const auto end = std::chrono::steady_clock::now() + 50ms;
    while (std::chrono::steady_clock::now() < end) co_await h.a.runtime().sleep(1ms);
    const auto is = [](std::byte b) { return b == std::byte{0x77}; };
    BOOST_TEST(std::all_of(h.back.begin(), h.back.end(), is));
}

} // namespace

BOOST_AUTO_TEST_CASE(all_sizes)
{
    process p;
    {
        runtime rt;
        here h{rt};
        finish(rt, h.open(p.metadata));
        for (const std::size_t bytes : {std::size_t{1}, 4_KiB, 64_KiB + 1, 1_MiB, 16_MiB + 1, 64_MiB})
            for (const std::size_t at : {std::size_t{0}, std::size_t{3}}) finish(rt, there_and_back(h, bytes, at));
        finish(rt, pages(h));
        BOOST_TEST(h.by_the_short_way() > 2 * 64_MiB);
        BOOST_TEST(bytes_by(h.a, "fabric") == 0u);
    }
    BOOST_TEST(p.wait() == 0);
}

BOOST_AUTO_TEST_CASE(told_once_after_the_last_byte)
{
    process p{1_MiB};
    runtime rt;
    here h{rt, 1_MiB};
    finish(rt, h.open(p.metadata));
    for (const std::size_t bytes : {std::size_t{1}, 4_KiB, 1_MiB}) {
        finish(rt, tells(h, bytes));
        BOOST_TEST(p.ask(rt, "told") == "page");
    }
    BOOST_TEST(p.ask(rt, "holds 3") == "yes");
}

BOOST_AUTO_TEST_CASE(a_peer_that_is_killed_is_known_to_be_at_once)
{
    for (int round = 0; round < 6; ++round) {
        process p;
        runtime rt;
        here h{rt};
        finish(rt, h.open(p.metadata));
        finish(rt, killed(h, p, round % 2, 3ms + round * 7ms));
        BOOST_TEST(p.wait() == -SIGKILL);
    }
}

// Contracts 5 and 6: a peer that was stopped anywhere in what it did writes nothing into a page that is used again.
BOOST_AUTO_TEST_CASE(a_peer_that_is_stopped_writes_no_more_when_it_goes_on)
{
    for (const std::size_t bytes : {4_KiB, 64_KiB, 16_MiB}) {
        for (int round = 0; round < 5; ++round) {
            process p{bytes};
            runtime rt;
            here h{rt, bytes, 100ms};
            finish(rt, h.open({}));
            finish(rt, h.a.publish("kv", h.to));
            BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
            BOOST_TEST(p.ask(rt, "write") == "done");
            const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds{777 * round};
            while (std::chrono::steady_clock::now() < end) rt.poll(10us);
            finish(rt, takes_back(h, p));
            const std::string ended = p.ask(rt, "ended");
            BOOST_TEST((ended == make_error_code(errc::withdrawn).message() || ended == make_error_code(errc::peer_lost).message()), ended);
        }
    }
}

// And one that reads is told that what it read is worth nothing.
BOOST_AUTO_TEST_CASE(a_peer_that_is_stopped_reads_nothing_good_when_it_goes_on)
{
    process p{16_MiB};
    runtime rt;
    here h{rt, 16_MiB, 100ms};
    finish(rt, h.open({}));
    finish(rt, h.a.publish("kv", h.to));
    BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
    BOOST_TEST(p.ask(rt, "read") == "done");
    finish(rt, takes_back(h, p));
    BOOST_TEST(p.ask(rt, "ended") == make_error_code(errc::withdrawn).message());
}

// Another user, without leave to trace: the kernel refuses, and the network carries it.
BOOST_AUTO_TEST_CASE(a_peer_of_another_user_is_reached_by_the_network)
{
    if (::geteuid() != 0) {
        BOOST_TEST_MESSAGE("left out: it takes root to become another user");
        return;
    }
    // We may reach it, and it may not reach us: whoever calls.
    {
        process p{1_MiB, another_user};
        runtime rt;
        here h{rt, 1_MiB};
        const auto begun = std::chrono::steady_clock::now();
        finish(rt, h.open(p.metadata));
        BOOST_TEST((std::chrono::steady_clock::now() - begun < 2s)); // it said that it cannot
        finish(rt, there_and_back(h, 1_MiB, 0));
        BOOST_TEST(h.by_the_short_way() == 0u);
        BOOST_TEST(bytes_by(h.a, "fabric") == 2 * 1_MiB);
    }
    {
        process p{1_MiB, another_user};
        runtime rt;
        here h{rt, 1_MiB};
        finish(rt, h.open({}));
        finish(rt, h.a.publish("kv", h.to));
        BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
        BOOST_TEST(p.ask(rt, "write") == "done");
        BOOST_TEST(p.ask(rt, "by") == "0");
    }
}

// It sleeps while nothing comes.
BOOST_AUTO_TEST_CASE(an_idle_peer_uses_no_processor)
{
    process p{1_MiB};
    runtime rt;
    here h{rt, 1_MiB};
    finish(rt, h.open(p.metadata));
    finish(rt, there_and_back(h, 64_KiB, 0));
    const auto ticks = [&] {
        std::ifstream stat{"/proc/" + std::to_string(p.id) + "/stat"};
        std::string word;
        std::uint64_t user = 0, system = 0;
        for (int i = 0; i < 13; ++i) stat >> word;
        stat >> user >> system;
        return user + system;
    };
    std::this_thread::sleep_for(20ms);
    const std::uint64_t before = ticks();
    std::this_thread::sleep_for(500ms);
    BOOST_TEST(ticks() - before <= 2u); // of 50
}
