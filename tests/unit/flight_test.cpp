// SPDX-License-Identifier: Apache-2.0
// Answer on time, keep the lease.
#define BOOST_TEST_MODULE flight
#include <boost/test/unit_test.hpp>

#include <utility>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

const error_code own{9, lab::category()};

/// Polls while `d` goes by.
void let_pass(runtime& rt, duration d)
{
    const auto end = std::chrono::steady_clock::now() + d;
    while (std::chrono::steady_clock::now() <= end) rt.poll();
}

} // namespace

BOOST_AUTO_TEST_CASE(on_time)
{
    lab::world w;
    w.hold(false);
    flight f = start(w.dram.at(0, 9000), w.vram.at(0, 9000));
    BOOST_TEST(!f.done());
    testing::finish(w.rt, [](flight& g) -> task<> {
        const bool landed = co_await g.by(1h);
        BOOST_TEST(landed);
        BOOST_TEST(g.done());
        const bool again = co_await g.by(1ns);
        BOOST_TEST(again); // as often as one likes
        const outcome o = co_await g.drained();
        BOOST_TEST((!o.error && o.bytes == 9000));
    }(f));
}

BOOST_AUTO_TEST_CASE(late_and_still_held)
{
    lab::world w;
    flight f = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    testing::finish(w.rt, [](lab::world& v, flight& g) -> task<> {
        const bool early = co_await g.by(1ms);
        BOOST_TEST(!early);
        BOOST_TEST(!g.done());
        BOOST_TEST(v.near.touches(v.vram));
        const bool still = co_await g.by(1ms);
        BOOST_TEST(!still);
        v.hold(false);
        const outcome o = co_await g.drained();
        BOOST_TEST((!o.error && o.bytes == 4_KiB)); // nobody cancelled it
        BOOST_TEST(!v.near.touches(v.vram));
        const bool late = co_await g.by(1ns);
        BOOST_TEST(late);
    }(w, f));
}

BOOST_AUTO_TEST_CASE(a_failed_one_throws_its_error_but_drains)
{
    lab::world w;
    flight f = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    w.settle();
    w.near.release(w.near.chunks().at(0), own);
    testing::finish(w.rt, [](flight& g) -> task<> {
        const outcome o = co_await g.drained();
        BOOST_TEST(o.error == own);
        BOOST_TEST(o.bytes == 0u);
        error_code e;
        try {
            co_await g.by(1h);
        } catch (const system_error& x) {
            e = x.code();
        }
        BOOST_TEST(e == own);
    }(f));
}

BOOST_AUTO_TEST_CASE(a_refused_one)
{
    lab::world w;
    for (const slice& bad : {slice{}, w.vram.at(0, 3)}) {
        flight f = start(w.dram.at(0, 4), bad);
        flight none = start(slice{}, slice{});
        testing::finish(w.rt, [](flight& g, flight& n) -> task<> {
            const outcome o = co_await g.drained();
            BOOST_TEST(o.error.failed());
            BOOST_TEST(g.done());
            const outcome p = co_await n.drained();
            BOOST_TEST(p.error == errc::invalid_slice);
        }(f, none));
    }
}

BOOST_AUTO_TEST_CASE(cancelled)
{
    lab::world w;
    flight f = start(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB));
    w.settle();
    f.cancel();
    f.cancel();
    w.settle();
    BOOST_TEST(!f.done());
    w.hold(false);
    testing::finish(w.rt, [](flight& g) -> task<> {
        const outcome o = co_await g.drained();
        BOOST_TEST(o.error == asio::error::operation_aborted);
        BOOST_TEST(o.bytes == 16_KiB);
    }(f));
    f.cancel(); // of nothing
}

BOOST_AUTO_TEST_CASE(one_that_goes_early_cancels_and_lets_go)
{
    lab::world w;
    {
        const flight f = start(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB));
        w.settle();
    }
    w.settle();
    BOOST_TEST(w.near.held() == 4u);
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return w.idle(); }));
    BOOST_TEST(w.near.submits() == 4u);
    BOOST_TEST(w.agent->measure().cancelled == 1u);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return !w.rt.has_work(); }));
}

BOOST_AUTO_TEST_CASE(moved_about)
{
    lab::world w;
    flight f, g = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    BOOST_TEST(f.done());
    w.settle();
    f = std::move(g);
    BOOST_TEST(!f.done());
    flight h{std::move(f)};
    w.settle();
    BOOST_TEST(w.near.held() == 1u);
    w.hold(false);
    testing::finish(w.rt, [](flight& it) -> task<> {
        const bool landed = co_await it.by(1h);
        BOOST_TEST(landed);
    }(h));
    h = start(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB));
    h = {}; // which lets go of it
    BOOST_TEST(testing::poll_until(w.rt, [&] { return w.idle(); }));
}

BOOST_AUTO_TEST_CASE(a_batch_flies_as_one)
{
    lab::world w;
    w.hold(false);
    std::vector<transfer> batch{{w.dram.at(0, 10), w.vram.at(0, 10)}, {w.file.at(0, 20), w.vram.at(10, 20)}};
    flight f = start(batch);
    batch.clear();
    testing::finish(w.rt, [](flight& g) -> task<> {
        const outcome o = co_await g.drained();
        BOOST_TEST((!o.error && o.bytes == 30));
    }(f));
}

// The one who waits may be cancelled; the transfer is not, and someone else may wait.
BOOST_AUTO_TEST_CASE(cancelling_the_wait_is_not_cancelling_the_transfer)
{
    lab::world w;
    flight f = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    asio::cancellation_signal signal;
    bool over = false;
    asio::co_spawn(w.rt, [](flight& g) -> task<> { co_await g.drained(); }(f),
                   asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { over = e != nullptr; }));
    w.settle();
    signal.emit(asio::cancellation_type::terminal);
    w.settle();
    BOOST_TEST(over);
    BOOST_TEST(!f.done());
    w.hold(false);
    testing::finish(w.rt, [](flight& g) -> task<> {
        const bool landed = co_await g.by(1h);
        BOOST_TEST(landed);
    }(f));
}

// Nor is it answered for then.
BOOST_AUTO_TEST_CASE(a_cancelled_wait_for_a_time_says_so)
{
    lab::world w;
    flight f = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    asio::cancellation_signal signal;
    error_code error;
    asio::co_spawn(w.rt,
                   [](flight& g, error_code& why) -> task<> {
                       try {
                           co_await g.by(1h);
                       } catch (const system_error& x) {
                           why = x.code();
                       }
                   }(f, error),
                   asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
    w.settle();
    signal.emit(asio::cancellation_type::terminal);
    w.settle();
    BOOST_TEST(error == asio::error::operation_aborted);
    BOOST_TEST(!f.done());
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return f.done(); }, 10'000));
}

// One who waited once and does something else now has no hand in the wait of another.
BOOST_AUTO_TEST_CASE(an_earlier_waiter_cannot_cancel_a_later_one)
{
    lab::world w;
    flight f = start(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB));
    asio::cancellation_signal signal;
    bool waited = false, drained = false;
    asio::co_spawn(w.rt,
                   [](lab::world& v, flight& g, bool& so) -> task<> {
                       const bool landed = co_await g.by(1ms);
                       so = !landed;
                       for (;;) co_await asio::post(v.rt, asio::deferred);
                   }(w, f, waited),
                   asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
    let_pass(w.rt, 2ms);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return waited; }));
    asio::co_spawn(w.rt, [](flight& g, bool& so) -> task<> {
                       const outcome o = co_await g.drained();
                       so = !o.error;
                   }(f, drained),
                   [](std::exception_ptr e) { BOOST_TEST((e == nullptr)); });
    w.settle();
    signal.emit(asio::cancellation_type::terminal);
    w.settle();
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return drained; }, 10'000));
}
