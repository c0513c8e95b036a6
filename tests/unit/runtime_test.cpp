// SPDX-License-Identifier: Apache-2.0
// The progress loop: ways to drive it, what it runs and in which order, and how it ends.
#define BOOST_TEST_MODULE runtime
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <timer_heap.hpp>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

BOOST_AUTO_TEST_CASE(run_ends_when_nothing_is_left)
{
    runtime rt;
    int ran = 0;
    asio::post(rt, [&] {
        ++ran;
        asio::post(rt, [&] { ++ran; });
    });
    BOOST_TEST(rt.has_work());
    BOOST_TEST(rt.run() >= 2u);
    BOOST_TEST(ran == 2);
    BOOST_TEST(!rt.has_work());
    BOOST_TEST(rt.run() == 0u);
}

BOOST_AUTO_TEST_CASE(stop_ends_a_run_and_the_next_goes_on)
{
    runtime rt;
    bool later = false;
    asio::post(rt, [&] {
        rt.stop();
        asio::post(rt, [&] { later = true; });
    });
    rt.run();
    BOOST_TEST(!later);
    BOOST_TEST(rt.has_work());
    rt.run();
    BOOST_TEST(later);
}

BOOST_AUTO_TEST_CASE(stop_wakes_a_sleeper_from_another_thread)
{
    runtime rt;
    const auto busy = asio::make_work_guard(rt.get_executor());
    std::thread other{[&] { rt.stop(); }};
    rt.run(); // for ever, otherwise
    other.join();
    BOOST_TEST(rt.has_work());
}

BOOST_AUTO_TEST_CASE(run_for_leaves_work_behind)
{
    runtime rt;
    const auto busy = asio::make_work_guard(rt.get_executor());
    const auto began = std::chrono::steady_clock::now();
    rt.run_for(2ms);
    BOOST_TEST((std::chrono::steady_clock::now() - began >= 2ms));
    BOOST_TEST(rt.has_work());
}

/// Can be slept on, it says; but whenever that is about to be done, something has come.
class fickle final : public driver {
public:
    std::string_view name() const noexcept override { return "fickle"; }
    wye::limits limits() const noexcept override { return {}; }
    bool carries(const slice&, const slice&) const noexcept override { return true; }
    bool submit(chunk& c) noexcept override
    {
        has_ = &c;
        return true;
    }
    std::size_t poll(turn) noexcept override
    {
        if (!std::exchange(come_, false)) return 0;
        std::exchange(has_, nullptr)->done();
        return 1;
    }
    int wait_handle() const noexcept override { return pipe_[0]; }
    bool arm() noexcept override
    {
        come_ = has_ != nullptr;
        return !come_;
    }

    fickle() { BOOST_REQUIRE(::pipe(pipe_) == 0); }
    ~fickle() override
    {
        ::close(pipe_[0]);
        ::close(pipe_[1]);
    }

private:
    int pipe_[2];
    chunk* has_ = nullptr;
    bool come_ = false;
};

// What comes just before the loop sleeps is not slept upon.
BOOST_AUTO_TEST_CASE(a_driver_that_cannot_be_armed_is_polled)
{
    runtime rt;
    agent_options o;
    o.default_drivers = false;
    wye::agent agent{rt, {}, o};
    agent.add(std::make_unique<fickle>());
    lab::bytes bytes(16);
    region memory;
    testing::finish(rt, [](wye::agent& a, lab::bytes& b, region& r) -> task<> {
        r = co_await a.register_memory(dram(b));
    }(agent, bytes, memory));
    lab::result r;
    copy(memory.at(0, 8), memory.at(8, 8), r.token());
    rt.run_for(10s);
    BOOST_TEST(r.ends == 1);
    BOOST_TEST(!r.error);
}

BOOST_AUTO_TEST_CASE(poll_returns_with_something_in_flight)
{
    lab::world w;
    BOOST_TEST(!w.rt.poll().more);
    lab::result r;
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), r.token());
    w.settle();
    const poll_result p = w.rt.poll(); // the device holds it
    BOOST_TEST(p.more);
    BOOST_TEST(r.ends == 0);
    BOOST_TEST(w.finish(r));
    w.settle();
    BOOST_TEST(!w.rt.poll().more);
}

// What a budget of nothing allows: a few handlers, one piece posted, and the rest in later calls.
BOOST_AUTO_TEST_CASE(a_poll_keeps_its_budget)
{
    lab::world w{[] {
        limits l = lab::small_limits();
        l.window_chunks = 64;
        return l;
    }()};
    std::vector<int> ran;
    for (int i = 0; i < 1000; ++i) asio::post(w.rt, [&ran, i] { ran.push_back(i); });
    BOOST_TEST(w.rt.poll(duration{0}).more);
    BOOST_TEST(ran.size() < 100u);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return ran.size() == 1000; }));
    for (int i = 0; i < 1000; ++i) BOOST_TEST_REQUIRE(ran[static_cast<std::size_t>(i)] == i);

    std::size_t polls = 0;
    lab::result r;
    asio::post(w.rt, [&] { copy(w.dram.at(0, 128_KiB), w.vram.at(0, 128_KiB), r.token()); });
    const std::uint64_t before = w.near.submits();
    for (; w.near.submits() != before + 32; ++polls) {
        const std::uint64_t now = w.near.submits();
        BOOST_TEST_REQUIRE(polls < 1000u);
        w.rt.poll(duration{0});
        BOOST_TEST(w.near.submits() - now <= 1u);
    }
    BOOST_TEST(polls >= 32u);
    BOOST_TEST(w.finish(r));
}

// A handler that posts itself again does not keep a poll from returning.
BOOST_AUTO_TEST_CASE(a_poll_without_a_budget_is_one_pass)
{
    runtime rt;
    int ran = 0;
    std::function<void()> again = [&] {
        if (++ran < 100) asio::post(rt, again);
    };
    asio::post(rt, again);
    rt.poll();
    BOOST_TEST(ran == 1);
    rt.run();
    BOOST_TEST(ran == 100);
}

BOOST_AUTO_TEST_CASE(posts_from_other_threads_arrive_in_their_order)
{
    runtime rt;
    auto busy = std::make_unique<asio::executor_work_guard<executor>>(rt.get_executor());
    constexpr int threads = 4, each = 2000;
    std::array<int, threads> next{};
    int total = 0, wrong = 0;
    const auto here = std::this_thread::get_id();
    std::vector<std::thread> others;
    for (int t = 0; t < threads; ++t)
        others.emplace_back([&, t] {
            for (int i = 0; i < each; ++i)
                asio::post(rt, [&, t, i] {
                    if (next[static_cast<std::size_t>(t)]++ != i || std::this_thread::get_id() != here) ++wrong;
                    if (++total == threads * each) busy.reset();
                });
        });
    rt.run();
    for (auto& o : others) o.join();
    BOOST_TEST(total == threads * each);
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(exceptions_of_handlers_pass_through_and_the_loop_goes_on)
{
    lab::world w;
    w.hold(false);
    int ran = 0;
    asio::post(w.rt, [] { throw std::runtime_error{"mine"}; });
    asio::post(w.rt, [&] { ++ran; });
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), [&](error_code e, std::size_t) {
        ++ran;
        throw std::logic_error{e.message()};
    });
    BOOST_CHECK_THROW(w.rt.run(), std::runtime_error);
    BOOST_CHECK_THROW(w.rt.run(), std::logic_error);
    w.rt.run();
    BOOST_TEST(ran == 2);
    BOOST_TEST(w.idle());
}

// Timers.

WYE_CO_TEST(sleeps_end_in_the_order_of_their_times)
{
    std::vector<int> order;
    rt.sleep(6ms, [&](error_code) { order.push_back(3); });
    rt.sleep(2ms, [&](error_code) { order.push_back(1); });
    rt.sleep(4ms, [&](error_code) { order.push_back(2); });
    const auto began = std::chrono::steady_clock::now();
    co_await rt.sleep(8ms);
    BOOST_TEST((std::chrono::steady_clock::now() - began >= 8ms));
    BOOST_TEST((order == std::vector{1, 2, 3}));
}

BOOST_AUTO_TEST_CASE(a_sleep_never_ends_inside_the_call)
{
    runtime rt;
    int ended = 0;
    rt.sleep(0ms, [&](error_code e) { ended += !e; });
    rt.sleep(-1s, [&](error_code e) { ended += !e; });
    BOOST_TEST(ended == 0);
    rt.run();
    BOOST_TEST(ended == 2);
}

BOOST_AUTO_TEST_CASE(a_sleep_can_be_cancelled)
{
    runtime rt;
    asio::cancellation_signal signal;
    error_code error;
    rt.sleep(1h, asio::bind_cancellation_slot(signal.slot(), [&](error_code e) { error = e; }));
    rt.poll();
    signal.emit(asio::cancellation_type::terminal);
    BOOST_TEST(!error);
    rt.run();
    BOOST_TEST(error == asio::error::operation_aborted);
    signal.emit(asio::cancellation_type::terminal); // of nothing
}

BOOST_AUTO_TEST_CASE(the_timer_heap_is_a_multimap)
{
    using detail::timer;
    using time = std::chrono::steady_clock::time_point;
    for (unsigned seed = 1; seed <= 50; ++seed) {
        std::mt19937 random{seed};
        std::vector<timer> timers(100);
        detail::timer_heap heap;
        std::multimap<time, timer*> model;
        const auto forget = [&](timer& t) {
            for (auto [at, end] = model.equal_range(t.when); at != end; ++at)
                if (at->second == &t) return void(model.erase(at));
        };
        for (int step = 0; step < 2000; ++step) {
            timer& t = timers[random() % timers.size()];
            if (!t.armed()) {
                t.when = time{std::chrono::nanoseconds{random() % 64}};
                heap.add(t);
                model.emplace(t.when, &t);
            } else if (random() % 2) {
                forget(t);
                heap.remove(t);
            } else {
                timer& first = heap.front();
                forget(first);
                heap.remove(first);
            }
            BOOST_TEST_REQUIRE(heap.empty() == model.empty());
            if (!model.empty()) BOOST_TEST_REQUIRE((heap.front().when == model.begin()->first));
            if (step % 8 != 0) continue; // what they disagree on stays so
            for (timer& each : timers) {
                const auto [at, end] = model.equal_range(each.when);
                const bool known = std::any_of(at, end, [&](const auto& m) { return m.second == &each; });
                if (each.armed() != known) BOOST_TEST_REQUIRE(false, "armed and known differ");
            }
        }
        heap.remove(timers[0]);
        heap.remove(timers[0]); // one that is not armed is let be
    }
}

// As an Asio executor.

BOOST_AUTO_TEST_CASE(dispatch_is_inline_inside_and_queued_outside)
{
    runtime rt;
    int inside = 0;
    asio::dispatch(rt.get_executor(), [&] { ++inside; });
    BOOST_TEST(inside == 0);
    asio::post(rt, [&] {
        asio::dispatch(rt.get_executor(), [&] { ++inside; });
        BOOST_TEST(inside == 2);
    });
    rt.run();
    BOOST_TEST(inside == 2);
    const asio::any_io_executor erased = rt.get_executor();
    BOOST_TEST((erased == asio::any_io_executor{rt.get_executor()}));
    runtime other;
    BOOST_TEST((rt.get_executor() != other.get_executor()));
}

WYE_CO_TEST(asio_timers_live_in_the_same_loop)
{
    asio::steady_timer t{co_await asio::this_coro::executor, 1ms};
    co_await t.async_wait(asio::use_awaitable);
    BOOST_TEST((&t.get_executor().context() == &rt.io()));
}

BOOST_AUTO_TEST_CASE(a_sleep_begun_on_another_thread_is_caught)
{
    runtime rt;
    error_code error;
    std::thread other{[&] { rt.sleep(1ms, [&](error_code e) { error = e; }); }};
    other.join();
    rt.run();
    BOOST_TEST(error == errc::wrong_thread);
}

// Endings.

namespace {

/// Counts those of its kind that are alive.
struct life {
    explicit life(int& n) : count{&n} { ++*count; }
    life(life&& o) noexcept : count{std::exchange(o.count, nullptr)} {}
    ~life() { if (count) --*count; }
    int* count;
};

/// An agent over one lab device, owned by the coroutine that copies, and a device that takes its time.
task<> copies(runtime& rt, lab::bench& on, life, bool& resumed, bool inside_a_race)
{
    agent_options o;
    o.default_drivers = false;
    wye::agent agent{rt, "lab", o};
    lab::device& d = agent.add(std::make_unique<lab::device>(on, lab::device_options{"near", lab::memory_pairs, {}}));
    lab::bytes a = lab::pattern(64_KiB), b(64_KiB);
    const region from = co_await agent.register_memory(dram(a));
    const region to = co_await agent.register_memory(dram(b));
    d.manners.most_polls = 1000;
    if (inside_a_race) co_await race(copy(from, to), rt.sleep(1h));
    else co_await copy(from, to);
    resumed = true;
}

task<> sleeps(runtime& rt, life, bool& resumed)
{
    co_await rt.sleep(1h);
    resumed = true;
}

task<> awaits_all(runtime& rt, int& alive, bool& resumed)
{
    co_await when_all(sleeps(rt, life{alive}, resumed), sleeps(rt, life{alive}, resumed));
    resumed = true;
}

task<> awaits_asio(life, bool& resumed)
{
    asio::steady_timer t{co_await asio::this_coro::executor, 1h};
    co_await t.async_wait(asio::use_awaitable);
    resumed = true;
}

task<> awaits_notification(runtime& rt, life, bool& resumed)
{
    wye::agent a{rt};
    co_await a.notified("never");
    resumed = true;
}

task<> flies(runtime& rt, lab::bench& on, life, bool& resumed)
{
    agent_options o;
    o.default_drivers = false;
    wye::agent agent{rt, "lab", o};
    lab::device& d = agent.add(std::make_unique<lab::device>(on, lab::device_options{"near", lab::memory_pairs, {}}));
    lab::bytes a = lab::pattern(64_KiB), b(64_KiB);
    const region from = co_await agent.register_memory(dram(a));
    const region to = co_await agent.register_memory(dram(b));
    d.manners.most_polls = 1000;
    flight f = start(from, to);
    co_await f.drained();
    resumed = true;
}

} // namespace

// Whoever waits for whatever is dropped, not resumed; what hardware works on is waited for first.
BOOST_AUTO_TEST_CASE(a_runtime_goes_with_coroutines_suspended)
{
    lab::bench on;
    int alive = 0;
    bool resumed = false;
    {
        runtime rt;
        const life mine{alive};
        for (int i = 0; i < 3; ++i) {
            asio::co_spawn(rt, copies(rt, on, life{alive}, resumed, false), asio::detached);
            asio::co_spawn(rt, copies(rt, on, life{alive}, resumed, true), asio::detached);
            asio::co_spawn(rt, flies(rt, on, life{alive}, resumed), asio::detached);
            asio::co_spawn(rt, sleeps(rt, life{alive}, resumed), asio::detached);
            asio::co_spawn(rt, awaits_all(rt, alive, resumed), asio::detached);
            asio::co_spawn(rt, awaits_asio(life{alive}, resumed), asio::detached);
            asio::co_spawn(rt, awaits_notification(rt, life{alive}, resumed), asio::detached);
        }
        for (int i = 0; i < 20; ++i) rt.poll();
        BOOST_TEST(alive == 1 + 3 * 8);
        asio::co_spawn(rt, sleeps(rt, life{alive}, resumed), asio::detached); // never begun
    }
    BOOST_TEST(alive == 0);
    BOOST_TEST(!resumed);
    for (const std::string& f : on.faults) BOOST_TEST(f == "");
}

BOOST_AUTO_TEST_CASE(an_agent_goes_with_copies_in_flight)
{
    lab::world w;
    std::array<lab::result, 4> r;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), r[0].token());  // more than a window
    copy(w.dram.at(0, 64_KiB), w.vram.at(64_KiB, 64_KiB), r[1].token()); // waits
    copy(w.file.at(0, 64_KiB), w.vram.at(128_KiB, 64_KiB), r[2].token()); // staged
    copy(w.dram.at(0, 64_KiB), w.bucket.object("o"), r[3].token()); // opened
    w.settle();
    BOOST_TEST((w.near.held() != 0 && w.far.held() != 0));
    w.hold(false);
    w.agent.reset(); // waits for what is posted, posts no more
    w.settle();
    for (const lab::result& each : r) {
        BOOST_TEST(each.ends == 1);
        BOOST_TEST(each.error == asio::error::operation_aborted);
        BOOST_TEST(each.bytes < 64_KiB);
    }
    BOOST_TEST(!w.on.objects.contains("o"));
    lab::result after;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), after.token());
    w.settle();
    BOOST_TEST(after.error == errc::invalid_slice);
}

// In a child process, since that is how it ends.
BOOST_AUTO_TEST_CASE(a_region_destroyed_in_flight_aborts)
{
    int said[2];
    BOOST_TEST_REQUIRE(::pipe(said) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        ::dup2(said[1], STDERR_FILENO);
        lab::world w;
        lab::result r;
        copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), r.token());
        w.settle();
        w.vram.reset();
        ::_exit(0);
    }
    ::close(said[1]);
    std::string words;
    char part[256];
    for (ssize_t n; (n = ::read(said[0], part, sizeof part)) > 0;) words.append(part, static_cast<std::size_t>(n));
    ::close(said[0]);
    int status = 0;
    BOOST_TEST_REQUIRE(::waitpid(child, &status, 0) == child);
    BOOST_TEST((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
    BOOST_TEST(words.find("VRAM") != words.npos, words);
    BOOST_TEST(words.find("1 transfers in flight") != words.npos, words);
}
