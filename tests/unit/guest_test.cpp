// SPDX-License-Identifier: Apache-2.0
// A runtime as a guest in somebody's io_context.
#define BOOST_TEST_MODULE guest
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <unistd.h>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// What a coroutine may own that copies: its agent goes with its frame.
struct household {
    household(runtime& rt, lab::bench& on, unsigned polls)
        : agent{rt, "lab", lab::small_staging()},
          d{agent.add(std::make_unique<lab::device>(on, lab::device_options{"near", lab::memory_pairs, lab::small_limits()}))}
    {
        d.manners.most_polls = polls;
    }
    task<> open()
    {
        from = co_await agent.register_memory(dram(a));
        to = co_await agent.register_memory(dram(b));
    }
    lab::bytes a = lab::pattern(64_KiB), b = lab::bytes(64_KiB);
    wye::agent agent;
    lab::device& d;
    region from, to;
};

task<> copies(runtime& rt, lab::bench& on, unsigned polls, int& landed)
{
    household h{rt, on, polls};
    co_await h.open();
    const std::size_t n = co_await copy(h.from, h.to);
    landed += n == 64_KiB && h.a == h.b;
}

/// Copies whose devices take so long that nobody waits for them to end by themselves.
struct voyage {
    static constexpr unsigned slow = 100'000; // polls
    lab::bench on;
    std::vector<lab::device*> devices;
    int landed = 0;

    static task<> sails(runtime& rt, voyage& v)
    {
        household h{rt, v.on, slow};
        co_await h.open();
        v.devices.push_back(&h.d);
        const std::size_t n = co_await copy(h.from, h.to);
        v.landed += n == 64_KiB;
    }
    /// Runs the host until so many have chunks on loan.
    bool under_way(asio::io_context& io, std::size_t count)
    {
        const auto on_loan = [](const lab::device* d) { return d->held() != 0; };
        for (std::size_t turns = 0; turns < 100'000; ++turns) {
            if (devices.size() == count && std::all_of(devices.begin(), devices.end(), on_loan)) return true;
            io.run_one();
        }
        return false;
    }
};

} // namespace

// With coroutines of its own and of its host's, and callbacks; `run` ends when they have.
BOOST_AUTO_TEST_CASE(the_host_drives_it)
{
    asio::io_context io;
    runtime guest{io};
    BOOST_TEST(&guest.io() == &io);
    lab::bench on;
    int landed = 0;
    asio::co_spawn(guest, copies(guest, on, 30, landed), asio::detached);
    asio::co_spawn(io, copies(guest, on, 30, landed), asio::detached);
    io.run();
    BOOST_TEST(landed == 2);

    std::optional<household> h{std::in_place, guest, on, 5u};
    asio::co_spawn(guest, h->open(), asio::detached);
    io.restart();
    io.run();
    std::size_t bytes = 0;
    copy(h->from, h->to, [&](error_code, std::size_t n) { bytes = n; });
    io.restart();
    io.run(); // has work as long as the copy is under way
    BOOST_TEST(bytes == 64_KiB);
    h.reset();
    for (const std::string& f : on.faults) BOOST_TEST(f == "");
}

BOOST_AUTO_TEST_CASE(real_files_beside_sockets_and_timers)
{
    std::string path = std::filesystem::temp_directory_path() / "wye-guest-XXXXXX";
    ::close(::mkstemp(path.data()));
    asio::io_context io;
    runtime guest{io};
    std::size_t echoed = 0, ticks = 0, copied = 0;
    asio::local::stream_protocol::socket here{io}, there{io};
    asio::local::connect_pair(here, there);
    asio::co_spawn(io, [](auto& s) -> task<> { // echoes
        std::array<char, 16> data;
        for (int i = 0; i < 50; ++i) {
            co_await asio::async_read(s, asio::buffer(data), asio::use_awaitable);
            co_await asio::async_write(s, asio::buffer(data), asio::use_awaitable);
        }
    }(there), asio::detached);
    asio::co_spawn(io, [](auto& s, std::size_t& n) -> task<> {
        std::array<char, 16> data{};
        for (int i = 0; i < 50; ++i, ++n) {
            co_await asio::async_write(s, asio::buffer(data), asio::use_awaitable);
            co_await asio::async_read(s, asio::buffer(data), asio::use_awaitable);
        }
    }(here, echoed), asio::detached);
    asio::co_spawn(io, [](runtime& rt, std::size_t& n) -> task<> {
        asio::steady_timer t{co_await asio::this_coro::executor};
        for (; n < 5; ++n) {
            t.expires_after(1ms);
            co_await t.async_wait(asio::use_awaitable);
            co_await rt.sleep(1ms);
        }
    }(guest, ticks), asio::detached);
    asio::co_spawn(io, [](runtime& rt, std::string where, std::size_t& n) -> task<> {
        wye::agent agent{rt};
        const wye::file f = co_await agent.open_file(where);
        const lab::bytes a = lab::pattern(3_MiB + 77);
        lab::bytes b(a.size());
        const region from = co_await agent.register_memory(dram(const_cast<std::byte*>(a.data()), a.size()));
        const region to = co_await agent.register_memory(dram(b));
        for (int i = 0; i < 5; ++i) {
            co_await copy(from, f.at(static_cast<std::uint64_t>(i), a.size()));
            n += co_await copy(f.at(static_cast<std::uint64_t>(i), a.size()), to);
            BOOST_TEST((a == b));
        }
    }(guest, path, copied), asio::detached);
    io.run();
    std::filesystem::remove(path);
    BOOST_TEST(echoed == 50u);
    BOOST_TEST(ticks == 5u);
    BOOST_TEST(copied == 5 * (3_MiB + 77));
}

// With a device that can only be polled, and does not end: poll comes back all the same.
BOOST_AUTO_TEST_CASE(polling_the_host_never_blocks)
{
    asio::io_context io;
    runtime guest{io};
    lab::bench on;
    household h{guest, on, 0};
    asio::co_spawn(guest, h.open(), asio::detached);
    while (!h.to) io.poll();
    h.d.manners.hold = true;
    bool over = false;
    copy(h.from, h.to, [&](error_code, std::size_t) { over = true; });
    for (int i = 0; i < 1000; ++i) {
        io.poll();
        io.restart();
    }
    BOOST_TEST(!over);
    h.d.manners.hold = false;
    io.restart();
    io.run();
    BOOST_TEST(over);
}

BOOST_AUTO_TEST_CASE(other_threads_may_post)
{
    asio::io_context io;
    runtime guest{io};
    int ran = 0;
    auto busy = std::make_unique<asio::executor_work_guard<executor>>(guest.get_executor());
    std::thread other{[&] {
        for (int i = 0; i < 1000; ++i) asio::post(guest, [&] { ++ran; });
        asio::post(guest, [&] { busy.reset(); });
    }};
    io.run();
    other.join();
    BOOST_TEST(ran == 1000);
}

BOOST_AUTO_TEST_CASE(exceptions_pass_through_the_host_and_it_goes_on)
{
    asio::io_context io;
    runtime guest{io};
    int ran = 0;
    asio::post(guest, [] { throw std::runtime_error{"mine"}; });
    for (int i = 0; i < 3; ++i) asio::post(guest, [&] { ++ran; });
    BOOST_CHECK_THROW(io.run(), std::runtime_error);
    io.restart();
    io.run_for(10s); // not for ever, should they be forgotten
    BOOST_TEST(ran == 3);
}

// The host goes first: the guest drains in it, before the frames and buffers of what is suspended are destroyed.
BOOST_AUTO_TEST_CASE(the_host_is_destroyed_with_transfers_in_flight)
{
    voyage v;
    auto io = std::make_unique<asio::io_context>();
    runtime guest{*io};
    for (int i = 0; i < 3; ++i) {
        asio::co_spawn(*io, v.sails(guest, v), asio::detached);
        asio::co_spawn(guest, v.sails(guest, v), asio::detached);
    }
    // One is awaited together with things of the host's, which destroys those in an order of its own.
    asio::co_spawn(*io, [](runtime& rt, voyage& w) -> task<> {
        asio::steady_timer t{co_await asio::this_coro::executor, 1h};
        co_await race(w.sails(rt, w), t.async_wait(asio::deferred));
    }(guest, v), asio::detached);
    BOOST_TEST(v.under_way(*io, 7));
    std::size_t on_loan = 0, drained = 0;
    for (const lab::device* d : v.devices) on_loan += d->held();
    v.on.landed = [&](const slice& from, const slice& to, std::size_t) { // into buffers that are still there
        drained += std::equal(from.data(), from.data() + from.length, to.data());
    };
    io.reset();
    BOOST_TEST(drained == on_loan);
    BOOST_TEST(v.landed == 0);
    for (const std::string& f : v.on.faults) BOOST_TEST(f == "");
    error_code error;
    guest.sleep(1ms, [&](error_code e) { error = e; }); // to a host that is gone: nobody will call
    BOOST_TEST(!error);
}

BOOST_AUTO_TEST_CASE(the_guest_is_destroyed_with_transfers_in_flight)
{
    voyage v;
    asio::io_context io;
    {
        runtime guest{io};
        asio::co_spawn(guest, v.sails(guest, v), asio::detached);
        BOOST_TEST(v.under_way(io, 1));
    }
    io.restart();
    io.run(); // what it had queued in its host finds nobody
    BOOST_TEST(v.landed == 0);
    for (const std::string& f : v.on.faults) BOOST_TEST(f == "");
}

BOOST_AUTO_TEST_CASE(two_guests_of_one_host)
{
    lab::bench on;
    int landed = 0;
    asio::io_context io;
    runtime first{io}, second{io};
    asio::co_spawn(io, [](runtime& a, runtime& b, lab::bench& o, int& n) -> task<> {
        co_await when_all(copies(a, o, 20, n), copies(b, o, 20, n), a.sleep(1ms), b.sleep(1ms));
    }(first, second, on, landed), asio::detached);
    io.run();
    BOOST_TEST(landed == 2);
    for (const std::string& f : on.faults) BOOST_TEST(f == "");
}
