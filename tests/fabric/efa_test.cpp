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

namespace {

/// Two GPUs, the first near the first two of four rails.
topology two_gpus()
{
    topology t;
    for (int i = 0; i < 4; ++i)
        t.rails.push_back({"standin_" + std::to_string(i), "0000:0" + std::to_string(i) + ":00.0", i / 2, 100});
    t.gpus = {{"0000:10:00.0", 0, {"standin_0", "standin_1"}}, {"0000:20:00.0", 1, {"standin_2", "standin_3"}}};
    return t;
}

/// An agent whose memory is a GPU's, in a world where NICs reach that, or in pieces of some size only.
struct gpu_world {
    explicit gpu_world(std::size_t reach)
    {
        efa_standin_reach_gpu_memory(reach);
        libfabric_options o = efa(4);
        o.near = two_gpus();
        for (agent* a : {&here, &there}) a->add(drivers::vram_standin());
        ours = &here.add(make_libfabric(o));
        theirs = &there.add(make_libfabric(o));
        finish(rt, open());
    }
    ~gpu_world() { efa_standin_reach_gpu_memory(0); }
    task<> open()
    {
        from = co_await here.register_memory(vram(sent.data(), sent.size(), 0));
        dram_from = co_await here.register_memory(dram(plain));
        pool = co_await there.register_memory(vram(landed.data(), landed.size(), 1));
    }
    task<> meet()
    {
        co_await there.publish("kv", pool);
        to = co_await here.connect(there.metadata());
        kv = to.published("kv");
    }
    std::size_t carried(const fabric& f, std::size_t rail) const
    {
        return efa_standin_carried(facts_of(f).rails[rail].address.c_str());
    }

    static constexpr std::size_t bytes = 8_MiB;
    lab::bytes sent = lab::pattern(bytes, 1), plain = lab::pattern(bytes, 2), landed = lab::bytes(bytes);
    runtime rt;
    agent here{rt, "here", wye::testing::knowing("secret")}, there{rt, "there", wye::testing::knowing("secret")};
    fabric *ours = nullptr, *theirs = nullptr;
    region from, dram_from, pool;
    peer to;
    slice kv;
};

task<> gpu_to_gpu(gpu_world& w)
{
    co_await w.meet();
    BOOST_TEST((w.kv.tier() == tier::vram));
    BOOST_TEST(w.here.explain(w.from, w.kv).hops.size() == 1u);
    co_await copy(w.from, w.kv);
    BOOST_TEST((w.landed == w.sent));
    for (std::size_t r = 0; r < 4; ++r) BOOST_TEST((w.carried(*w.ours, r) != 0) == (r < 2), "rail " << r);
    co_await copy(w.dram_from, w.kv);
    BOOST_TEST((w.landed == w.plain));
    co_await copy(w.kv.sub(1, 100), w.from.at(3, 100));
    BOOST_TEST(std::equal(w.sent.begin() + 3, w.sent.begin() + 103, w.plain.begin() + 1));
}

/// What NICs do not reach goes through memory that they do.
task<> gpu_out_of_reach(gpu_world& w)
{
    lab::bytes memory(w.bytes);
    region plain = co_await w.there.register_memory(dram(memory));
    co_await w.there.publish("plain", plain);
    w.to = co_await w.here.connect(w.there.metadata());
    const slice kv = w.to.published("plain");
    BOOST_TEST(w.here.explain(w.from, kv).hops.size() == 2u);
    co_await copy(w.from, kv);
    BOOST_TEST((memory == w.sent));
    co_await w.there.unpublish("plain");
}

} // namespace

BOOST_AUTO_TEST_CASE(gpu_memory_goes_in_one_hop_over_the_rails_near_it)
{
    gpu_world w{gpu_world::bytes};
    BOOST_TEST(facts_of(*w.ours).gpu_memory);
    finish(w.rt, gpu_to_gpu(w));
}

BOOST_AUTO_TEST_CASE(gpu_memory_that_is_refused_goes_through_dram)
{
    for (const std::size_t reach : {std::size_t{0}, 1_MiB}) {
        gpu_world w{reach};
        BOOST_TEST(facts_of(*w.ours).gpu_memory == (reach != 0));
        finish(w.rt, gpu_out_of_reach(w));
    }
}
