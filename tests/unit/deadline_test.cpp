// SPDX-License-Identifier: Apache-2.0
// One deadline over everything that a copy does; missing it is a result, and no reason to let go of memory early.
#define BOOST_TEST_MODULE deadline
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

copy_options within(duration d)
{
    copy_options o;
    o.deadline = d;
    return o;
}

/// Polls until the clock says that it is past `d` from now.
void let_pass(runtime& rt, duration d)
{
    const auto end = std::chrono::steady_clock::now() + d;
    while (std::chrono::steady_clock::now() <= end) rt.poll();
    rt.poll();
    rt.poll();
}

} // namespace

BOOST_AUTO_TEST_CASE(met)
{
    lab::world w;
    w.hold(false);
    lab::result r;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), within(1h), r.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    BOOST_TEST((!r.error && r.bytes == 64_KiB));
    BOOST_TEST(w.agent->measure().deadlines_missed == 0u);
    BOOST_TEST(!w.rt.has_work()); // no timer is left behind
}

BOOST_AUTO_TEST_CASE(missed_in_a_queue)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    lab::result r;
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), within(1ms), r.token());
    w.rt.poll();
    let_pass(w.rt, 1ms);
    BOOST_TEST(r.ends == 1);
    BOOST_TEST(r.error == errc::deadline_missed);
    BOOST_TEST((r.error == boost::system::errc::timed_out));
    BOOST_TEST(r.bytes == 0u);
    BOOST_TEST(w.agent->measure().deadlines_missed == 1u);
    BOOST_TEST(w.agent->measure().cancelled == 0u);
    BOOST_TEST(w.idle());
}

// A deadline does not make hardware let go.
BOOST_AUTO_TEST_CASE(missed_in_flight_it_still_waits_for_the_device)
{
    lab::world w;
    lab::result r;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), within(1ms), r.token());
    let_pass(w.rt, 2ms);
    BOOST_TEST(r.ends == 0);
    BOOST_TEST(w.near.held() == 4u);
    BOOST_TEST(w.finish(r));
    BOOST_TEST(r.error == errc::deadline_missed);
    BOOST_TEST(r.bytes == 16_KiB);
    BOOST_TEST(w.near.submits() == 4u);
}

BOOST_AUTO_TEST_CASE(one_deadline_covers_both_hops)
{
    lab::world w;
    lab::result r;
    copy(w.file.at(0, 4_KiB), w.vram.at(0, 4_KiB), within(3ms), r.token());
    w.settle();
    w.near.manners.refuse_all = true;
    w.far.release(w.far.chunks().at(0));
    let_pass(w.rt, 3ms);
    BOOST_TEST(r.error == errc::deadline_missed);
    BOOST_TEST(r.bytes == 0u);
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(missed_while_an_object_is_open)
{
    lab::world w;
    lab::result r;
    copy(w.vram.at(0, 16_KiB), w.bucket.object("o"), within(1ms), r.token());
    let_pass(w.rt, 2ms);
    BOOST_TEST(w.finish(r));
    BOOST_TEST(r.error == errc::deadline_missed);
    BOOST_TEST(w.on.sessions == 0);
    BOOST_TEST(!w.on.objects.contains("o"));
}

BOOST_AUTO_TEST_CASE(a_batch_says_which_were_late)
{
    lab::world w;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < 8; ++i) batch.push_back({w.dram.block(i, 4_KiB), w.vram.block(i, 4_KiB)});
    std::vector<error_code> status(8);
    copy_options options = within(1ms);
    options.status = status;
    lab::result r;
    copy(std::span<const transfer>{batch}, options, r.token());
    let_pass(w.rt, 2ms);
    BOOST_TEST(w.finish(r));
    BOOST_TEST(r.error == errc::deadline_missed);
    for (std::size_t i = 0; i < 8; ++i) BOOST_TEST((status[i] == (i < 4 ? error_code{} : errc::deadline_missed)), i);
}

BOOST_AUTO_TEST_CASE(as_a_result_of_one_line)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    testing::finish(w.rt, [](lab::world& v, copy_options o) -> task<> {
        const auto [e, n] = co_await copy(v.dram.at(0, 1), v.vram.at(0, 1), o, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::deadline_missed);
        BOOST_TEST(n == 0u);
    }(w, within(1ns)));
}
