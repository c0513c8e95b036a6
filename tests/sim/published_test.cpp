// SPDX-License-Identifier: Apache-2.0
// What is published: reached as it is now, in the direction granted, by those it is for, and no more once it is withdrawn.
#define BOOST_TEST_MODULE published
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of, lab::knowing, lab::telling, lab::with_rails;
using world = lab::peer_world;
namespace asio = boost::asio;

// Only what the metadata named is reached, and only in the direction granted.
BOOST_AUTO_TEST_CASE(reaches_only_what_was_published_to_it)
{
    world w;
    w.run([](world& v) -> task<> {
        lab::bytes more(64_KiB);
        region extra = co_await v.decode.register_memory(dram(more));
        co_await v.decode.publish("extra", extra, access::read_only);
        BOOST_CHECK_THROW(v.to.published("extra"), system_error);
        const std::string_view names[] = {"extra"};
        const std::vector<std::byte> blob = v.decode.metadata(names);
        peer again = co_await v.prefill.connect(blob);
        const slice there = again.published("extra");
        const auto [e, n] = co_await copy(v.from.at(0, 64_KiB), there, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::read_only);
        co_await copy(there, v.from.at(0, 64_KiB));
        co_await v.decode.unpublish("extra");
    });
}

// What is published anew has another epoch: slices of the old one fail before their first byte.
BOOST_AUTO_TEST_CASE(a_stale_epoch_fails_before_its_first_byte)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice old = v.to.published("kv");
        const std::uint64_t epoch = v.to.epoch("kv");
        lab::bytes other(area_bytes);
        region fresh = co_await v.decode.register_memory(dram(other));
        co_await v.decode.publish("kv", fresh);
        BOOST_TEST(v.to.epoch("kv") > epoch);
        const auto [e, n] = co_await copy(v.from, old, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::stale_epoch);
        BOOST_TEST(n == 0u);
        BOOST_TEST(v.landed == lab::bytes(area_bytes));
        co_await copy(v.from, v.to.published("kv"));
        BOOST_TEST(other == v.sent);
        const slice last = v.to.published("kv");
        co_await v.decode.unpublish("kv");
        const auto [gone, m] = co_await copy(v.from, last, asio::as_tuple(asio::deferred));
        BOOST_TEST(gone == errc::withdrawn);
    });
}

// Publishing anew waits for what is under way by the old epoch, which ends well.
BOOST_AUTO_TEST_CASE(publishing_anew_waits_for_what_is_under_way)
{
    world w;
    w.run([](world& v) -> task<> {
        bool over = false;
        error_code ended;
        copy(v.from, v.to.published("kv"), [&](error_code e, std::size_t) { ended = e; over = true; });
        co_await v.it.runtime().sleep(30us);
        BOOST_TEST(!over);
        co_await v.decode.publish("kv", v.pool);
        BOOST_TEST(over);
        BOOST_TEST(!ended);
        BOOST_TEST(v.landed == v.sent);
    });
}

BOOST_AUTO_TEST_CASE(revoked_peers_are_out_and_others_go_on)
{
    world w;
    w.run([](world& v) -> task<> {
        agent& other = v.it.spawn("other", v.a, knowing("the secret"));
        region own = co_await other.register_memory(dram(v.sent));
        peer there = co_await other.connect(v.decode.metadata());
        const slice mine = there.published("kv"), theirs = v.to.published("kv");
        co_await v.decode.revoke("kv", "prefill");
        const auto [e, n] = co_await copy(v.from, theirs, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::withdrawn);
        co_await copy(own, mine);
        // Nor does it come in again by what it had.
        peer again = co_await v.prefill.connect(v.decode.metadata());
        BOOST_CHECK_THROW(again.published("kv"), system_error);
        there.reset();
        own.reset();
    });
}

// A name that was withdrawn and published again is there for who connects again.
BOOST_AUTO_TEST_CASE(a_name_comes_back)
{
    world w;
    w.run([](world& v) -> task<> {
        co_await v.decode.unpublish("kv");
        BOOST_CHECK_THROW(v.to.published("kv"), system_error);
        co_await v.decode.publish("kv", v.pool);
        peer again = co_await v.prefill.connect(v.decode.metadata());
        co_await copy(v.from, again.published("kv"));
        BOOST_TEST(v.landed == v.sent);
    });
}

// A published region that goes without a word takes its keys along.
BOOST_AUTO_TEST_CASE(a_region_that_goes_is_not_reached)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice kv = v.to.published("kv");
        error_code ended;
        bool over = false;
        copy(v.from, kv, [&](error_code e, std::size_t) { ended = e; over = true; });
        co_await v.it.runtime().sleep(25us);
        v.pool.reset();
        const lab::bytes then = v.landed;
        while (!over) co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(ended == errc::withdrawn);
        BOOST_TEST(v.landed == then);
    });
}

// A name that was withdrawn and is published again is found by the next metadata.
BOOST_AUTO_TEST_CASE(what_is_published_again_is_found_again)
{
    world w;
    w.run([](world& v) -> task<> {
        co_await v.decode.unpublish("kv");
        co_await v.decode.publish("kv", v.pool);
        const peer again = co_await v.prefill.connect(v.decode.metadata());
        BOOST_TEST(co_await copy(v.from, again.published("kv")) == area_bytes);
        BOOST_TEST(v.landed == v.sent);
    });
}

// The same when its withdrawal is heard later than the metadata that has it again.
BOOST_AUTO_TEST_CASE(what_is_published_again_is_found_before_its_withdrawal_is_heard)
{
    world w;
    w.run([](world& v) -> task<> {
        lab::bytes memory(area_bytes);
        region other = co_await v.decode.register_memory(dram(memory));
        v.pool.reset();
        co_await v.decode.publish("kv", other);
        const peer again = co_await v.prefill.connect(v.decode.metadata());
        co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(co_await copy(v.from, again.published("kv")) == area_bytes);
        BOOST_TEST(memory == v.sent);
        co_await v.decode.unpublish("kv");
    });
}

// Who is sent away does not come in by asking later: not by a connection that was there before it asked, either.
BOOST_AUTO_TEST_CASE(who_is_revoked_does_not_ask_later)
{
    world w;
    w.it.run([](world& v) -> task<> {
        v.from = co_await v.prefill.register_memory(dram(v.sent));
        v.pool = co_await v.decode.register_memory(dram(v.landed));
        co_await v.decode.publish("kv", v.pool);
        co_await v.prefill.publish("own", v.from);
        const peer back = co_await v.decode.connect(v.prefill.metadata());
        co_await v.decode.revoke("kv", "prefill");
        v.to = co_await v.prefill.connect(v.decode.metadata());
        BOOST_CHECK_THROW(v.to.published("kv"), system_error);
    }(w));
}

// Nor does it learn of new keys.
BOOST_AUTO_TEST_CASE(who_is_revoked_is_told_of_nothing_new)
{
    world w;
    w.run([](world& v) -> task<> {
        co_await v.decode.revoke("kv", "prefill");
        co_await v.decode.publish("kv", v.pool);
        co_await v.it.runtime().sleep(1ms);
        BOOST_CHECK_THROW(v.to.published("kv"), system_error);
    });
}

// Peers that go one after the other cost the rest two new keys in a row, and nothing that is under way by the first.
BOOST_AUTO_TEST_CASE(keys_that_change_twice_wait_for_what_is_under_way)
{
    world w{1, 1, 1};
    w.it.run(w.open());
    agent& x = w.it.spawn("x", w.a, knowing("the secret"));
    agent& y = w.it.spawn("y", w.a, knowing("the secret"));
    peer of_x, of_y;
    w.it.run([](world& v, agent& one, agent& two, peer& mine, peer& yours) -> task<> {
        mine = co_await one.connect(v.decode.metadata());
        yours = co_await two.connect(v.decode.metadata());
    }(w, x, y, of_x, of_y));
    w.a.set_rail(0, sim::rail_state::up, 0.001);
    bool over = false;
    error_code ended;
    copy(w.from, w.to.published("kv"), [&](error_code e, std::size_t) { ended = e; over = true; });
    w.it.settle();
    w.it.end(x);
    w.it.end(y);
    BOOST_TEST(!over);
    w.it.run_until([&] { return over; });
    BOOST_TEST(!ended, ended.message());
    BOOST_TEST(w.landed == w.sent);
}

// Keys that have to change when none are to be had end all the same. Whoever still may gets new ones as soon as there are any.
BOOST_AUTO_TEST_CASE(a_name_without_keys_comes_back)
{
    peer of_x;
    world w;
    w.it.run(w.open());
    agent& x = w.it.spawn("x", w.a, knowing("the secret"));
    w.it.run([](world& v, agent& other, peer& mine) -> task<> { mine = co_await other.connect(v.decode.metadata()); }(w, x, of_x));
    w.it.crash(x);
    w.it.inject({.what = sim::fault_kind::registration, .until = w.it.now() + 10s, .device = "nic"});
    w.it.run([](world& v) -> task<> {
        const slice old = v.to.published("kv");
        co_await v.decode.revoke("kv", "x"); // who does not answer
        const auto [e, n] = co_await copy(v.from, old, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::withdrawn);
        BOOST_CHECK_THROW(v.to.published("kv"), system_error);
        co_await v.it.runtime().sleep(12s);
        co_await copy(v.from, v.to.published("kv"));
        BOOST_TEST(v.landed == v.sent);
    }(w));
}
