// SPDX-License-Identifier: Apache-2.0
// Agents that have more than one fabric in common: the nearest is taken that both sides admit.
#define BOOST_TEST_MODULE ways
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include "support/near_fabric.hpp"
#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of;
using wye::testing::near_fabric;
namespace asio = boost::asio;

namespace {

/// Two agents on two hosts with a network between them, and a shorter way beside it.
struct short_cut {
    short_cut() : ours{add(w.prefill)}, theirs{add(w.decode)} {}
    near_fabric& add(agent& to) { return static_cast<near_fabric&>(to.add(std::make_unique<near_fabric>(around))); }
    wye::testing::neighbourhood around;
    lab::peer_world w;
    near_fabric& ours;
    near_fabric& theirs;
};

task<> writes(lab::peer_world& w)
{
    BOOST_TEST(co_await copy(w.from, w.to.published("kv")) == area_bytes);
    BOOST_TEST(w.landed == w.sent);
    co_await copy(w.from.at(0, 4_KiB), w.to.published("kv").sub(0, 4_KiB), lab::telling("page"));
    co_await w.decode.notified("page");
}

} // namespace

BOOST_AUTO_TEST_CASE(the_nearest_is_taken)
{
    short_cut s;
    s.w.run(writes);
    BOOST_TEST(s.ours.moved != 0u);
}

BOOST_AUTO_TEST_CASE(one_that_is_refused_here_is_passed_over)
{
    short_cut s;
    s.ours.refuses = errc::no_route;
    s.w.run(writes);
    BOOST_TEST(s.ours.moved == 0u);
}

// The other side cannot come back by it, and so is not heard of.
BOOST_AUTO_TEST_CASE(one_that_is_refused_there_is_given_its_share_of_the_time)
{
    short_cut s;
    s.theirs.refuses = errc::no_route;
    const duration begun = s.w.it.now();
    s.w.run(writes);
    BOOST_TEST(s.ours.moved == 0u);
    BOOST_TEST((s.w.it.now() - begun < 4s));
}

BOOST_AUTO_TEST_CASE(one_that_is_known_to_be_refused_there_takes_no_time)
{
    short_cut s;
    s.theirs.deaf = true;
    s.w.it.run([](short_cut& v) -> task<> {
        v.w.pool = co_await v.w.decode.register_memory(dram(v.w.landed));
        co_await v.w.decode.publish("kv", v.w.pool);
        const duration begun = v.w.it.now();
        v.ours.lose(1);
        v.w.to = co_await v.w.prefill.connect(v.w.decode.metadata());
        BOOST_TEST((v.w.it.now() - begun < 1s));
        v.w.from = co_await v.w.prefill.register_memory(dram(v.w.sent));
        co_await writes(v.w);
    }(s));
    BOOST_TEST(s.ours.moved == 0u);
}

// By every way, and in the time that `connect` has.
BOOST_AUTO_TEST_CASE(none_that_leads_there_is_an_error)
{
    short_cut s;
    s.theirs.deaf = true;
    s.w.it.run([](short_cut& v) -> task<> {
        v.w.pool = co_await v.w.decode.register_memory(dram(v.w.landed));
        co_await v.w.decode.publish("kv", v.w.pool);
        const std::vector<std::byte> metadata = v.w.decode.metadata();
        v.w.it.crash(v.w.decode);
        const duration begun = v.w.it.now();
        const error_code e = co_await failure_of(drop(v.w.prefill.connect(metadata)));
        BOOST_TEST(e == errc::peer_lost);
        BOOST_TEST((v.w.it.now() - begun < 6s));
    }(s));
}

// Nothing leads there any more: what waits is told at once, and the next connection goes by the other way.
BOOST_AUTO_TEST_CASE(one_that_breaks_is_not_waited_for)
{
    short_cut s;
    s.w.it.run(s.w.open());
    s.w.it.run([](short_cut& v) -> task<> {
        co_await writes(v.w);
        const std::uint64_t moved = v.ours.moved;
        const duration begun = v.w.it.now();
        v.ours.lose(1);
        v.ours.refuses = errc::no_route;
        while (v.w.to.alive()) co_await v.w.prefill.runtime().sleep(1ms);
        BOOST_TEST((v.w.it.now() - begun < 100ms));
        const auto [e, n] = co_await copy(v.w.from, v.w.from, asio::as_tuple(asio::deferred)); // it goes on
        BOOST_TEST(!e);
        v.w.to = {};
        v.w.to = co_await v.w.prefill.connect(v.w.decode.metadata());
        co_await writes(v.w);
        BOOST_TEST(v.ours.moved == moved);
    }(s));
}
