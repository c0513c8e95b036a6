// SPDX-License-Identifier: Apache-2.0
// Peers are told after the last byte, once, whatever becomes of rails; or that there is nothing to wait for.
#define BOOST_TEST_MODULE told
#include <boost/test/unit_test.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of, lab::knowing, lab::telling, lab::with_rails;
using world = lab::peer_world;
namespace asio = boost::asio;

// Told after the last byte, with its payload, by whom; the writer's copy ends when that is known over there.
BOOST_AUTO_TEST_CASE(a_write_tells_after_its_last_byte)
{
    world w;
    w.run([](world& v) -> task<> {
        const auto payload = lab::pattern(4096, 5);
        const copy_options o = telling("req-17", payload);
        co_await copy(v.from, v.to.published("kv"), o);
        const notification n = co_await v.decode.notified({.key = "req-17", .peer = "prefill"});
        BOOST_TEST(v.landed == v.sent);
        BOOST_TEST(n.peer == "prefill");
        BOOST_TEST((n.payload == std::vector<std::byte>(payload.begin(), payload.end())));
        BOOST_TEST(!n.aborted);
    });
}

// Decode reads, and so tells prefill to free its pages.
BOOST_AUTO_TEST_CASE(a_read_tells_the_owner)
{
    world w;
    w.run([](world& v) -> task<> {
        const copy_options o = telling("free 3");
        co_await copy(v.to.published("kv").sub(0, 64_KiB), v.from.at(0, 64_KiB), o);
        const notification n = co_await v.decode.notified({.key = "free 3"});
        BOOST_TEST(n.peer == "prefill");
    });
}

BOOST_AUTO_TEST_CASE(tells_alone_and_counts)
{
    world w;
    w.run([](world& v) -> task<> {
        for (int i = 0; i < 3; ++i) {
            std::vector<std::byte> rank{std::byte(i)};
            co_await v.prefill.notify(v.to, "rank", std::move(rank));
        }
        co_await v.decode.notified({.key = "rank", .count = 3});
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "rank", .deadline = 1ms})));
        BOOST_TEST(e == errc::deadline_missed);
    });
}

BOOST_AUTO_TEST_CASE(keys_and_payloads_are_bounded)
{
    world w;
    w.run([](world& v) -> task<> {
        const std::string longest(1024, 'k');
        co_await v.prefill.notify(v.to, longest, lab::pattern(4096, 1));
        const notification n = co_await v.decode.notified(longest);
        BOOST_TEST(n.payload == lab::pattern(4096, 1));
        error_code e = co_await failure_of(v.prefill.notify(v.to, longest + 'k'));
        BOOST_TEST(e == errc::bad_name);
        e = co_await failure_of(v.prefill.notify(v.to, "k", lab::pattern(4097, 1)));
        BOOST_TEST(e == errc::bad_name);
        e = co_await failure_of(v.prefill.notify(v.to, ""));
        BOOST_TEST(e == errc::bad_name);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_write_tells_that_it_was_aborted)
{
    world w;
    w.run([](world& v) -> task<> {
        asio::cancellation_signal stop;
        error_code ended;
        const copy_options o = telling("half");
        copy(v.from, v.to.published("kv"), o, asio::bind_cancellation_slot(stop.slot(), [&](error_code e, std::size_t) { ended = e; }));
        co_await v.it.runtime().sleep(30us);
        stop.emit(asio::cancellation_type::all);
        const notification n = co_await v.decode.notified({.key = "half"});
        BOOST_TEST(n.aborted);
        co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(ended == asio::error::operation_aborted);
    });
}

// Decode waits for a prefill that dies in the middle of its write: the wait ends, and by then nothing of it lands.
BOOST_AUTO_TEST_CASE(a_wait_ends_with_the_peer_that_it_names)
{
    world w;
    w.run([](world& v) -> task<> {
        copy(v.from, v.to.published("kv"), telling("never"), [](error_code, std::size_t) {});
        co_await v.it.runtime().sleep(25us);
        v.it.stall(v.prefill, 20s); // and comes back after it was given up
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "never", .peer = "prefill"})));
        BOOST_TEST(e == errc::peer_lost);
        const error_code again = co_await failure_of(drop(v.decode.notified({.key = "later", .peer = "prefill"})));
        BOOST_TEST(again == errc::peer_lost);
        const lab::bytes then = v.landed;
        co_await v.it.runtime().sleep(30s);
        BOOST_TEST(v.landed == then);
        BOOST_TEST(!v.to.alive());
    });
}

// Decode holds pages for prefill, which reads them, for no longer than prefill lives; one that was only away reads nothing of
// the pages' next life.
BOOST_AUTO_TEST_CASE(a_lease_expires_with_its_reader)
{
    world w;
    w.run([](world& v) -> task<> {
        error_code read;
        copy(v.to.published("kv"), v.from, telling("free"), [&](error_code e, std::size_t) { read = e; });
        co_await v.it.runtime().sleep(25us);
        v.it.stall(v.prefill, 20s);
        const duration begun = v.it.now();
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "free", .peer = "prefill"})));
        BOOST_TEST(e == errc::peer_lost);
        BOOST_TEST((v.it.now() - begun < 4s));
        const lab::bytes before = v.sent;
        std::fill(v.landed.begin(), v.landed.end(), std::byte{0xee});
        co_await v.it.runtime().sleep(30s);
        BOOST_TEST(read.failed());
        BOOST_TEST(v.sent == before);
    });
}

// Or no longer than was agreed: the reader is locked out by then.
BOOST_AUTO_TEST_CASE(a_lease_expires_in_time)
{
    world w;
    w.run([](world& v) -> task<> {
        error_code read;
        bool over = false;
        for (std::uint32_t r = 0; r < 4; ++r) v.b.set_rail(r, sim::rail_state::up, 1e-6);
        copy(v.to.published("kv"), v.from, telling("free"), [&](error_code e, std::size_t) { read = e, over = true; });
        co_await v.it.runtime().sleep(1ms);
        const error_code e =
            co_await failure_of(drop(v.decode.notified({.key = "free", .peer = "prefill", .deadline = 100ms})));
        BOOST_TEST(e == errc::deadline_missed);
        co_await v.decode.revoke("kv", "prefill");
        const lab::bytes before = v.sent;
        std::fill(v.landed.begin(), v.landed.end(), std::byte{0xee});
        for (std::uint32_t r = 0; r < 4; ++r) v.b.set_rail(r, sim::rail_state::up);
        while (!over) co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(read.failed());
        BOOST_TEST(v.sent == before);
    });
}

// A rail that goes dark under notifications: they arrive once each all the same.
BOOST_AUTO_TEST_CASE(notifications_outlive_rails)
{
    world w;
    w.run([](world& v) -> task<> {
        v.a.set_rail(1, sim::rail_state::dark);
        v.a.set_rail(2, sim::rail_state::dark);
        for (int i = 0; i < 50; ++i) co_await v.prefill.notify(v.to, "n" + std::to_string(i));
        for (int i = 0; i < 50; ++i) co_await v.decode.notified({.key = "n" + std::to_string(i), .deadline = 1s});
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "n7", .deadline = 1s})));
        BOOST_TEST(e == errc::deadline_missed);
        v.a.set_rail(1, sim::rail_state::up);
        v.a.set_rail(2, sim::rail_state::up);
    });
}

// A piece of a batch that could not begin holds nothing: its object may be gone when the peer is told of the rest.
BOOST_AUTO_TEST_CASE(who_is_told_is_known_from_the_start)
{
    world w;
    w.run([](world& v) -> task<> {
        const bucket store = co_await v.prefill.open_bucket("sim:store");
        const slice kv = v.to.published("kv");
        std::vector<error_code> status(2);
        copy_options o = telling("both");
        o.status = status;
        int told = 0;
        bool over = false;
        {
            const object gone = store.object("gone");
            slice source = gone;
            source.length = 64;
            const transfer batch[] = {{source, kv.sub(area_bytes - 1, 64)}, {v.from.at(0, 1_MiB), kv.sub(0, 1_MiB)}};
            copy(batch, o, [&](error_code e, std::size_t) { over = e == errc::out_of_range; });
        }
        const notification n = co_await v.decode.notified({.key = "both"});
        told += n.aborted;
        co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(told == 1);
        BOOST_TEST(over);
        BOOST_TEST(!status[1]);
    });
}
