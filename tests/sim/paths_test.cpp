// SPDX-License-Identifier: Apache-2.0
// A rail that leads to one peer no more, and to others still: that peer's copies go other ways, and nobody else's do.
#define BOOST_TEST_MODULE paths
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of, lab::knowing, lab::with_rails;
namespace asio = boost::asio;

namespace {

/// One agent, which writes to two others on hosts of their own.
struct world : lab::peer_world {
    explicit world(std::size_t rails) : peer_world{1, rails, rails}, c{it.add_host("c", with_rails(rails))}, other{it.spawn("other", c, knowing("the secret"))}
    {
        it.run(open());
        it.run(meet(*this));
    }
    static task<> meet(world& w)
    {
        w.other_pool = co_await w.other.register_memory(dram(w.other_landed));
        co_await w.other.publish("kv", w.other_pool);
        w.there = co_await w.prefill.connect(w.other.metadata());
    }
    void play(task<> (*story)(world&)) { it.run(story(*this)); }

    sim::host c;
    agent& other;
    lab::bytes other_landed = lab::bytes(area_bytes);
    region other_pool;
    peer there;
};

task<> copy_to_both(world& w)
{
    co_await copy(w.from, w.there.published("kv"));
    co_await copy(w.from, w.to.published("kv"));
    BOOST_TEST(w.landed == w.sent);
    BOOST_TEST(w.other_landed == w.sent);
    std::fill(w.landed.begin(), w.landed.end(), std::byte{});
    std::fill(w.other_landed.begin(), w.other_landed.end(), std::byte{});
}

} // namespace

// Its errors are its own, and its silence is seen by what others land meanwhile.
BOOST_AUTO_TEST_CASE(a_dead_port_of_one_peer_costs_others_nothing)
{
    for (const auto how : {sim::rail_state::broken, sim::rail_state::dark}) {
        world w{2};
        w.b.set_rail(1, how);
        w.play([](world& v) -> task<> {
            // Both at once, so that each is seen beside the other.
            int ends = 0;
            const auto well = [&](error_code e, std::size_t) { ends += !e; };
            copy(v.from, v.to.published("kv"), well);
            copy(v.from, v.there.published("kv"), well);
            while (ends != 2) co_await v.it.runtime().sleep(100us);
            BOOST_TEST(v.landed == v.sent);
            BOOST_TEST(v.other_landed == v.sent);
            const std::uint64_t before = v.c.carried(1), there = v.b.carried(1);
            duration longest{};
            for (int i = 0; i < 50; ++i) {
                const duration begun = v.it.now();
                co_await copy_to_both(v);
                longest = std::max(longest, v.it.now() - begun);
                co_await v.it.runtime().sleep(1ms);
            }
            BOOST_TEST(v.c.carried(1) - before > 50 * area_bytes / 3); // its half of what went there
            BOOST_TEST(v.b.carried(1) - there < area_bytes);
            BOOST_TEST((longest < 2ms));
        });
    }
}

// A way that is open again is used again.
BOOST_AUTO_TEST_CASE(a_way_comes_back)
{
    world w{2};
    w.b.set_rail(1, sim::rail_state::broken);
    w.play([](world& v) -> task<> {
        co_await copy_to_both(v);
        v.b.set_rail(1, sim::rail_state::up);
        co_await v.it.runtime().sleep(2s);
        const std::uint64_t before = v.b.carried(1);
        co_await copy_to_both(v);
        BOOST_TEST(v.b.carried(1) - before > area_bytes / 3);
    });
}

// Whom no way leads to is lost in time; what waited in front of others has let them go first.
BOOST_AUTO_TEST_CASE(who_has_no_way_left_is_lost)
{
    for (const auto how : {sim::rail_state::broken, sim::rail_state::dark}) {
        world w{1};
        w.b.set_rail(0, how);
        w.play([](world& v) -> task<> {
            error_code lost;
            bool over = false;
            const duration begun = v.it.now();
            copy(v.from, v.to.published("kv"), [&](error_code e, std::size_t) { lost = e, over = true; });
            co_await v.it.runtime().sleep(10ms);
            const duration then = v.it.now();
            co_await copy(v.from, v.there.published("kv"));
            BOOST_TEST((v.it.now() - then < 10ms));
            while (!over) co_await v.it.runtime().sleep(10ms);
            BOOST_TEST(lost == errc::peer_lost);
            BOOST_TEST((v.it.now() - begun < 4s));
        });
    }
}
