// SPDX-License-Identifier: Apache-2.0
// A little with its notification goes in one message; and all that holds of copies holds of it.
#define BOOST_TEST_MODULE put
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of, lab::telling;
using world = lab::peer_world;
namespace asio = boost::asio;

namespace {

/// Bytes that rails have carried, but for messages.
std::uint64_t carried(const world& w)
{
    std::uint64_t all = 0;
    for (std::uint32_t r = 0; r < 4; ++r) all += w.a.carried(r);
    return all;
}

/// A page of the pool, and its like here.
slice page(const world& v, std::size_t i) { return v.to.published("kv").block(i, 4_KiB); }
slice source(const world& v, std::size_t i) { return v.from.block(i, 4_KiB); }
bool landed(const world& v, std::size_t i)
{
    const auto at = static_cast<std::ptrdiff_t>(i * 4_KiB);
    return std::equal(v.sent.begin() + at, v.sent.begin() + at + 4096, v.landed.begin() + at);
}

/// What becomes of one copy.
struct ending {
    error_code e;
    std::size_t n = 0;
    bool over = false;
    auto handler()
    {
        return [this](error_code error, std::size_t bytes) {
            e = error;
            n = bytes;
            over = true;
        };
    }
};

task<> until(world& v, const bool& over)
{
    while (!over) co_await v.it.runtime().sleep(10us);
}

} // namespace

// There and back once: 10 us each way.
BOOST_AUTO_TEST_CASE(a_page_and_its_word_are_one_message)
{
    world w;
    w.run([](world& v) -> task<> {
        const duration begun = v.it.now();
        const auto payload = lab::pattern(64, 5);
        const copy_options o = telling("page", payload);
        const std::size_t n = co_await copy(source(v, 3), page(v, 3), o);
        BOOST_TEST((v.it.now() - begun < 30us));
        BOOST_TEST(n == 4_KiB);
        BOOST_TEST(carried(v) == 0u);
        const notification told = co_await v.decode.notified({.key = "page", .peer = "prefill"});
        BOOST_TEST((told.payload == std::vector<std::byte>(payload.begin(), payload.end())));
        BOOST_TEST(!told.aborted);
        BOOST_TEST(landed(v, 3));
        const lab::bytes rest(v.landed.begin() + 16'384, v.landed.end());
        BOOST_TEST(rest == lab::bytes(rest.size()));
    });
}

// What is too long for a message, or has a deadline, or is a list, goes as it always did.
BOOST_AUTO_TEST_CASE(what_does_not_fit_goes_its_own_way)
{
    world w;
    w.run([](world& v) -> task<> {
        const copy_options o = telling("long");
        co_await copy(v.from.at(0, 8_KiB), v.to.published("kv").sub(0, 8_KiB), o);
        BOOST_TEST(carried(v) == 8_KiB);
        copy_options timed = telling("timed");
        timed.deadline = 1s;
        co_await copy(source(v, 4), page(v, 4), timed);
        BOOST_TEST(carried(v) == 12_KiB);
        const transfer list[] = {{source(v, 5), page(v, 5)}, {source(v, 6), page(v, 6)}};
        co_await copy(std::span<const transfer>{list}, telling("list"));
        BOOST_TEST(carried(v) == 20_KiB);
        for (const char* key : {"long", "timed", "list"}) co_await v.decode.notified(key);
        for (const std::size_t i : {0u, 1u, 4u, 5u, 6u}) BOOST_TEST(landed(v, i));
    });
}

BOOST_AUTO_TEST_CASE(nothing_may_be_put_with_a_word)
{
    world w;
    w.run([](world& v) -> task<> {
        const std::size_t n = co_await copy(v.from.at(0, 0), v.to.published("kv").sub(0, 0), telling("empty"));
        BOOST_TEST(n == 0u);
        co_await v.decode.notified("empty");
    });
}

// A crowd of them neither fails nor piles up copies of its memory: who finds no room in the messages under way writes.
BOOST_AUTO_TEST_CASE(a_crowd_of_them_arrives)
{
    world w;
    w.run([](world& v) -> task<> {
        std::vector<ending> all(1000);
        for (std::size_t i = 0; i < all.size(); ++i) copy(source(v, i), page(v, i), telling("crowd"), all[i].handler());
        co_await v.decode.notified({.key = "crowd", .count = 1000});
        for (std::size_t i = 0; i < all.size(); ++i) BOOST_REQUIRE(landed(v, i));
        for (const ending& o : all) {
            co_await until(v, o.over);
            BOOST_TEST(!o.e);
        }
        BOOST_TEST(carried(v) != 0u);
    });
}

// Messages that are lost, doubled and late, of which some are sent again by another rail: each page lands once, and what its
// owner makes of it then stays.
BOOST_AUTO_TEST_CASE(a_page_that_is_used_again_stays_as_it_is)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{seed};
        w.it.inject({.what = sim::fault_kind::lose, .chance = 0.2, .device = "nic"});
        w.it.inject({.what = sim::fault_kind::twice, .chance = 0.3, .device = "nic", .extent = 20ms});
        w.it.inject({.what = sim::fault_kind::reorder, .chance = 0.3, .device = "nic", .extent = 2ms});
        w.run([](world& v) -> task<> {
            std::vector<ending> all(100);
            for (std::size_t i = 0; i < all.size(); ++i) {
                const std::string key = "page " + std::to_string(i);
                copy(source(v, i), page(v, i), telling(key), all[i].handler());
                co_await v.decode.notified(key);
                BOOST_TEST(landed(v, i));
                std::fill_n(v.landed.begin() + static_cast<std::ptrdiff_t>(i * 4_KiB), 4_KiB, std::byte{0xee});
            }
            co_await v.it.runtime().sleep(100ms);
            for (const ending& o : all) BOOST_TEST((o.over && !o.e && o.n == 4_KiB));
            const lab::bytes used(all.size() * 4_KiB, std::byte{0xee});
            BOOST_TEST(std::equal(used.begin(), used.end(), v.landed.begin()));
        });
    }
}

// Once it has been said it cannot be taken back: it ends as the peer says.
BOOST_AUTO_TEST_CASE(what_was_said_is_not_taken_back)
{
    world w;
    w.run([](world& v) -> task<> {
        asio::cancellation_signal stop;
        ending o;
        copy(source(v, 0), page(v, 0), telling("late"), asio::bind_cancellation_slot(stop.slot(), o.handler()));
        stop.emit(asio::cancellation_type::all);
        const notification n = co_await v.decode.notified("late");
        BOOST_TEST(!n.aborted);
        BOOST_TEST(landed(v, 0));
        co_await until(v, o.over);
        BOOST_TEST(!o.e);
    });
}

// A region that is published for reading takes none, though its bytes would fit.
BOOST_AUTO_TEST_CASE(access_holds_for_them_too)
{
    world w;
    w.run([](world& v) -> task<> {
        lab::bytes more(64_KiB);
        region extra = co_await v.decode.register_memory(dram(more));
        co_await v.decode.publish("extra", extra, access::read_only);
        const peer again = co_await v.prefill.connect(v.decode.metadata());
        const auto [e, n] =
            co_await copy(source(v, 0), again.published("extra").sub(0, 4_KiB), telling("no"), asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::read_only);
        co_await v.decode.unpublish("extra");
    });
}

// Publishing anew waits for what is under way, which ends well: by the old epoch until then, and by none after.
BOOST_AUTO_TEST_CASE(publishing_anew_waits_for_them)
{
    world w;
    w.run([](world& v) -> task<> {
        ending o;
        const slice old = page(v, 1);
        lab::bytes other(area_bytes);
        region fresh = co_await v.decode.register_memory(dram(other));
        copy(source(v, 1), old, telling("old"), o.handler());
        co_await v.decode.publish("kv", fresh);
        BOOST_TEST(o.over);
        BOOST_TEST(!o.e);
        BOOST_TEST(landed(v, 1));
        const auto [e, n] = co_await copy(source(v, 1), old, telling("older"), asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::stale_epoch);
        co_await copy(source(v, 1), page(v, 1), telling("new"));
        BOOST_TEST(std::equal(other.begin() + 4096, other.begin() + 8192, v.sent.begin() + 4096));
        co_await v.decode.notified("new");
        v.pool = std::move(fresh);
        co_await v.decode.unpublish("kv");
        v.pool.reset();
    });
}

// The region goes without a word while they are on their way, in messages that are lost and doubled: nothing lands, nobody
// is told of any, and each ends in an error.
BOOST_AUTO_TEST_CASE(a_region_that_goes_takes_none)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{seed};
        w.it.inject({.what = sim::fault_kind::lose, .chance = 0.3, .device = "nic"});
        w.it.inject({.what = sim::fault_kind::twice, .chance = 0.3, .device = "nic", .extent = 20ms});
        w.run([](world& v) -> task<> {
            std::vector<ending> all(200);
            for (std::size_t i = 0; i < 20; ++i) copy(source(v, i), page(v, i), telling("gone"), all[i].handler());
            co_await v.it.runtime().sleep(1us);
            v.pool.reset();
            for (std::size_t i = 0; i < 20; ++i) co_await until(v, all[i].over);
            for (std::size_t i = 0; i < 20; ++i) BOOST_TEST(all[i].e == errc::withdrawn);
            for (std::size_t i = 0; i < 20; ++i) BOOST_TEST(all[i].n == 0u);
            BOOST_TEST(v.landed == lab::bytes(area_bytes));
            const error_code e = co_await failure_of(drop(v.decode.notified({.key = "gone", .deadline = 1s})));
            BOOST_TEST(e == errc::deadline_missed);
            // And the connection goes on.
            for (int i = 0; i < 200; ++i) co_await v.prefill.notify(v.to, "on");
            co_await v.decode.notified({.key = "on", .count = 200});
        });
    }
}

// Who was sent away and was too busy to hear of it is late.
BOOST_AUTO_TEST_CASE(who_was_revoked_puts_nothing)
{
    agent_options o = lab::knowing("the secret");
    o.peers.drain_within = 50ms;
    world w{1, 4, 4, o};
    w.run([](world& v) -> task<> {
        ending late;
        const slice there = page(v, 2);
        for (std::uint32_t r = 0; r < 4; ++r) v.a.set_rail(r, sim::rail_state::dark); // what it says is not heard
        copy(source(v, 2), there, telling("late"), late.handler());
        co_await v.decode.revoke("kv", "prefill");
        for (std::uint32_t r = 0; r < 4; ++r) v.a.set_rail(r, sim::rail_state::up);
        co_await until(v, late.over);
        BOOST_TEST(late.e == errc::withdrawn);
        BOOST_TEST(v.landed == lab::bytes(area_bytes));
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "late", .deadline = 1s})));
        BOOST_TEST(e == errc::deadline_missed);
    });
}

// A peer that says nothing any more ends them.
BOOST_AUTO_TEST_CASE(they_end_with_their_peer)
{
    world w;
    w.run([](world& v) -> task<> {
        ending o;
        v.it.stall(v.decode, 60s);
        const duration begun = v.it.now();
        copy(source(v, 0), page(v, 0), telling("never"), o.handler());
        co_await until(v, o.over);
        BOOST_TEST(o.e == errc::peer_lost);
        BOOST_TEST((v.it.now() - begun < 5s));
    });
}
