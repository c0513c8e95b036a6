// SPDX-License-Identifier: Apache-2.0
// What is served when rails, agents and what is published come to an end meanwhile.
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "support/served_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::ending, lab::knowing, lab::telling, lab::verified;
using world = lab::served_world;
namespace asio = boost::asio;

// Rails that are lost and messages that are lost, late and twice: all arrives, once, and what is used again stays.
BOOST_AUTO_TEST_CASE(rails_may_die_meanwhile)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{seed};
        w.it.inject({.what = sim::fault_kind::lose, .chance = 0.1, .device = "nic"});
        w.it.inject({.what = sim::fault_kind::twice, .chance = 0.2, .device = "nic", .extent = 5ms});
        w.it.inject({.what = sim::fault_kind::reorder, .chance = 0.2, .device = "nic", .extent = 1ms});
        w.it.inject({.what = sim::fault_kind::dark, .chance = 0.01, .device = "nic", .extent = 20ms, .seed = seed});
        w.run([](world& v) -> task<> {
            for (int round = 0; round < 3; ++round) {
                const slice there = v.to.published("disk").sub(0, area_bytes);
                co_await copy(v.from, there, verified());
                BOOST_TEST(v.content() == v.sent);
                co_await copy(there, v.back, verified());
                BOOST_TEST(v.read == v.sent);
                co_await copy(v.from, v.to.object("cache", "k"), verified());
                BOOST_TEST(v.stored("k", v.sent));
                std::fill(v.read.begin(), v.read.end(), std::byte{0xee});
                co_await v.it.runtime().sleep(50ms);
                BOOST_TEST(v.read == lab::bytes(area_bytes, std::byte{0xee}));
            }
        });
    }
}

// Cancelled at any point, or late: what ended is quiescent on both sides, and an object is the old one or the new one.
BOOST_AUTO_TEST_CASE(cancelled_at_any_point)
{
    for (std::uint64_t seed = 1; seed <= 120; ++seed) {
        world w{seed};
        w.run([](world& v) -> task<> {
            const lab::bytes old(100, std::byte{1});
            const auto at = static_cast<std::uint64_t>(v.it.events()) * 7919; // another moment on each seed
            v.it.put("cache/k", {old, 0, false});
            asio::cancellation_signal stop[3];
            std::vector<ending> all(3);
            const slice there = v.to.published("disk").sub(0, area_bytes);
            co_await copy(v.from, there);
            copy(v.from, v.to.object("cache", "k"), asio::bind_cancellation_slot(stop[0].slot(), all[0].handler()));
            copy(there, v.back, asio::bind_cancellation_slot(stop[1].slot(), all[1].handler()));
            copy_options o = telling("cancelled");
            o.deadline = 200us;
            copy(v.from, there.sub(area_bytes, area_bytes), o, all[2].handler());
            co_await v.it.runtime().sleep(duration{static_cast<duration::rep>(at % 700'000)});
            for (auto& s : stop) s.emit(asio::cancellation_type::all);
            co_await v.until(all[1].over);
            std::fill(v.read.begin(), v.read.end(), std::byte{0xee});
            co_await v.until_all(all);
            if (all[0].e) BOOST_TEST(v.stored("k", old));
            else BOOST_TEST(v.stored("k", v.sent));
            if (all[2].e) BOOST_TEST((all[2].e == errc::deadline_missed || all[2].e == asio::error::operation_aborted));
            const lab::bytes before = v.content();
            co_await v.it.runtime().sleep(20ms);
            BOOST_TEST(v.content() == before);
            BOOST_TEST(v.read == lab::bytes(area_bytes, std::byte{0xee}));
            // And all goes on.
            co_await copy(there, v.back);
            co_await copy(v.from, v.to.object("cache", "k"));
            BOOST_TEST(v.stored("k", v.sent));
        });
    }
}

// The owner says nothing any more. What it was asked for ends when it is locked out: should it go on later, nothing of it arrives.
BOOST_AUTO_TEST_CASE(an_owner_that_is_lost_is_locked_out)
{
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        world w{seed};
        w.run([](world& v) -> task<> {
            const slice there = v.to.published("disk").sub(0, area_bytes);
            co_await copy(v.from, there);
            std::vector<ending> all(3);
            copy(there, v.back, all[0].handler());
            copy(v.from, v.to.object("cache", "k"), all[1].handler());
            co_await v.it.runtime().sleep(duration{static_cast<duration::rep>(1 + v.it.digest() % 600'000)});
            v.it.stall(v.decode, 20s);
            copy(v.from, there, all[2].handler());
            const duration begun = v.it.now();
            co_await v.until(all[0].over);
            std::fill(v.read.begin(), v.read.end(), std::byte{0xee});
            const bool came = !all[0].e;
            co_await v.until_all(all);
            BOOST_TEST((v.it.now() - begun < 5s));
            BOOST_TEST((came || all[0].e == errc::peer_lost), all[0].e.message());
            BOOST_TEST(all[2].e == errc::peer_lost);
            co_await v.it.runtime().sleep(30s);
            BOOST_TEST(v.read == lab::bytes(area_bytes, std::byte{0xee}));
            const auto [e, n] = co_await copy(there, v.back, asio::as_tuple(asio::deferred));
            BOOST_TEST(e == errc::peer_lost);
            v.to.reset();
            v.to = co_await v.prefill.connect(v.decode.metadata());
            co_await copy(v.from, v.to.published("disk").sub(0, area_bytes));
            BOOST_TEST(v.content() == v.sent);
        });
    }
}

// Who asks says nothing any more: what runs for it ends, what it has open is given up, and the owner's names are its own again.
BOOST_AUTO_TEST_CASE(who_asks_and_is_lost_leaves_nothing)
{
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        world w{seed};
        w.run([](world& v) -> task<> {
            std::vector<ending> all(2);
            copy(v.from, v.to.published("disk").sub(0, area_bytes), all[0].handler());
            copy(v.from, v.to.object("cache", "k"), all[1].handler());
            co_await v.it.runtime().sleep(duration{static_cast<duration::rep>(1 + v.it.digest() % 600'000)});
            v.it.stall(v.prefill, 20s);
            co_await v.decode.unpublish("disk");
            co_await v.decode.unpublish("cache");
            const lab::bytes before = v.content();
            const bool whole = v.stored("k", v.sent);
            v.disk = file{};
            v.store = bucket{};
            co_await v.it.runtime().sleep(30s);
            BOOST_TEST(v.content() == before);
            BOOST_TEST((whole || !v.it.object("cache/k")));
            co_await v.until_all(all);
        });
    }
}

// An agent that goes does not wait for whom it has asked; and whoever asked it is told.
BOOST_AUTO_TEST_CASE(an_agent_that_goes_waits_for_nobody)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{seed};
        w.run([](world& v) -> task<> {
            std::vector<ending> all(3);
            const slice there = v.to.published("disk").sub(0, area_bytes);
            copy(v.from, there, all[0].handler());
            copy(v.from, v.to.object("cache", "k"), all[1].handler());
            copy(there, v.back, all[2].handler());
            co_await v.it.runtime().sleep(duration{static_cast<duration::rep>(1 + v.it.digest() % 400'000)});
            v.it.stall(v.decode, 20s);
            const duration begun = v.it.now();
            v.it.end(v.prefill);
            BOOST_TEST((v.it.now() - begun < 1s));
            std::fill(v.read.begin(), v.read.end(), std::byte{0xee});
            co_await v.it.runtime().sleep(30s);
            BOOST_TEST(v.read == lab::bytes(area_bytes, std::byte{0xee}));
            co_await v.decode.unpublish("cache");
        });
        BOOST_TEST(w.b.held("store") == 0u);
    }
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        world w{seed};
        w.run([](world& v) -> task<> {
            std::vector<ending> all(2);
            copy(v.from, v.to.published("disk").sub(0, area_bytes), all[0].handler());
            copy(v.from, v.to.object("cache", "k"), all[1].handler());
            co_await v.it.runtime().sleep(duration{static_cast<duration::rep>(1 + v.it.digest() % 400'000)});
            v.it.end(v.decode);
            co_await v.until_all(all);
            for (const ending& e : all) BOOST_TEST((!e.e || e.e == errc::peer_lost), e.e.message());
            BOOST_TEST((!v.it.object("cache/k") || v.stored("k", v.sent)));
        });
    }
}

// Publishing anew waits for what is under way, which ends well; by the old epoch nothing begins any more.
BOOST_AUTO_TEST_CASE(publishing_anew_waits_for_what_is_under_way)
{
    world w;
    w.run([](world& v) -> task<> {
        std::vector<ending> all(2);
        const slice old = v.to.published("disk").sub(0, area_bytes);
        const object older = v.to.object("cache", "old");
        copy(v.from, old, all[0].handler());
        copy(v.from, v.to.object("cache", "k"), all[1].handler());
        co_await v.it.runtime().sleep(30us);
        file fresh = co_await v.decode.open_file("/fresh");
        co_await v.decode.publish("disk", fresh);
        BOOST_TEST(all[0].over);
        BOOST_TEST(!all[0].e);
        BOOST_TEST(v.content() == v.sent);
        co_await v.decode.publish("cache", v.store);
        BOOST_TEST((all[1].over && !all[1].e));
        BOOST_TEST(v.stored("k", v.sent));
        const auto [e, n] = co_await copy(v.from, old, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::stale_epoch);
        const auto [f, m] = co_await copy(v.from, older, asio::as_tuple(asio::deferred));
        BOOST_TEST(f == errc::stale_epoch);
        co_await copy(v.from, v.to.published("disk").sub(0, area_bytes));
        BOOST_TEST(*v.b.file("/fresh") == v.sent);
        co_await v.decode.unpublish("disk");
    });
}

// Who does not hear that it is sent away is stopped; when `revoke` returns nothing of it moves.
BOOST_AUTO_TEST_CASE(who_is_revoked_is_stopped)
{
    agent_options o = knowing("the secret");
    o.peers.drain_within = 20ms;
    world w{1, o};
    w.run([](world& v) -> task<> {
        v.b.hold("disk");
        std::vector<ending> all(2);
        copy(v.from, v.to.published("disk").sub(0, area_bytes), all[0].handler());
        co_await v.it.runtime().sleep(300us);
        copy(v.from, v.to.object("cache", "k"), all[1].handler());
        co_await v.it.runtime().sleep(100us);
        for (std::uint32_t r = 0; r < 4; ++r) v.a.set_rail(r, sim::rail_state::dark);
        v.it.at(v.it.now() + 60ms, [&v] { v.b.hold("disk", false); });
        co_await v.decode.revoke("disk", "prefill");
        const lab::bytes before = v.content();
        co_await v.decode.revoke("cache", "prefill");
        for (std::uint32_t r = 0; r < 4; ++r) v.a.set_rail(r, sim::rail_state::up);
        co_await v.until_all(all);
        BOOST_TEST(all[0].e == errc::withdrawn, all[0].e.message());
        BOOST_TEST(all[1].e == errc::withdrawn, all[1].e.message());
        BOOST_TEST(v.content() == before);
        BOOST_TEST(!v.it.object("cache/k"));
    });
}

// A bucket that goes without a word, and a region that was lent.
BOOST_AUTO_TEST_CASE(what_goes_is_not_reached)
{
    world w;
    w.run([](world& v) -> task<> {
        std::vector<ending> all(1);
        copy(v.from, v.to.object("cache", "k"), all[0].handler());
        co_await v.it.runtime().sleep(100us);
        v.store = bucket{};
        co_await v.until_all(all);
        BOOST_TEST(all[0].e == errc::withdrawn, all[0].e.message());
        BOOST_TEST(!v.it.object("cache/k"));
        for (int i = 0; i < 20; ++i) {
            lab::bytes once = lab::pattern(100'000, 3);
            region r = co_await v.prefill.register_memory(dram(once));
            co_await copy(r, v.to.published("disk").sub(0, 100'000));
        }
    });
}
