// SPDX-License-Identifier: Apache-2.0
// Cancellation, wherever an operation is when it comes: it stops what is not posted, waits for what is, and the
// byte count says what landed.
#define BOOST_TEST_MODULE cancel
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>

#include "support/lab_world.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

bool aborted(const lab::result& r, std::size_t bytes)
{
    return r.ends == 1 && r.error == asio::error::operation_aborted && r.bytes == bytes;
}

} // namespace

BOOST_AUTO_TEST_CASE(before_anything_is_posted)
{
    lab::world w;
    lab::result first, second;
    copy(w.dram.at(0, 16_KiB), w.vram.at(0, 16_KiB), first.token()); // fills the window
    copy(w.dram.at(16_KiB, 16_KiB), w.vram.at(16_KiB, 16_KiB), second.token());
    w.settle();
    const std::uint64_t posted = w.near.submits();
    second.cancel();
    BOOST_TEST(second.ends == 0); // not inside the call
    w.settle();
    BOOST_TEST(aborted(second, 0));
    BOOST_TEST(w.finish(first));
    BOOST_TEST((!first.error && first.bytes == 16_KiB));
    BOOST_TEST(w.near.submits() == posted);
    BOOST_TEST(w.agent->measure().cancelled == 1u);
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(at_once_and_twice)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    lab::result r;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), r.token());
    r.cancel();
    r.cancel();
    w.settle();
    BOOST_TEST(aborted(r, 0));
    r.cancel(); // of nothing
    w.settle();
    BOOST_TEST(r.ends == 1);
}

// What a driver refused and nobody wants any more keeps nobody else waiting.
BOOST_AUTO_TEST_CASE(while_it_is_refused)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    lab::result r, next;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), r.token());
    w.settle();
    r.cancel();
    w.near.manners = {};
    w.settle();
    BOOST_TEST(aborted(r, 0));
    copy(w.dram.at(0, 1), w.vram.at(0, 1), next.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return next.ends == 1; }, 1000));
}

BOOST_AUTO_TEST_CASE(in_flight_it_waits_for_the_device)
{
    lab::world w;
    lab::result r;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), r.token());
    w.settle();
    BOOST_TEST(w.near.held() == 4u);
    r.cancel();
    w.settle();
    BOOST_TEST(r.ends == 0);
    BOOST_TEST(w.near.touches(w.vram.at(0, 64_KiB)));
    const auto held = w.near.chunks();
    w.near.release(held[0]);
    w.near.release(held[1], {}, 1000); // short: the rest is not asked for
    w.near.release(held[2], error_code{1, lab::category()});
    w.settle();
    BOOST_TEST(r.ends == 0);
    BOOST_TEST(w.near.held() == 1u);
    w.near.release(held[3]);
    w.settle();
    BOOST_TEST(aborted(r, 4_KiB + 1000 + 4_KiB));
    BOOST_TEST(w.near.submits() == 4u);
    BOOST_TEST(w.idle());
}

// It came too late to stop a byte, and is reported all the same: Asio's operations do so too.
BOOST_AUTO_TEST_CASE(when_all_of_it_is_posted)
{
    lab::world w;
    lab::result r;
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), r.token());
    w.settle();
    r.cancel();
    BOOST_TEST(w.finish(r));
    BOOST_TEST(aborted(r, 4_KiB));
}

BOOST_AUTO_TEST_CASE(between_two_hops)
{
    lab::world w;
    lab::result r;
    copy(w.file.at(0, 4_KiB), w.vram.at(0, 4_KiB), r.token());
    w.settle();
    w.near.manners.refuse_all = true;
    w.far.release(w.far.chunks().at(0));
    w.settle();
    BOOST_TEST(w.agent->measure().staging_in_use == 4_KiB); // read, and waiting to be written
    r.cancel();
    w.settle();
    BOOST_TEST(aborted(r, 0));
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(during_the_first_hop)
{
    lab::world w;
    lab::result r;
    copy(w.file.at(0, 4_KiB), w.vram.at(0, 4_KiB), r.token());
    w.settle();
    r.cancel();
    w.settle();
    BOOST_TEST(r.ends == 0); // the disk reads the file, into memory of ours
    BOOST_TEST(w.finish(r));
    BOOST_TEST(aborted(r, 0));
    BOOST_TEST(w.near.submits() == 0u);
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(while_it_waits_for_staging)
{
    lab::world w;
    std::array<lab::result, 3> r;
    for (std::size_t i = 0; i < 3; ++i)
        copy(w.file.at(i * 16_KiB, 16_KiB), w.vram.at(i * 16_KiB, 16_KiB), r[i].token());
    w.settle();
    BOOST_TEST(w.agent->measure().staging_in_use == 16_KiB); // all of it is the first one's
    r[1].cancel();
    w.settle();
    BOOST_TEST(aborted(r[1], 0));
    BOOST_TEST(w.finish(r[0], r[2]));
    BOOST_TEST((!r[0].error && !r[2].error));
}

// A wake-up for a staging buffer that goes to one who is cancelled before it takes it is passed on.
BOOST_AUTO_TEST_CASE(after_it_was_woken_for_staging)
{
    agent_options o = lab::small_staging();
    o.staging_bytes = 8_KiB; // two buffers
    lab::world w{lab::small_limits(), o};
    std::array<lab::result, 4> r;
    const auto begin = [&](std::size_t i, std::size_t bytes) {
        copy(w.file.at(i * 16_KiB, bytes), w.vram.at(i * 16_KiB, bytes), r[i].token());
    };
    begin(0, 8_KiB);
    begin(1, 4_KiB);
    begin(2, 4_KiB);
    begin(3, 4_KiB);
    w.settle();
    w.near.manners.refuse_all = true;
    for (chunk* c : w.far.chunks()) w.far.release(c);
    w.settle();
    BOOST_TEST(w.agent->measure().staging_in_use == 8_KiB); // between hops
    r[0].cancel(); // which frees both, and wakes two
    r[1].cancel();
    r[2].cancel();
    w.near.manners.refuse_all = false;
    BOOST_TEST(w.finish(r[0], r[1], r[2], r[3]));
    BOOST_TEST((!r[3].error && r[3].bytes == 4_KiB));
}

// Sessions of objects are ended whatever happens, and a half-written object is never seen.
BOOST_AUTO_TEST_CASE(while_an_object_is_opened_written_and_committed)
{
    for (int stage = 0; stage < 4; ++stage) {
        BOOST_TEST_CONTEXT("stage " << stage)
        {
            lab::world w;
            const auto old = std::make_shared<lab::blob>(lab::blob{lab::pattern(10), {}});
            w.on.objects["o"] = old;
            lab::result r;
            copy(w.dram.at(0, 16_KiB), w.bucket.object("o"), r.token());
            w.settle();
            const auto let_all_go = [&] {
                for (chunk* c : w.far.chunks()) w.far.release(c);
                w.settle();
            };
            const auto is = [&](step s) { return w.far.held() != 0 && w.far.chunks()[0]->step == s; };
            BOOST_TEST(is(step::open));
            if (stage >= 1) {
                let_all_go();
                BOOST_TEST(is(step::move));
            }
            if (stage >= 2) {
                w.far.release(w.far.chunks().at(0));
                w.settle();
            }
            if (stage >= 3) {
                let_all_go();
                BOOST_TEST(is(step::commit));
            }
            r.cancel();
            w.settle();
            BOOST_TEST(r.ends == 0);
            BOOST_TEST(w.finish(r));
            BOOST_TEST(r.error == asio::error::operation_aborted);
            BOOST_TEST(w.on.sessions == 0);
            if (stage < 3) {
                BOOST_TEST((w.on.objects["o"] == old));
                BOOST_TEST(r.bytes == 0u);
            } else { // the commit was with the device already
                BOOST_TEST((w.on.objects["o"]->data.size() == 16_KiB));
                BOOST_TEST(r.bytes == 16_KiB);
            }
            BOOST_TEST(w.idle());
        }
    }
}

BOOST_AUTO_TEST_CASE(while_an_object_is_opened_for_reading)
{
    lab::world w;
    w.on.objects["o"] = std::make_shared<lab::blob>(lab::blob{lab::pattern(16_KiB), {}});
    lab::result r;
    copy(w.bucket.object("o"), w.vram.at(0, 16_KiB), r.token());
    w.settle();
    BOOST_TEST((w.far.chunks().at(0)->step == step::open));
    r.cancel();
    BOOST_TEST(w.finish(r));
    BOOST_TEST(aborted(r, 0));
    BOOST_TEST(w.on.sessions == 0);
    BOOST_TEST(w.on.segments == 1); // the file: the object went with its transfer
}

// With per-slice status, each says for itself.
BOOST_AUTO_TEST_CASE(a_batch_half_done)
{
    lab::world w;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < 8; ++i) batch.push_back({w.dram.block(i, 4_KiB), w.vram.block(i, 4_KiB)});
    std::vector<error_code> status(8, errc::shut_down);
    copy_options options;
    options.status = status;
    lab::result r;
    copy(std::span<const transfer>{batch}, options, r.token());
    w.settle();
    const error_code own{3, lab::category()};
    for (chunk* c : w.near.chunks())
        if (c->from.offset == 0) w.near.release(c);
        else if (c->from.offset == 4_KiB) w.near.release(c, own);
    w.settle(); // two more are posted in their place
    BOOST_TEST(w.near.held() == 4u);
    r.cancel();
    BOOST_TEST(w.finish(r));
    BOOST_TEST(r.bytes == 5 * 4_KiB);
    BOOST_TEST(r.error == own); // the first error
    for (const std::size_t i : {0, 2, 3, 4, 5}) BOOST_TEST(!status[i], i);
    BOOST_TEST(status[1] == own);
    for (const std::size_t i : {6, 7}) BOOST_TEST(status[i] == asio::error::operation_aborted, i);
}

// Through a coroutine: the cancellation of what awaits.
BOOST_AUTO_TEST_CASE(a_coroutine_passes_it_on)
{
    lab::world w;
    asio::cancellation_signal signal;
    error_code seen;
    bool over = false;
    asio::co_spawn(
        w.rt,
        [](lab::world& v, error_code& e) -> task<> {
            try {
                co_await copy(v.dram.at(0, 64_KiB), v.vram.at(0, 64_KiB));
            } catch (const system_error& x) {
                e = x.code();
            }
        }(w, seen),
        asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) { over = true; }));
    w.settle();
    signal.emit(asio::cancellation_type::terminal);
    w.settle();
    BOOST_TEST(!over);
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return over; }));
    BOOST_TEST(seen == asio::error::operation_aborted);
}

// From the handler of another operation, and from a handler that runs just before its own.
BOOST_AUTO_TEST_CASE(from_a_handler_in_the_same_pass)
{
    lab::world w;
    w.hold(false);
    lab::result second;
    int first = 0;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), [&](error_code, std::size_t) {
        ++first;
        second.cancel(); // it has ended too, and waits to be called
    });
    copy(w.dram.at(1, 1), w.vram.at(1, 1), second.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return first == 1 && second.ends == 1; }));
    BOOST_TEST((!second.error && second.bytes == 1));
}
