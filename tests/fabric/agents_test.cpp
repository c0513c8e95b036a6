// SPDX-License-Identifier: Apache-2.0
// Agents over libfabric: what the runtime makes of it. Notifications, batches, rails that are lost in mid-transfer.
#define BOOST_TEST_MODULE fabric_agents
#include <boost/test/unit_test.hpp>

#include <cstdlib>

#include <boost/asio/as_tuple.hpp>

#include <engine.hpp>

#include "fabric/pair.hpp"
#include "support/co_test.hpp"

using namespace wye;
using namespace std::chrono_literals;
using wye::testing::finish;
using wye::testing::loopback;
using wye::testing::pair;
namespace asio = boost::asio;

namespace {

task<> tells(pair& w)
{
    const lab::bytes payload = lab::pattern(4096, 5);
    copy_options o;
    o.notify = "req-17";
    o.payload = payload;
    co_await copy(w.from, w.kv, o);
    const notification n = co_await w.there.notified({.key = "req-17", .peer = "here"});
    BOOST_TEST((w.landed == w.sent));
    BOOST_TEST((n.payload == std::vector<std::byte>(payload.begin(), payload.end())));
    co_await w.here.notify(w.to, "alone");
    co_await w.there.notified("alone");
}

task<> ten_thousand_pages(pair& w)
{
    constexpr std::size_t pages = 10'000, page = 4_KiB;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < pages; ++i)
        batch.push_back({w.from.block(i, page), w.kv.block(pages - 1 - i, page)});
    BOOST_TEST(co_await copy(batch) == pages * page);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < pages; ++i)
        wrong += !std::equal(w.sent.begin() + static_cast<std::ptrdiff_t>(i * page),
                             w.sent.begin() + static_cast<std::ptrdiff_t>((i + 1) * page),
                             w.landed.begin() + static_cast<std::ptrdiff_t>((pages - 1 - i) * page));
    BOOST_TEST(wrong == 0u);
}

/// Every rail in turn is given up while a copy is under way.
task<> loses_rails(pair& w)
{
    for (std::uint32_t round = 0; round < 12; ++round) {
        std::fill(w.landed.begin(), w.landed.end(), std::byte{0});
        bool over = false;
        error_code ended;
        copy(w.from, w.kv, [&](error_code e, std::size_t) {
            ended = e;
            over = true;
        });
        co_await w.here.runtime().sleep(1ms);
        w.here.engine().lose(w.our_fabric, round % 4);
        if (round % 3 == 2) w.there.engine().lose(w.their_fabric, (round + 1) % 4);
        while (!over) co_await w.here.runtime().sleep(1ms);
        BOOST_TEST((!ended || ended == errc::path_lost), ended.message());
        if (!ended) BOOST_TEST((w.landed == w.sent), "round " << round);
        co_await w.here.runtime().sleep(20ms);
    }
    co_await copy(w.from, w.kv);
    BOOST_TEST((w.landed == w.sent));
}

task<> whole(pair& w)
{
    co_await copy(w.from, w.kv);
    BOOST_TEST((w.landed == w.sent));
}

} // namespace

BOOST_AUTO_TEST_CASE(told_after_the_last_byte)
{
    runtime rt;
    pair w{rt, 8_MiB, loopback(2), loopback(2)};
    finish(rt, w.open());
    finish(rt, tells(w));
}

BOOST_AUTO_TEST_CASE(batches)
{
    runtime rt;
    pair w{rt, 10'000 * 4_KiB, loopback(4), loopback(4)};
    finish(rt, w.open());
    finish(rt, ten_thousand_pages(w));
}

BOOST_AUTO_TEST_CASE(rails_are_lost_in_mid_transfer)
{
    runtime rt;
    pair w{rt, 32_MiB, loopback(4), loopback(4)};
    finish(rt, w.open());
    finish(rt, loses_rails(w));
}

// Endpoints close and memory is registered on the helper thread, as with a NIC that takes its time.
BOOST_AUTO_TEST_CASE(off_the_loop)
{
    runtime rt;
    libfabric_options o = loopback(4);
    o.always_off_loop = true;
    pair w{rt, 32_MiB, o, o};
    finish(rt, w.open());
    finish(rt, loses_rails(w));
}

// A gigabyte takes 3 GB of memory and some time: for who asks.
BOOST_AUTO_TEST_CASE(one_gigabyte)
{
    if (!std::getenv("WYE_SLOW_TESTS")) {
        BOOST_TEST_MESSAGE("left out: WYE_SLOW_TESTS is not set");
        return;
    }
    runtime rt;
    pair w{rt, 1_GiB, loopback(4), loopback(4)};
    finish(rt, w.open());
    finish(rt, whole(w));
}
