// SPDX-License-Identifier: Apache-2.0
// Agents over the driver as it is over efa, by a provider that stands in for it: what the runtime makes of rails that
// nobody can sleep on, whose writes land by themselves, and are kept out by keys.
#define BOOST_TEST_MODULE fabric_efa
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include <engine.hpp>

#include "efa_standin.hpp"
#include "fabric/efa.hpp"
#include "fabric/pair.hpp"
#include "support/co_test.hpp"

using namespace wye;
using namespace std::chrono_literals;
using wye::testing::efa;
using wye::testing::finish;
using wye::testing::pair;
namespace asio = boost::asio;

BOOST_TEST_GLOBAL_FIXTURE(efa_is_there);

namespace {

/// There and back again, at offsets that are not aligned, and nothing beside it is touched.
task<> round_trips(pair& w)
{
    for (const std::size_t n : {std::size_t{1}, 4_KiB, 64_KiB + 1, 5_MiB + 3}) {
        std::fill(w.landed.begin(), w.landed.end(), std::byte{0xee});
        co_await copy(w.from.at(1, n), w.kv.sub(3, n));
        BOOST_TEST(std::equal(w.sent.begin() + 1, w.sent.begin() + 1 + static_cast<std::ptrdiff_t>(n),
                              w.landed.begin() + 3), n << " bytes");
        BOOST_TEST((w.landed[2] == std::byte{0xee} && w.landed[3 + n] == std::byte{0xee}));
        const lab::bytes before = w.sent;
        std::fill_n(w.sent.begin() + 1, n, std::byte{0x11});
        co_await copy(w.kv.sub(3, n), w.from.at(1, n));
        BOOST_TEST((w.sent == before), n << " bytes back");
    }
}

task<> tells(pair& w)
{
    copy_options o;
    o.notify = "req-17";
    co_await copy(w.from, w.kv, o);
    co_await w.there.notified({.key = "req-17", .peer = "here"});
    BOOST_TEST((w.landed == w.sent));
    co_await w.here.notify(w.to, "alone");
    co_await w.there.notified("alone");
}

task<> pages(pair& w)
{
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < 2000; ++i) batch.push_back({w.from.block(i, 4_KiB), w.kv.block(1999 - i, 4_KiB)});
    BOOST_TEST(co_await copy(batch) == 2000 * 4_KiB);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 2000; ++i)
        wrong += w.sent[i * 4_KiB + 77] != w.landed[(1999 - i) * 4_KiB + 77];
    BOOST_TEST(wrong == 0u);
}

/// Every rail in turn is given up while copies are under way, and some of theirs, if not at the same time.
task<> loses_rails(pair& w)
{
    const std::uint32_t ours = w.our_fabric.rails(), theirs = w.their_fabric.rails();
    for (std::uint32_t round = 0; round < 12; ++round) {
        std::fill(w.landed.begin(), w.landed.end(), std::byte{0});
        if (round % 3 == 2) w.there.engine().lose(w.their_fabric, (round + 1) % theirs);
        else w.here.engine().lose(w.our_fabric, round % ours);
        auto [e, n] = co_await copy(w.from, w.kv, asio::as_tuple(asio::deferred));
        BOOST_TEST(!e, e.message());
        BOOST_TEST((w.landed == w.sent), "round " << round);
        co_await w.here.runtime().sleep(20ms);
    }
}

/// Copies until something hangs on that rail of ours, which may not be back yet.
task<std::string> copies_into_the_void(pair& w, std::size_t rail)
{
    std::string wire;
    for (int i = 0; i < 200 && efa_standin_held(wire.c_str()) == 0; ++i) {
        if (i != 0) co_await w.here.runtime().sleep(5ms);
        wire = facts_of(w.our_fabric).rails[rail].address;
        efa_standin_hold(wire.c_str());
        copy_options o;
        o.notify = "done";
        co_await copy(w.from, w.kv, o);
        co_await w.there.notified("done");
    }
    co_return wire;
}

/// What a rail has it keeps: it is missed, the rail is fenced, and the copy is done by the others. What comes late
/// finds its owner's pages shut.
task<> swallows(pair& w)
{
    const std::size_t rails = w.our_fabric.rails();
    for (std::size_t round = 0; round < 2; ++round) {
        std::fill(w.landed.begin(), w.landed.end(), std::byte{0});
        const std::string wire = co_await copies_into_the_void(w, round % rails);
        BOOST_TEST((w.landed == w.sent));
        BOOST_TEST(efa_standin_held(wire.c_str()) != 0u);
        const lab::bytes used_again(w.landed.size(), std::byte{0x33});
        std::copy(used_again.begin(), used_again.end(), w.landed.begin());
        BOOST_TEST(efa_standin_arrive(wire.c_str()) == 0u);
        BOOST_TEST((w.landed == used_again));
    }
    co_await copy(w.from, w.kv);
    BOOST_TEST((w.landed == w.sent));
}

task<> unpublishes(pair& w)
{
    co_await copy(w.from, w.kv);
    co_await w.there.publish("kv", w.pool); // by other keys
    co_await copy(w.from, w.to.published("kv"));
    co_await w.there.unpublish("kv");
    std::fill(w.landed.begin(), w.landed.end(), std::byte{0x33});
    auto [e, n] = co_await copy(w.from, w.kv, asio::as_tuple(asio::deferred));
    BOOST_TEST(e, "of memory that is not published any more");
    BOOST_TEST((w.landed == lab::bytes(w.landed.size(), std::byte{0x33})));
    co_await w.there.publish("kv", w.pool);
    w.to = co_await w.here.connect(w.there.metadata());
    co_await copy(w.from, w.to.published("kv"));
    BOOST_TEST((w.landed == w.sent));
}

struct world {
    explicit world(std::size_t bytes, std::uint32_t ours, std::uint32_t theirs) : w{rt, bytes, efa(ours), efa(theirs)}
    {
        finish(rt, w.open());
    }
    runtime rt;
    pair w;
};

} // namespace

BOOST_AUTO_TEST_CASE(there_and_back)
{
    for (const auto& [ours, theirs] : {std::pair{1u, 1u}, {4u, 4u}, {3u, 1u}, {1u, 3u}}) {
        world it{8_MiB, ours, theirs};
        finish(it.rt, round_trips(it.w));
    }
}

BOOST_AUTO_TEST_CASE(told_after_the_last_byte)
{
    for (const std::uint32_t rails : {1u, 4u}) {
        world it{8_MiB, rails, rails};
        finish(it.rt, tells(it.w));
    }
}

BOOST_AUTO_TEST_CASE(batches)
{
    world it{2000 * 4_KiB, 4, 4};
    finish(it.rt, pages(it.w));
}

BOOST_AUTO_TEST_CASE(rails_are_lost)
{
    for (const auto& [ours, theirs] : {std::pair{1u, 1u}, {4u, 4u}, {3u, 1u}, {1u, 3u}}) {
        BOOST_TEST_CONTEXT(ours << " to " << theirs) {
            world it{8_MiB, ours, theirs};
            finish(it.rt, loses_rails(it.w));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_rail_swallows_what_it_has)
{
    world it{8_MiB, 4, 4};
    finish(it.rt, swallows(it.w));
}

BOOST_AUTO_TEST_CASE(the_only_rail_swallows_what_it_has)
{
    world it{1_MiB, 1, 1};
    finish(it.rt, swallows(it.w));
}

BOOST_AUTO_TEST_CASE(memory_goes_and_comes_back)
{
    world it{1_MiB, 2, 2};
    finish(it.rt, unpublishes(it.w));
}
