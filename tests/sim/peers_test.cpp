// SPDX-License-Identifier: Apache-2.0
// Agents on different hosts: they come to know each other, reach what was published and no more, tell each other after the
// last byte, and survive each other.
#define BOOST_TEST_MODULE peers
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

constexpr std::size_t area_bytes = 4_MiB;

sim::host_options with_rails(std::size_t rails)
{
    sim::host_options o;
    o.nic = sim::default_nic(rails);
    return o;
}

agent_options knowing(std::string secret)
{
    agent_options o;
    o.peers.secret = std::move(secret);
    return o;
}

/// What was thrown.
task<error_code> failure_of(task<> t)
{
    try {
        co_await std::move(t);
    } catch (const system_error& e) {
        co_return e.code();
    }
    co_return error_code{};
}

task<> drop(task<peer> t)
{
    const peer p = co_await std::move(t);
}
task<> drop(task<notification> t)
{
    const notification n = co_await std::move(t);
}

copy_options telling(std::string_view key, std::span<const std::byte> payload = {})
{
    copy_options o;
    o.notify = key;
    o.payload = payload;
    return o;
}

/// Prefill writes into what decode publishes.
struct world {
    explicit world(std::uint64_t seed = 1, std::size_t rails_here = 4, std::size_t rails_there = 4,
                   const agent_options& o = knowing("the secret"))
        : it{seed}, a{it.add_host("a", with_rails(rails_here))}, b{it.add_host("b", with_rails(rails_there))},
          prefill{it.spawn("prefill", a, o)}, decode{it.spawn("decode", b, o)}
    {
    }
    ~world()
    {
        for (const std::string& c : it.complaints()) BOOST_TEST(c == "");
    }
    task<> open()
    {
        from = co_await prefill.register_memory(dram(sent));
        pool = co_await decode.register_memory(dram(landed));
        co_await decode.publish("kv", pool);
        to = co_await prefill.connect(decode.metadata());
    }
    /// Runs it beside the world.
    void run(task<> (*story)(world&))
    {
        it.run(open());
        it.run(story(*this));
    }

    lab::bytes sent = lab::pattern(area_bytes, 1), landed = lab::bytes(area_bytes);
    sim::world it;
    sim::host a, b;
    agent& prefill;
    agent& decode;
    region from, pool;
    peer to;
};

} // namespace

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

// Told after the last byte, with its payload, by whom; the writer's copy ends when that is known over there.
BOOST_AUTO_TEST_CASE(a_write_tells_after_its_last_byte)
{
    world w;
    w.run([](world& v) -> task<> {
        const auto payload = lab::pattern(4096, 5);
        const copy_options o = telling("req-17", payload);
        co_await copy(v.from, v.to.published("kv"), o);
        const notification n = co_await v.decode.notified({.key = "req-17", .peer = "prefill"});
        BOOST_TEST(v.landed == v.sent);
        BOOST_TEST(n.peer == "prefill");
        BOOST_TEST((n.payload == std::vector<std::byte>(payload.begin(), payload.end())));
        BOOST_TEST(!n.aborted);
    });
}

// Decode reads, and so tells prefill to free its pages.
BOOST_AUTO_TEST_CASE(a_read_tells_the_owner)
{
    world w;
    w.run([](world& v) -> task<> {
        const copy_options o = telling("free 3");
        co_await copy(v.to.published("kv").sub(0, 64_KiB), v.from.at(0, 64_KiB), o);
        const notification n = co_await v.decode.notified({.key = "free 3"});
        BOOST_TEST(n.peer == "prefill");
    });
}

BOOST_AUTO_TEST_CASE(tells_alone_and_counts)
{
    world w;
    w.run([](world& v) -> task<> {
        for (int i = 0; i < 3; ++i) {
            std::vector<std::byte> rank{std::byte(i)};
            co_await v.prefill.notify(v.to, "rank", std::move(rank));
        }
        co_await v.decode.notified({.key = "rank", .count = 3});
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "rank", .deadline = 1ms})));
        BOOST_TEST(e == errc::deadline_missed);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_write_tells_that_it_was_aborted)
{
    world w;
    w.run([](world& v) -> task<> {
        asio::cancellation_signal stop;
        error_code ended;
        const copy_options o = telling("half");
        copy(v.from, v.to.published("kv"), o, asio::bind_cancellation_slot(stop.slot(), [&](error_code e, std::size_t) { ended = e; }));
        co_await v.it.runtime().sleep(30us);
        stop.emit(asio::cancellation_type::all);
        const notification n = co_await v.decode.notified({.key = "half"});
        BOOST_TEST(n.aborted);
        co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(ended == asio::error::operation_aborted);
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

// Decode waits for a prefill that dies in the middle of its write: the wait ends, and by then nothing of it lands.
BOOST_AUTO_TEST_CASE(a_wait_ends_with_the_peer_that_it_names)
{
    world w;
    w.run([](world& v) -> task<> {
        copy(v.from, v.to.published("kv"), telling("never"), [](error_code, std::size_t) {});
        co_await v.it.runtime().sleep(25us);
        v.it.stall(v.prefill, 20s); // and comes back after it was given up
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "never", .peer = "prefill"})));
        BOOST_TEST(e == errc::peer_lost);
        const error_code again = co_await failure_of(drop(v.decode.notified({.key = "later", .peer = "prefill"})));
        BOOST_TEST(again == errc::peer_lost);
        const lab::bytes then = v.landed;
        co_await v.it.runtime().sleep(30s);
        BOOST_TEST(v.landed == then);
        BOOST_TEST(!v.to.alive());
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

// A rail that goes dark under notifications: they arrive once each all the same.
BOOST_AUTO_TEST_CASE(notifications_outlive_rails)
{
    world w;
    w.run([](world& v) -> task<> {
        v.a.set_rail(1, sim::rail_state::dark);
        v.a.set_rail(2, sim::rail_state::dark);
        for (int i = 0; i < 50; ++i) co_await v.prefill.notify(v.to, "n" + std::to_string(i));
        for (int i = 0; i < 50; ++i) co_await v.decode.notified({.key = "n" + std::to_string(i), .deadline = 1s});
        const error_code e = co_await failure_of(drop(v.decode.notified({.key = "n7", .deadline = 1s})));
        BOOST_TEST(e == errc::deadline_missed);
        v.a.set_rail(1, sim::rail_state::up);
        v.a.set_rail(2, sim::rail_state::up);
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

BOOST_AUTO_TEST_CASE(links_end_when_nobody_holds_them)
{
    world w;
    w.run([](world& v) -> task<> {
        for (int i = 0; i < 20; ++i) {
            peer p = co_await v.decode.connect(v.prefill.metadata());
            BOOST_TEST(p.alive());
        }
        v.to.reset();
        co_await v.it.runtime().sleep(5s);
        BOOST_TEST(v.it.events() != 0u);
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

// A piece of a batch that could not begin holds nothing: its object may be gone when the peer is told of the rest.
BOOST_AUTO_TEST_CASE(who_is_told_is_known_from_the_start)
{
    world w;
    w.run([](world& v) -> task<> {
        const bucket store = co_await v.prefill.open_bucket("sim:store");
        const slice kv = v.to.published("kv");
        std::vector<error_code> status(2);
        copy_options o = telling("both");
        o.status = status;
        int told = 0;
        bool over = false;
        {
            const object gone = store.object("gone");
            slice source = gone;
            source.length = 64;
            const transfer batch[] = {{source, kv.sub(area_bytes - 1, 64)}, {v.from.at(0, 1_MiB), kv.sub(0, 1_MiB)}};
            copy(batch, o, [&](error_code e, std::size_t) { over = e == errc::out_of_range; });
        }
        const notification n = co_await v.decode.notified({.key = "both"});
        told += n.aborted;
        co_await v.it.runtime().sleep(1ms);
        BOOST_TEST(told == 1);
        BOOST_TEST(over);
        BOOST_TEST(!status[1]);
    });
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
