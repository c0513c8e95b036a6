// SPDX-License-Identifier: Apache-2.0
// Two processes in two networks, and what befalls them in mid-transfer: cables out, processes killed, stopped, started
// again, strangers. Each story ends in time, with the content right or an error that names what happened.
#define BOOST_TEST_MODULE fabric_networks
#include <boost/test/unit_test.hpp>

#include <boost/asio/ip/tcp.hpp>

#include "fabric/networks.hpp"

using namespace wye;
using namespace wye::testing;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

constexpr std::uint64_t first = 1, second = 2, reused = 3; ///< seeds of contents

/// Its owner uses the memory again...
task<> use_again(near_side& n, far_process& p)
{
    const std::string fill = "fill " + std::to_string(reused);
    co_await p.ask(n.rt, fill);
}

/// ... and nothing that was under way changes it.
task<> stays_so(near_side& n, far_process& p, duration watched)
{
    const std::string question = "holds " + std::to_string(reused);
    co_await n.rt.sleep(watched);
    const std::string answer = co_await p.ask(n.rt, question);
    BOOST_TEST(answer == "yes");
}

task<> stays_as_its_owner_wrote_it(near_side& n, far_process& p, duration watched)
{
    co_await use_again(n, p);
    co_await stays_so(n, p, watched);
}

/// The same once it has heard what became of the transfer.
task<> stays_after(near_side& n, far_process& p, std::string_view end, duration watched)
{
    const std::string heard = co_await p.ask(n.rt, "expect");
    BOOST_TEST(heard == end);
    co_await stays_as_its_owner_wrote_it(n, p, watched);
}

// One rail of two loses its cable: the other carries the rest. How long that takes to be noticed is an option.
task<> a_cable_out(runtime& rt, way how, rail_options rails)
{
    far_process p{{.rails = 2}};
    near_options o{.rails = 2};
    o.agent.rails = rails;
    near_side n{rt, o};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    const stopwatch since;
    networks().plug(0, false);
    const error_code e = co_await t.ends();
    const double rest = 0.75 * n.seconds_over(1);
    BOOST_TEST(!e, e.message());
    const double noticed = std::chrono::duration<double>(rails.overdue_most).count();
    BOOST_TEST(since.seconds() < rest + noticed + 1.5, since.seconds());
    if (rails.overdue > 10) BOOST_TEST(since.seconds() > 0.8 * noticed, since.seconds());
    BOOST_TEST_MESSAGE("ended " << since.seconds() << " s after the cable was out; the rest takes " << rest);
    const bool right = co_await n.right(p, how, first);
    BOOST_TEST(right);
    co_await use_again(n, p);
    networks().plug(0, true); // what the kernel still has to send arrives now
    co_await stays_so(n, p, 2s);
}

// Its owner waits for what is under way, or for so long as it was told.
task<> memory_goes(runtime& rt, way how, int drain_ms)
{
    far_process p{{.rails = 2, .drain = drain_ms}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    const stopwatch since;
    const std::string answer = co_await p.ask(n.rt, "unregister");
    BOOST_TEST(answer == "unregister");
    BOOST_TEST(since.seconds() < drain_ms / 1000.0 + 4);
    co_await stays_as_its_owner_wrote_it(n, p, 300ms);
    const error_code e = co_await t.ends();
    BOOST_TEST_MESSAGE("ended " << since.seconds() << " s later: " << e.message());
    if (drain_ms == 100) BOOST_TEST(e == errc::withdrawn, e.message());
    else BOOST_TEST((!e || e == errc::withdrawn), e.message());
    const outcome late = co_await n.copied(n.kv, how);
    BOOST_TEST(late.error == errc::withdrawn, late.error.message());
}

} // namespace

BOOST_TEST_GLOBAL_FIXTURE(two_networks_fixture);

WYE_NETWORK_TEST(a_cable_out_of_one_rail) { return a_cable_out(rt, how, {}); }
WYE_NETWORK_TEST(a_cable_out_noticed_later) { return a_cable_out(rt, how, {.overdue = 100, .overdue_most = 4s}); }

WYE_NETWORK_TEST(a_rail_comes_back_with_its_cable)
{
    far_process p{{.rails = 2}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    networks().plug(0, false);
    const error_code e = co_await t.ends();
    BOOST_TEST(!e, e.message());
    networks().plug(0, true);
    const stopwatch since;
    const std::uint64_t before = n.moved_over(0);
    while (n.moved_over(0) < before + 4_MiB && since.seconds() < 8) {
        transfer_under_way again = co_await n.begin(p, how, second);
        const error_code f = co_await again.ends();
        BOOST_TEST(!f, f.message());
    }
    BOOST_TEST(n.moved_over(0) >= before + 4_MiB);
    BOOST_TEST_MESSAGE("back in use " << since.seconds() << " s after the cable was in");
    const bool right = co_await n.right(p, how, second);
    BOOST_TEST(right);
}

WYE_NETWORK_TEST(the_only_cable_out_and_in_again)
{
    far_process p{{.rails = 1}};
    near_side n{rt, {.rails = 1}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    networks().plug(0, false);
    co_await n.rt.sleep(500ms);
    networks().plug(0, true);
    const stopwatch since;
    const error_code e = co_await t.ends();
    BOOST_TEST(since.seconds() < n.seconds_over(1) + 5);
    BOOST_TEST_MESSAGE("ended " << since.seconds() << " s after the cable was in: " << e.message());
    BOOST_TEST((!e || e == errc::peer_lost || e == errc::rail_lost), e.message());
    if (e) co_return;
    const bool right = co_await n.right(p, how, first);
    BOOST_TEST(right);
}

WYE_NETWORK_TEST(all_cables_out_for_good)
{
    far_process p{{.rails = 2}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    networks().plug(0, false);
    networks().plug(1, false);
    const stopwatch since;
    const error_code e = co_await t.ends();
    BOOST_TEST(e == errc::peer_lost, e.message());
    BOOST_TEST(since.seconds() < 5);
    BOOST_TEST_MESSAGE("lost after " << since.seconds() << " s");
    const stopwatch again;
    const std::string heard = co_await p.ask(n.rt, "expect");
    BOOST_TEST(heard == "lost"); // and from now on nothing of ours lands
    BOOST_TEST(again.seconds() < 5);
    co_await use_again(n, p);
    networks().plug(0, true);
    networks().plug(1, true);
    co_await stays_so(n, p, 2s);
}

WYE_NETWORK_TEST(a_peer_that_is_killed)
{
    far_process p{{.rails = 2}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    p.signal(SIGKILL);
    const stopwatch since;
    const error_code e = co_await t.ends();
    BOOST_TEST(e == errc::peer_lost, e.message());
    BOOST_TEST(since.seconds() < 5);
    BOOST_TEST(p.wait() == -SIGKILL);
}

WYE_NETWORK_TEST(a_peer_that_stops_and_goes_on)
{
    far_process p{{.rails = 2}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    p.signal(SIGSTOP);
    co_await n.rt.sleep(700ms);
    p.signal(SIGCONT);
    const stopwatch since;
    const error_code e = co_await t.ends();
    BOOST_TEST(!e, e.message());
    BOOST_TEST(since.seconds() < n.seconds_over(2) + 3);
    const bool right = co_await n.right(p, how, first);
    BOOST_TEST(right);
}

WYE_NETWORK_TEST(a_peer_that_stops_for_too_long)
{
    far_process p{{.rails = 2}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    p.signal(SIGSTOP);
    const stopwatch since;
    const error_code e = co_await t.ends();
    BOOST_TEST(e == errc::peer_lost, e.message());
    BOOST_TEST((since.seconds() > 1 && since.seconds() < 5));
    p.signal(SIGCONT);
    co_await stays_after(n, p, "lost", 1s);
}

// It says beforehand that it may not look for six seconds, and then does not look for five.
WYE_NETWORK_TEST(a_peer_that_pauses_as_it_said)
{
    far_process p{{.rails = 2, .gap = 6000}};
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, how, first);
    co_await t.reaches(0.25);
    const stopwatch since;
    const std::string answer = co_await p.ask(n.rt, "stall 5000");
    BOOST_TEST(answer == "stall");
    const error_code e = co_await t.ends();
    BOOST_TEST(!e, e.message());
    BOOST_TEST((since.seconds() >= 5 && since.seconds() < 5 + n.seconds_over(2) + 3));
    const bool right = co_await n.right(p, how, first);
    BOOST_TEST(right);
}

WYE_CO_TEST(nobody_serves_there)
{
    near_side n{rt, {.rails = 2}};
    const stopwatch since;
    const error_code refused = co_await n.meet_at("10.77.0.2:1");
    BOOST_TEST(refused == boost::system::errc::connection_refused, refused.message());
    BOOST_TEST(since.seconds() < 1);

    std::vector<std::byte> metadata;
    {
        far_process p{{.rails = 2}};
        metadata = co_await n.metadata_of(p);
    }
    const stopwatch again;
    const error_code gone = co_await n.connect(metadata);
    BOOST_TEST(gone == errc::peer_lost, gone.message());
    BOOST_TEST(again.seconds() < 7);
}

// What was known of its former life ends; nothing is written by keys of then.
WYE_NETWORK_TEST(a_peer_that_is_started_again)
{
    auto p = std::make_unique<far_process>(far_options{.rails = 2});
    near_side n{rt, {.rails = 2}};
    co_await n.meet(*p);
    const std::vector<std::byte> formerly = co_await n.metadata_of(*p);
    transfer_under_way t = co_await n.begin(*p, how, first);
    co_await t.reaches(0.25);
    p->signal(SIGKILL);
    p = std::make_unique<far_process>(far_options{.rails = 2});
    co_await p->ask(n.rt, "fill 3");
    const error_code e = co_await t.ends();
    BOOST_TEST(e == errc::peer_lost, e.message());

    peer before = std::move(n.other);
    const slice old = n.kv;
    co_await n.meet(*p);
    const outcome stale = co_await n.copied(old, how);
    BOOST_TEST(stale.error == errc::peer_lost, stale.error.message());
    BOOST_TEST(stale.bytes == 0u);
    const std::string answer = co_await p->ask(n.rt, "holds 3");
    BOOST_TEST(answer == "yes");
    const error_code former = co_await n.connect(formerly);
    BOOST_TEST((former == errc::peer_lost || former == errc::stale_metadata), former.message());

    transfer_under_way again = co_await n.begin(*p, how, second);
    const error_code f = co_await again.ends();
    BOOST_TEST(!f, f.message());
    const bool right = co_await n.right(*p, how, second);
    BOOST_TEST(right);
}

WYE_CO_TEST(strangers)
{
    far_process p{{.rails = 2}};
    const std::string at = co_await p.ask(rt, "at");
    near_options guessing{.rails = 2};
    guessing.agent.peers.secret = "guessed";
    near_side stranger{rt, guessing};
    const error_code e = co_await stranger.meet_at(at); // by what it knows
    BOOST_TEST(e == errc::not_trusted, e.message());
    guessing.fetch_secret = "secret"; // somebody else gave it the metadata
    near_side receiver{rt, guessing};
    const error_code f = co_await receiver.meet_at(at);
    BOOST_TEST(f == errc::not_trusted, f.message());

    for (const std::uint64_t seed : {1, 2, 3, 4}) {
        asio::ip::tcp::iostream door{at.substr(0, at.find(':')), at.substr(at.find(':') + 1)};
        const lab::bytes garbage = lab::pattern(64_KiB, seed);
        door.write(reinterpret_cast<const char*>(garbage.data()), static_cast<std::streamsize>(garbage.size()));
        door.flush();
        door.expires_after(6s);
        std::string heard(1, 0);
        while (door.read(heard.data(), 1)) {}
        BOOST_TEST((door.error() != asio::error::operation_aborted)); // it is closed, in time
    }
    near_side n{rt, {.rails = 2}};
    co_await n.meet(p);
    transfer_under_way t = co_await n.begin(p, way::write, first);
    const error_code g = co_await t.ends();
    BOOST_TEST(!g, g.message());
    const bool right = co_await n.right(p, way::write, first);
    BOOST_TEST(right);
}

WYE_NETWORK_TEST(memory_that_goes) { return memory_goes(rt, how, 10'000); }
WYE_NETWORK_TEST(memory_that_goes_in_haste) { return memory_goes(rt, how, 100); }

WYE_NETWORK_TEST(cancelled_at_any_point)
{
    far_process p{{.rails = 2, .bytes = 4_MiB}};
    near_options o{.rails = 2, .bytes = 4_MiB};
    o.fabric.chunk_bytes = 128_KiB;
    o.fabric.window_bytes = 512_KiB; // so that something is left to cancel
    near_side n{rt, o};
    co_await n.meet(p);
    std::size_t cancelled = 0;
    for (int point = 0; point <= 24; ++point) {
        transfer_under_way t = co_await n.begin(p, how, first);
        co_await t.reaches(point / 24.0);
        t.flight.cancel();
        const stopwatch since;
        const outcome end = co_await t.flight.drained();
        BOOST_TEST((!end.error || end.error == asio::error::operation_aborted), end.error.message());
        BOOST_TEST(since.seconds() < 2);
        cancelled += end.error == asio::error::operation_aborted;
        if (end.bytes == 0) co_await stays_as_its_owner_wrote_it(n, p, 5ms); // nobody is told of nothing
        else co_await stays_after(n, p, end.error ? "aborted" : "told", 5ms);
    }
    BOOST_TEST(cancelled >= 12u);
    transfer_under_way t = co_await n.begin(p, how, second);
    const error_code e = co_await t.ends();
    BOOST_TEST(!e, e.message());
    const bool right = co_await n.right(p, how, second);
    BOOST_TEST(right);
}
