// SPDX-License-Identifier: Apache-2.0
// Agents on different hosts: they come to know each other, reach each other, and survive each other.
#define BOOST_TEST_MODULE peers
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>

#include "peers/wire.hpp"
#include "support/peer_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::failure_of, lab::knowing, lab::telling, lab::with_rails;
using world = lab::peer_world;
namespace asio = boost::asio;

BOOST_AUTO_TEST_CASE(writes_and_reads_what_is_published)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice kv = v.to.published("kv");
        BOOST_TEST(kv.length == area_bytes);
        BOOST_TEST(co_await copy(v.from, kv) == area_bytes);
        BOOST_TEST(v.landed == v.sent);
        std::fill(v.sent.begin(), v.sent.end(), std::byte{0});
        BOOST_TEST(co_await copy(kv.sub(1_MiB, 2_MiB), v.from.at(0, 2_MiB)) == 2_MiB);
        BOOST_TEST(std::equal(v.sent.begin(), v.sent.begin() + 2_MiB, v.landed.begin() + 1_MiB));
    });
}

BOOST_AUTO_TEST_CASE(whoever_does_not_know_the_secret_stays_outside)
{
    world w;
    w.run([](world& v) -> task<> {
        agent& stranger = v.it.spawn("stranger", v.a, knowing("another secret"));
        error_code e = co_await failure_of(drop(stranger.connect(v.decode.metadata())));
        BOOST_TEST(e == errc::not_trusted);
        agent& fool = v.it.spawn("fool", v.b, knowing("another secret"));
        e = co_await failure_of(drop(v.prefill.connect(fool.metadata())));
        BOOST_TEST(e == errc::not_trusted);
    });
}

BOOST_AUTO_TEST_CASE(metadata_is_input)
{
    world w;
    w.run([](world& v) -> task<> {
        std::vector<std::byte> blob = v.decode.metadata();
        blob.pop_back();
        error_code e = co_await failure_of(drop(v.prefill.connect(blob)));
        BOOST_TEST(e == errc::bad_metadata);
        e = co_await failure_of(drop(v.decode.connect(v.decode.metadata())));
        BOOST_TEST(e == errc::not_supported);
    });
}

// Metadata of an earlier life of whoever listens there now is refused by name.
BOOST_AUTO_TEST_CASE(metadata_of_an_earlier_life_is_stale)
{
    world w;
    w.run([](world& v) -> task<> {
        wye::detail::wire::metadata m = *wye::detail::wire::decode_metadata(v.decode.metadata());
        ++m.life.high;
        const error_code e = co_await failure_of(drop(v.prefill.connect(wye::detail::wire::encode(m))));
        BOOST_TEST(e == errc::stale_metadata);
    });
}

// A peer that is killed: what waits for it is told in time, and what it had is over.
BOOST_AUTO_TEST_CASE(a_peer_that_dies_is_lost_in_time)
{
    world w;
    w.run([](world& v) -> task<> {
        const duration begun = v.it.now();
        v.it.crash(v.decode);
        const auto [e, n] = co_await copy(v.from, v.to.published("kv"), asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::peer_lost);
        BOOST_TEST((v.it.now() - begun < 4s));
        BOOST_TEST(!v.to.alive());
        const error_code f = co_await failure_of(v.prefill.notify(v.to, "anybody"));
        BOOST_TEST(f == errc::peer_lost);
    });
}

// An engine that pauses as it said it may is not lost.
BOOST_AUTO_TEST_CASE(a_pause_that_was_announced_is_no_loss)
{
    agent_options o = knowing("the secret");
    o.peers.longest_gap = 5s;
    world w{1, 4, 4, o};
    w.run([](world& v) -> task<> {
        v.it.stall(v.decode, 5s);
        co_await v.prefill.notify(v.to, "there you are");
        BOOST_TEST(v.to.alive());
    });
}

// Neither are the rails, where nothing lands without its processor.
BOOST_AUTO_TEST_CASE(no_rail_is_to_blame_for_a_pause)
{
    static constexpr auto pausing = [](world& v, duration into) -> task<> {
        flight f = start(v.from, v.to.published("kv"));
        co_await v.it.runtime().sleep(into);
        v.it.stall(v.decode, 5s);
        const duration begun = v.it.now();
        const outcome o = co_await f.drained();
        BOOST_TEST(!o.error, o.error.message());
        BOOST_TEST((v.it.now() - begun >= 5s && v.it.now() - begun < 6s));
        BOOST_TEST(v.landed == v.sent);
        for (const driver_metrics& d : v.prefill.measure().drivers)
            if (d.name == "nic") BOOST_TEST(d.errors == 0);
    };
    for (const auto into : {0us, 20us, 100us}) {
        agent_options o = knowing("the secret");
        o.peers.longest_gap = 6s;
        sim::host_options host = with_rails(2);
        host.nic.by_processor = true;
        world w{1, host, host, o};
        w.it.run(w.open());
        w.it.run(pausing(w, into));
    }
}

// Who comes again under a name is someone else: its old metadata leads nowhere, and old slices fail.
BOOST_AUTO_TEST_CASE(a_restarted_peer_is_never_written_with_stale_keys)
{
    world w;
    w.run([](world& v) -> task<> {
        const std::vector<std::byte> old = v.decode.metadata();
        const slice before = v.to.published("kv");
        v.it.crash(v.decode);
        agent& reborn = v.it.spawn("decode", v.b, knowing("the secret"));
        lab::bytes memory(area_bytes);
        region pool = co_await reborn.register_memory(dram(memory));
        co_await reborn.publish("kv", pool);
        peer again = co_await v.prefill.connect(reborn.metadata());
        const auto [e, n] = co_await copy(v.from, before, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::peer_lost);
        co_await copy(v.from, again.published("kv"));
        BOOST_TEST(memory == v.sent);
        const error_code f = co_await failure_of(drop(v.prefill.connect(old)));
        BOOST_TEST(f == errc::peer_lost);
        again.reset();
        co_await reborn.unpublish("kv");
        pool.reset();
    });
}

BOOST_AUTO_TEST_CASE(connecting_to_nobody_ends)
{
    world w;
    w.run([](world& v) -> task<> {
        std::vector<std::byte> blob = v.decode.metadata();
        v.it.crash(v.decode);
        agent& other = v.it.spawn("other", v.a, knowing("the secret"));
        const duration begun = v.it.now();
        const error_code e = co_await failure_of(drop(other.connect(std::move(blob))));
        BOOST_TEST(e == errc::peer_lost);
        BOOST_TEST((v.it.now() - begun <= 6s));
    });
}

// An agent goes while somebody connects, and while somebody waits for its peer to hear.
BOOST_AUTO_TEST_CASE(an_agent_may_go_at_any_time)
{
    for (int after = 0; after < 60; ++after) {
        world w{static_cast<std::uint64_t>(after + 1)};
        w.it.run(w.open());
        agent& brief = w.it.spawn("brief", w.a, knowing("the secret"));
        error_code ended;
        bool over = false;
        const auto story = [](agent& a, std::vector<std::byte> blob) -> task<> {
            peer p = co_await a.connect(std::move(blob));
            for (int i = 0; i < 20; ++i) co_await a.notify(p, "n");
            co_await a.notified({.key = "nothing", .peer = "decode"});
        };
        asio::co_spawn(w.it.runtime(), story(brief, w.decode.metadata()), [&](std::exception_ptr e) {
            over = true;
            try {
                std::rethrow_exception(e);
            } catch (const system_error& x) {
                ended = x.code();
            }
        });
        const duration end = w.it.now() + after * 7us;
        w.it.at(end, [] {});
        w.it.run_until([&] { return w.it.now() >= end; });
        w.it.end(brief);
        w.it.run_until([&] { return over; });
        BOOST_TEST(over);
        BOOST_TEST((ended == errc::shut_down || ended == errc::peer_lost));
        w.to.reset();
    }
}

// The driver's number for a peer is free again, on either side, once neither holds the other.
BOOST_AUTO_TEST_CASE(links_end_when_nobody_holds_them)
{
    world w;
    w.run([](world& v) -> task<> {
        const std::uint32_t number = v.to.published("kv").of->peer;
        for (int i = 0; i < 20; ++i) {
            peer p = co_await v.decode.connect(v.prefill.metadata());
            BOOST_TEST(p.alive());
        }
        lab::bytes more(64_KiB);
        agent& other = v.it.spawn("other", v.b, knowing("the secret"));
        region extra = co_await other.register_memory(dram(more));
        co_await other.publish("extra", extra);
        {
            const peer beside = co_await v.prefill.connect(other.metadata());
            BOOST_TEST(beside.published("extra").of->peer != number);
        }
        v.to.reset();
        co_await v.it.runtime().sleep(5s);
        for (agent* const a : {&v.prefill, &v.decode}) {
            const peer again = co_await a->connect(other.metadata());
            BOOST_TEST(again.published("extra").of->peer == number);
        }
    });
}

namespace {

task<> goes_and_comes_back(world& v, wye::duration pause)
{
    co_await v.prefill.publish("prompts", v.from);
    peer theirs = co_await v.decode.connect(v.prefill.metadata());
    v.to.reset();
    co_await v.it.runtime().sleep(pause);
    const peer again = co_await v.prefill.connect(v.decode.metadata());
    theirs.reset();
    co_await v.it.runtime().sleep(5s);
    BOOST_TEST(again.alive());
    co_await v.prefill.notify(again, "hello"); // throws when nobody hears it
    BOOST_TEST(again.published("kv").length == area_bytes);
}

} // namespace

// Who has said goodbye and comes back must not take up what the other side may leave any moment.
BOOST_AUTO_TEST_CASE(who_comes_back_is_known_to_be_there)
{
    for (const wye::duration pause : {0us, 1us, 5us, 20us, 100us}) {
        world w;
        w.it.run(w.open());
        w.it.run(goes_and_comes_back(w, pause));
    }
}

// Also when there is nothing of the other side's that it could ask for.
BOOST_AUTO_TEST_CASE(who_was_called_and_holds_is_known_to_hold)
{
    world w;
    w.run([](world& v) -> task<> {
        const peer theirs = co_await v.decode.connect(v.prefill.metadata());
        v.to.reset();
        co_await v.it.runtime().sleep(5s);
        BOOST_TEST(theirs.alive());
        co_await v.decode.notify(theirs, "hello");
    });
}

// Others may come into the world while an agent ends, which takes time.
BOOST_AUTO_TEST_CASE(agents_come_while_another_ends)
{
    world w;
    w.it.run(w.open());
    std::vector<agent*> born;
    for (int i = 0; i < 20; ++i)
        w.it.at(w.it.now() + 5us * i, [&] { born.push_back(&w.it.spawn("other", w.b, knowing("the secret"))); });
    error_code ended;
    copy(w.from, w.to.published("kv"), [&](error_code e, std::size_t) { ended = e; });
    w.it.settle();
    w.it.end(w.prefill);
    BOOST_TEST(ended.failed());
    BOOST_TEST(born.size() > 1u);
    BOOST_TEST(born.front()->name() == "other");
}

// A rail that takes nothing for a while, and then does: what waits for it comes in the end.
BOOST_AUTO_TEST_CASE(what_rails_refuse_is_posted_later)
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        world w{seed, 2, 2};
        w.run([](world& v) -> task<> {
            v.it.inject({.what = sim::fault_kind::refuse, .chance = 0.2, .until = 20ms, .device = "nic", .extent = 9ms});
            int ends = 0;
            const slice kv = v.to.published("kv");
            for (std::uint64_t i = 0; i < 20; ++i) {
                copy(v.from.at(64 * i, 64), kv.sub(64 * i, 64), [&](error_code e, std::size_t) { ends += !e; });
                co_await v.it.runtime().sleep(100us);
            }
            const duration begun = v.it.now();
            while (ends != 20 && v.it.now() - begun < 5s) co_await v.it.runtime().sleep(1ms);
            BOOST_TEST(ends == 20);
            for (const auto& d : v.prefill.measure().drivers) BOOST_TEST(d.in_flight == 0u);
        });
    }
}

// Files and objects reach peers through staging: drivers of this host's tiers never see a peer's memory.
BOOST_AUTO_TEST_CASE(files_and_objects_are_staged_to_peers)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice kv = v.to.published("kv");
        lab::bytes& content = *v.a.file("pages", true);
        content = lab::pattern(256_KiB, 3);
        const file pages = co_await v.prefill.open_file("pages");
        const bucket store = co_await v.prefill.open_bucket("sim:store");
        const slice page = pages.at(0, 256_KiB);
        BOOST_TEST(co_await copy(page, kv.sub(0, 256_KiB)) == 256_KiB);
        BOOST_TEST(std::equal(content.begin(), content.end(), v.landed.begin()));
        const object kept = store.object("kept");
        BOOST_TEST(co_await copy(kv.sub(0, 256_KiB), kept) == 256_KiB);
        BOOST_TEST(co_await copy(kept, kv.sub(1_MiB, 256_KiB)) == 256_KiB);
        BOOST_TEST(std::equal(content.begin(), content.end(), v.landed.begin() + 1_MiB));
    });
}

// A peer that is dead costs others nothing: neither rails, nor windows, nor time.
BOOST_AUTO_TEST_CASE(a_dead_peer_costs_others_no_rails)
{
    world w;
    w.run([](world& v) -> task<> {
        agent& other = v.it.spawn("other", v.it.add_host("c", with_rails(4)), knowing("the secret"));
        lab::bytes theirs(area_bytes);
        region pool = co_await other.register_memory(dram(theirs));
        co_await other.publish("kv", pool);
        peer there = co_await v.prefill.connect(other.metadata());
        co_await copy(v.from, there.published("kv"));
        const duration before = v.it.now();
        co_await copy(v.from, there.published("kv"));
        const duration usual = v.it.now() - before;

        v.it.crash(v.decode);
        int lost = 0;
        for (int i = 0; i < 8; ++i)
            copy(v.from, v.to.published("kv"), [&](error_code e, std::size_t) { lost += e == errc::peer_lost; });
        co_await v.it.runtime().sleep(5ms);
        for (int i = 0; i < 100; ++i) {
            const duration begun = v.it.now();
            co_await copy(v.from, there.published("kv"));
            BOOST_TEST((v.it.now() - begun <= 2 * usual));
            co_await v.it.runtime().sleep(30ms);
        }
        BOOST_TEST(lost == 8);
        there.reset();
        co_await other.unpublish("kv");
    });
}

// Of a batch that asks how each transfer fared, those to others are made though one peer is lost.
BOOST_AUTO_TEST_CASE(a_batch_outlives_a_peer)
{
    world w;
    w.run([](world& v) -> task<> {
        agent& other = v.it.spawn("other", v.it.add_host("c", with_rails(4)), knowing("the secret"));
        lab::bytes theirs(area_bytes);
        region pool = co_await other.register_memory(dram(theirs));
        co_await other.publish("kv", pool);
        peer there = co_await v.prefill.connect(other.metadata());
        const slice dead = v.to.published("kv"), alive = there.published("kv");
        v.it.crash(v.decode);

        std::vector<transfer> batch;
        for (std::uint64_t i = 0; i < 40; ++i) {
            const slice to = i % 2 ? alive : dead;
            batch.push_back({v.from.at(100'000 * i, 100'000), to.sub(100'000 * i, 100'000)});
        }
        std::vector<error_code> status(batch.size());
        copy_options o;
        o.status = status;
        const auto [e, n] = co_await copy(batch, o, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::peer_lost);
        BOOST_TEST(n >= 20 * 100'000u);
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (i % 2 == 0) {
                BOOST_TEST(status[i] == errc::peer_lost);
                continue;
            }
            BOOST_TEST(!status[i]);
            const auto at = static_cast<std::ptrdiff_t>(100'000 * i);
            BOOST_TEST(std::equal(theirs.begin() + at, theirs.begin() + at + 100'000, v.sent.begin() + at));
        }
        there.reset();
        co_await other.unpublish("kv");
    });
}

// Nor when what it does not take fills the queue of the only rail, over which the others hear of us.
BOOST_AUTO_TEST_CASE(a_dead_peer_does_not_fill_a_rail_for_long)
{
    sim::host_options narrow = with_rails(1);
    for (sim::rail_model& r : narrow.nic.rails) r.queue_depth = 4;
    world w;
    w.it.run(w.open());
    agent& source = w.it.spawn("source", w.it.add_host("narrow", narrow), knowing("the secret"));
    w.it.run([](world& v, agent& us) -> task<> {
        agent& other = v.it.spawn("other", v.a, knowing("the secret"));
        lab::bytes theirs(area_bytes);
        region from = co_await us.register_memory(dram(v.sent)), pool = co_await other.register_memory(dram(theirs));
        co_await other.publish("kv", pool);
        peer dead = co_await us.connect(v.decode.metadata()), there = co_await us.connect(other.metadata());
        co_await copy(from, there.published("kv"));
        v.it.crash(v.decode);
        int lost = 0;
        for (std::uint64_t i = 0; i < 20; ++i)
            copy(from.at(64 * i, 64), dead.published("kv").sub(64 * i, 64),
                 [&](error_code e, std::size_t) { lost += e == errc::peer_lost; });
        duration longest{};
        for (int i = 0; i < 100; ++i) {
            const duration begun = v.it.now();
            co_await copy(from.at(0, 64_KiB), there.published("kv").sub(0, 64_KiB));
            longest = std::max(longest, v.it.now() - begun);
            co_await v.it.runtime().sleep(30ms);
        }
        BOOST_TEST((longest < 10ms));
        BOOST_TEST(lost == 20);
        dead.reset();
        there.reset();
        co_await other.unpublish("kv");
        from.reset();
    }(w, source));
}
