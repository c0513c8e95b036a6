// SPDX-License-Identifier: Apache-2.0
// Told after the last byte, exactly once, by exact key.
#define BOOST_TEST_MODULE notify
#include <boost/test/unit_test.hpp>

#include <deque>
#include <optional>

#include <notifications.hpp>
#include <progress_loop.hpp>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

copy_options telling(std::string_view key)
{
    copy_options o;
    o.notify = key;
    return o;
}

/// Someone who waits for a key.
struct listener {
    listener(lab::world& w, std::string key, duration deadline = {}, std::uint32_t count = 1)
    {
        asio::co_spawn(w.rt, listen(*w.agent, std::move(key), deadline, count, *this),
                       asio::bind_cancellation_slot(signal.slot(), [this](std::exception_ptr e) {
                           over = true;
                           try {
                               if (e) std::rethrow_exception(e);
                           } catch (const system_error& x) {
                               error = x.code();
                           }
                       }));
        w.rt.poll();
    }
    static task<> listen(wye::agent& a, std::string key, duration deadline, std::uint32_t count, listener& self)
    {
        const wanted all{.key = key, .count = count, .deadline = deadline};
        self.heard = co_await a.notified(all);
    }

    bool over = false;
    error_code error;
    std::optional<notification> heard;
    asio::cancellation_signal signal;
};

} // namespace

BOOST_AUTO_TEST_CASE(after_the_last_byte)
{
    lab::world w;
    listener l{w, "req-17"};
    lab::result r;
    copy(w.dram.at(0, 12_KiB), w.vram.at(0, 12_KiB), telling("req-17"), r.token());
    w.settle();
    while (w.near.held() > 1) {
        w.near.release(w.near.chunks()[0]);
        w.settle();
        BOOST_TEST(!l.over);
    }
    w.near.release(w.near.chunks().at(0));
    w.settle();
    BOOST_TEST_REQUIRE(l.heard.has_value());
    BOOST_TEST(l.heard->key == "req-17");
    BOOST_TEST(l.heard->peer == "lab");
    BOOST_TEST(!l.heard->aborted);
    BOOST_TEST(std::equal(w.dram_bytes.begin(), w.dram_bytes.begin() + 12_KiB, w.vram_bytes.begin()));
    BOOST_TEST(r.ends == 1);
}

// The key need not live longer than the call; what comes before anyone listens is kept.
BOOST_AUTO_TEST_CASE(before_anyone_listens)
{
    lab::world w;
    w.hold(false);
    lab::result r;
    {
        const std::string key = "kv/" + std::string(100, 'x');
        copy(w.file.at(0, 9000), w.vram.at(0, 9000), telling(key), r.token());
        w.settle();
    }
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    listener l{w, "kv/" + std::string(100, 'x')}, again{w, "kv/" + std::string(100, 'x')};
    w.settle();
    BOOST_TEST(l.heard.has_value());
    BOOST_TEST(!again.over); // once
    again.signal.emit(asio::cancellation_type::terminal);
    w.settle();
}

BOOST_AUTO_TEST_CASE(only_the_exact_key)
{
    lab::world w;
    w.hold(false);
    std::deque<listener> others;
    for (const char* key : {"a", "aaa", "", "AA", "aa "}) others.emplace_back(w, key);
    listener l{w, "aa"};
    lab::result r;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("aa"), r.token());
    w.settle();
    BOOST_TEST(l.heard.has_value());
    for (listener& o : others) {
        BOOST_TEST(!o.over);
        o.signal.emit(asio::cancellation_type::terminal);
    }
    w.settle();
    for (const listener& o : others) BOOST_TEST(o.error == asio::error::operation_aborted);
}

BOOST_AUTO_TEST_CASE(each_is_told_once)
{
    lab::world w;
    w.hold(false);
    std::deque<listener> l;
    for (int i = 0; i < 3; ++i) l.emplace_back(w, "k");
    std::deque<lab::result> r(5);
    for (lab::result& each : r) {
        copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("k"), each.token());
        w.settle();
    }
    for (const listener& each : l) BOOST_TEST(each.heard.has_value());
    listener fourth{w, "k"}, fifth{w, "k"}, sixth{w, "k"};
    w.settle();
    BOOST_TEST((fourth.heard && fifth.heard && !sixth.over));
    sixth.signal.emit(asio::cancellation_type::terminal);
    w.settle();
}

// A batch is one transfer, an empty one too.
BOOST_AUTO_TEST_CASE(a_batch_tells_once_and_an_empty_slice_too)
{
    lab::world w;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < 20; ++i) batch.push_back({w.dram.block(i, 100), w.vram.block(i, 100)});
    lab::result r, empty;
    copy(std::span<const transfer>{batch}, telling("b"), r.token());
    copy(w.dram.at(0, 0), w.vram.at(0, 0), telling("e"), empty.token());
    listener l{w, "b"}, second{w, "b"}, e{w, "e"};
    w.settle();
    BOOST_TEST(!l.over);
    BOOST_TEST(w.finish(r, empty)); // which waited its turn behind the batch, as any other
    w.settle();
    BOOST_TEST((e.heard && !e.heard->aborted));
    BOOST_TEST(int{l.over} + int{second.over} == 1);
    for (listener* each : {&l, &second}) each->signal.emit(asio::cancellation_type::terminal);
    w.settle();
}

BOOST_AUTO_TEST_CASE(a_failure_after_the_first_byte_says_aborted)
{
    for (const bool cancelled : {false, true}) {
        lab::world w;
        listener l{w, "k"};
        lab::result r;
        copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), telling("k"), r.token());
        w.settle();
        if (cancelled) r.cancel();
        else w.near.release(w.near.chunks().at(1), error_code{1, lab::category()});
        w.settle();
        BOOST_TEST(!l.over); // not while a device may still write
        BOOST_TEST(w.finish(r));
        w.settle();
        BOOST_TEST_REQUIRE(l.heard.has_value());
        BOOST_TEST(l.heard->aborted);
    }
}

BOOST_AUTO_TEST_CASE(a_copy_that_never_began_says_nothing)
{
    lab::world w;
    listener l{w, "k"};
    lab::result refused, queued, blocker;
    copy(w.dram.at(256_KiB, 1), w.vram.at(0, 1), telling("k"), refused.token());
    copy(w.dram.at(0, 16_KiB), w.vram.at(0, 16_KiB), blocker.token());
    copy(w.dram.at(0, 1), w.vram.at(16_KiB, 1), telling("k"), queued.token());
    w.settle();
    queued.cancel();
    w.settle();
    BOOST_TEST((refused.ends == 1 && queued.ends == 1));
    BOOST_TEST(!l.over);
    BOOST_TEST(w.finish(blocker));
    l.signal.emit(asio::cancellation_type::terminal);
    w.settle();
    BOOST_TEST(l.error == asio::error::operation_aborted);
}

BOOST_AUTO_TEST_CASE(a_wait_may_have_a_deadline)
{
    lab::world w;
    w.hold(false);
    listener l{w, "k", 1ms}, patient{w, "p", 1h};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return l.over; }, 100'000'000));
    BOOST_TEST(l.error == errc::deadline_missed);
    lab::result k, p;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("k"), k.token());
    copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("p"), p.token());
    w.settle();
    BOOST_TEST(patient.heard.has_value());
    listener next{w, "k"}; // it is not lost on who has gone
    w.settle();
    BOOST_TEST(next.heard.has_value());
}

// Of several it takes the last, whenever they come, and it says aborted if any was.
BOOST_AUTO_TEST_CASE(a_wait_may_count)
{
    lab::world w;
    const auto tell = [&](bool well) {
        lab::result r;
        copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("rank"), r.token());
        w.settle();
        w.near.release(w.near.chunks().at(0), well ? error_code{} : error_code{1, lab::category()});
        w.settle();
        BOOST_TEST(r.ends == 1);
    };
    tell(true); // before anybody waits
    listener l{w, "rank", {}, 3};
    BOOST_TEST(!l.over);
    tell(false);
    BOOST_TEST(!l.over);
    tell(true);
    BOOST_TEST_REQUIRE(l.heard.has_value());
    BOOST_TEST(l.heard->aborted);
    listener next{w, "rank", 1ms};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return next.over; }, 100'000'000));
    BOOST_TEST(next.error == errc::deadline_missed);
}

// What came for a wait that did not get all of them is there for the next.
BOOST_AUTO_TEST_CASE(a_count_that_is_not_reached_swallows_nothing)
{
    lab::world w;
    w.hold(false);
    listener l{w, "rank", {}, 3};
    lab::result first, second;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("rank"), first.token());
    copy(w.dram.at(0, 1), w.vram.at(0, 1), telling("rank"), second.token());
    w.settle();
    BOOST_TEST(!l.over);
    l.signal.emit(asio::cancellation_type::terminal);
    w.settle();
    BOOST_TEST(l.error == asio::error::operation_aborted);
    listener both{w, "rank", {}, 2};
    BOOST_TEST(both.heard.has_value());
}

// A wait that is cancelled in the very moment in which its notification comes does not swallow it.
BOOST_AUTO_TEST_CASE(a_cancelled_wait_swallows_nothing)
{
    lab::world w;
    listener l{w, "k"};
    asio::post(w.rt, [&] {
        l.signal.emit(asio::cancellation_type::terminal);
        copy(w.dram.at(0, 0), w.vram.at(0, 0), telling("k"), [](error_code, std::size_t) {}); // ends at once
    });
    w.settle();
    BOOST_TEST(l.over);
    listener next{w, "k"};
    w.settle();
    BOOST_TEST(int{l.heard.has_value()} + int{next.heard.has_value()} == 1);
    if (!next.over) next.signal.emit(asio::cancellation_type::terminal);
    w.settle();
}

BOOST_AUTO_TEST_CASE(whoever_waits_for_an_agent_that_goes_is_told)
{
    lab::world w;
    listener l{w, "k"};
    w.agent.reset();
    w.settle();
    BOOST_TEST(l.error == errc::shut_down);
}

// They never grow without bound: the oldest go, and are counted.
BOOST_AUTO_TEST_CASE(unclaimed_ones_are_bounded)
{
    runtime rt;
    detail::notifications n{detail::full(rt.loop())};
    constexpr std::size_t extra = 10;
    for (std::size_t i = 0; i < n.most_unclaimed + extra; ++i) n.deliver({"me", std::to_string(i)});
    BOOST_TEST(n.expired() == extra);
    std::vector<std::string> keys{std::to_string(extra), std::to_string(n.most_unclaimed + extra - 1)};
    testing::finish(rt, [](detail::notifications& all, std::vector<std::string> wanted) -> task<> {
        for (const std::string& key : wanted) {
            const notification got = co_await all.wait(key, {}, 1, 1ms);
            BOOST_TEST(got.key == key);
        }
        error_code e;
        try {
            co_await all.wait("0", {}, 1, 1ms); // the oldest of all
        } catch (const system_error& x) {
            e = x.code();
        }
        BOOST_TEST(e == errc::deadline_missed);
    }(n, keys));
}
