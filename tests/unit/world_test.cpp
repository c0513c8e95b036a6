// SPDX-License-Identifier: Apache-2.0
// The simulated world itself: time, bytes, faults, and that equal seeds are equal runs.
#define BOOST_TEST_MODULE world
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// VRAM to a file, on to an object, and back.
task<> round_trip(sim::world& world, agent& a, lab::bytes& sent, lab::bytes& landed)
{
    region from = co_await a.register_memory(wye::vram(sent.data(), sent.size()));
    region to = co_await a.register_memory(wye::vram(landed.data(), landed.size(), 1));
    file f = co_await a.open_file("f");
    bucket b = co_await a.open_bucket("sim:b");
    object o = b.object("o");
    BOOST_TEST(co_await copy(from, f.at(0, sent.size())) == sent.size());
    BOOST_TEST(co_await copy(f.at(0, sent.size()), o) == sent.size());
    BOOST_TEST(co_await copy(o, to) == sent.size());
    BOOST_TEST(world.object("b/o")->data == sent);
}

task<> sleeps(runtime& rt, duration d) { co_await rt.sleep(d); }

task<> fails(agent& a, error_code& e)
{
    lab::bytes memory(64_KiB);
    region r = co_await a.register_memory(wye::dram(memory));
    file f = co_await a.open_file("f");
    auto [error, n] = co_await copy(r, f.at(0, r.size()), asio::as_tuple(asio::deferred));
    e = error;
}

struct journey {
    std::uint64_t digest;
    duration took;
};

journey travel(std::uint64_t seed, bool troubled)
{
    sim::world world{seed};
    if (troubled)
        for (const auto what : {sim::fault_kind::shorten, sim::fault_kind::refuse, sim::fault_kind::reorder,
                                sim::fault_kind::early_data, sim::fault_kind::stall})
            world.inject({.what = what, .chance = 0.2});
    lab::bytes sent = lab::pattern(20_MiB), landed(20_MiB);
    world.run(round_trip(world, world.spawn("a"), sent, landed));
    BOOST_TEST(landed == sent);
    BOOST_TEST(world.complaints().empty());
    return {world.digest(), world.now()};
}

} // namespace

// An hour passes in no time, and exactly.
BOOST_AUTO_TEST_CASE(time_is_virtual)
{
    sim::world world;
    world.run(sleeps(world.runtime(), 1h));
    BOOST_TEST((world.now() == 1h));
}

// Bytes take the time that the slowest device needs for them.
BOOST_AUTO_TEST_CASE(devices_have_rates)
{
    const journey j = travel(1, false);
    BOOST_TEST((j.took > 40ms)); // 20 MiB twice through 1 GB/s
    BOOST_TEST((j.took < 200ms));
}

BOOST_AUTO_TEST_CASE(equal_seeds_are_equal_runs)
{
    for (const bool troubled : {false, true}) {
        const journey first = travel(7, troubled), second = travel(7, troubled);
        BOOST_TEST(first.digest == second.digest);
        BOOST_TEST((first.took == second.took));
        BOOST_TEST(travel(8, troubled).digest != first.digest);
    }
}

BOOST_AUTO_TEST_CASE(faults_strike_when_and_where_they_are_told_to)
{
    error_code e;
    sim::world world;
    world.inject({.what = sim::fault_kind::io_error, .until = 1s, .device = "disk"});
    agent& a = world.spawn("a");
    world.run(fails(a, e));
    BOOST_TEST((e == file_error(EIO)));
    world.run(sleeps(world.runtime(), 1s));
    world.run(fails(a, e));
    BOOST_TEST(!e);
}

// What waits for nothing is found out at once, and not by patience.
BOOST_AUTO_TEST_CASE(waiting_for_nothing_is_noticed)
{
    sim::world world;
    agent& a = world.spawn("a");
    const auto forever = [](agent& it) -> task<> { co_await it.notified("never"); };
    BOOST_CHECK_THROW(world.run(forever(a)), sim::stuck);
}

// An agent that goes drains what its devices have, in virtual time.
BOOST_AUTO_TEST_CASE(an_agent_drains)
{
    sim::world world;
    lab::bytes memory = lab::pattern(1_MiB);
    region r;
    file f;
    agent& a = world.spawn("a");
    const auto open = [](agent& it, lab::bytes& m, region& into, file& out) -> task<> {
        into = co_await it.register_memory(wye::dram(m));
        out = co_await it.open_file("f");
    };
    world.run(open(a, memory, r, f));
    int ends = 0;
    copy(r, f.at(0, r.size()), [&](error_code e, std::size_t) { ends += e == asio::error::operation_aborted; });
    world.settle();
    const duration before = world.now();
    world.end(a);
    BOOST_TEST((world.now() > before));
    BOOST_TEST(world.complaints().empty());
}
