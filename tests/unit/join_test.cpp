// SPDX-License-Identifier: Apache-2.0
// when_all and race: several operations of one coroutine, none of which it leaves behind.
#define BOOST_TEST_MODULE join
#include <boost/test/unit_test.hpp>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <variant>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>

#include "support/lab_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// A coroutine under test, beside a world whose devices are told what to do.
struct spawned {
    template <class Task>
    spawned(lab::world& w, Task work)
    {
        asio::co_spawn(w.rt, std::move(work),
                       asio::bind_cancellation_slot(signal.slot(), [this](std::exception_ptr e) {
                           over = true;
                           try {
                               if (e) std::rethrow_exception(e);
                           } catch (const system_error& x) {
                               error = x.code();
                           } catch (const std::exception& x) {
                               what = x.what();
                           }
                       }));
        w.settle();
    }
    bool over = false;
    error_code error;
    std::string what;
    asio::cancellation_signal signal;
};

task<int> gives(int i) { co_return i; }
task<std::string> says(runtime& rt, std::string s, duration d)
{
    co_await rt.sleep(d);
    co_return s;
}
task<> throws(std::string what)
{
    co_await asio::post(co_await asio::this_coro::executor, asio::deferred);
    throw std::runtime_error{what};
}

/// Which of the chunks that the device has is to this place.
const chunk* to(const lab::device& d, std::uint64_t offset)
{
    for (const chunk* c : d.chunks())
        if (c->to.offset == offset) return c;
    return nullptr;
}

const error_code own{9, lab::category()};

} // namespace

WYE_CO_TEST(all_of_them_give_their_results)
{
    const auto [a, b, c, d] = co_await when_all(gives(1), says(rt, "two", 1ms), rt.sleep(1ms), gives(4));
    BOOST_TEST(a == 1);
    BOOST_TEST(b == "two");
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(c)>, std::monostate>);
    BOOST_TEST(d == 4);
    static_assert(std::is_same_v<decltype(when_all(copy(slice{}, slice{}), gives(1))), task<std::tuple<std::size_t, int>>>);
    static_assert(std::is_same_v<decltype(race(copy(slice{}, slice{}), copy(slice{}, slice{}))), task<std::size_t>>);
    static_assert(std::is_same_v<decltype(race(gives(1), says(rt, "", 1ms))), task<std::variant<int, std::string>>>);
}

BOOST_AUTO_TEST_CASE(all_copies_and_their_bytes)
{
    lab::world w;
    w.hold(false);
    spawned s{w, [](lab::world& v) -> task<> {
                  const auto [a, b] = co_await when_all(copy(v.dram.at(0, 100), v.vram.at(0, 100)),
                                                        copy(v.file.at(0, 9000), v.vram.at(100, 9000)));
                  BOOST_TEST(a == 100u);
                  BOOST_TEST(b == 9000u);
              }(w)};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST(!s.error);
}

// The first error cancels the others, and is thrown when they too have ended.
BOOST_AUTO_TEST_CASE(an_error_cancels_the_others_and_waits_for_them)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  co_await when_all(copy(v.dram.at(0, 4_KiB), v.vram.at(0, 4_KiB)),
                                    copy(v.dram.at(64_KiB, 64_KiB), v.vram.at(64_KiB, 64_KiB)),
                                    v.rt.sleep(1h));
              }(w)};
    w.near.release(to(w.near, 0), own);
    w.settle();
    BOOST_TEST(!s.over);
    BOOST_TEST(w.near.held() != 0u); // of the second, which posts no more
    const std::uint64_t posted = w.near.submits();
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST(s.error == own);
    BOOST_TEST(w.near.submits() == posted);
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(of_several_errors_the_first_is_thrown)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  co_await when_all(copy(v.dram.at(0, 64_KiB), v.vram.at(0, 64_KiB)), throws("first"), throws("second"));
              }(w)};
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST(s.what == "first");
}

// The first to end decides, and past the race nothing works for the losers.
BOOST_AUTO_TEST_CASE(a_race_returns_when_its_losers_have_ended)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  const std::size_t n = co_await race(copy(v.dram.at(0, 100), v.vram.at(0, 100)),
                                                      copy(v.dram.at(64_KiB, 64_KiB), v.vram.at(64_KiB, 64_KiB)));
                  BOOST_TEST(n == 100u);
                  BOOST_TEST(!v.near.touches(v.vram.at(64_KiB, 64_KiB)));
              }(w)};
    w.near.release(to(w.near, 0));
    w.settle();
    BOOST_TEST(!s.over);
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST((!s.error && s.what.empty()));
}

BOOST_AUTO_TEST_CASE(a_loser_that_fails_does_not_matter)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  const auto r = co_await race(gives(7), copy(v.dram.at(0, 4_KiB), v.vram.at(0, 4_KiB)), throws("late"));
                  BOOST_TEST(r.index() == 0u);
                  BOOST_TEST(std::get<0>(r) == 7);
              }(w)};
    w.near.release(w.near.chunks().at(0), own);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST((!s.error && s.what.empty()));
}

// Unlike ||, which waits for the first success: a failed copy ends the race.
BOOST_AUTO_TEST_CASE(an_error_wins_a_race_too)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  co_await race(copy(v.dram.at(0, 4_KiB), v.vram.at(0, 4_KiB)), v.rt.sleep(1h));
              }(w)};
    w.near.release(w.near.chunks().at(0), own);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST(s.error == own);
}

BOOST_AUTO_TEST_CASE(a_timer_wins_over_a_copy)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  const auto r = co_await race(copy(v.dram.at(0, 64_KiB), v.vram.at(0, 64_KiB)), v.rt.sleep(1ms));
                  BOOST_TEST(r.index() == 1u);
              }(w)};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return w.agent->measure().cancelled == 0 && w.near.held() == 4; }));
    w.rt.run_for(3ms);
    BOOST_TEST(!s.over); // the device still has the memory
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST((!s.error && s.what.empty()));
    BOOST_TEST(w.near.submits() == 4u);
}

BOOST_AUTO_TEST_CASE(cancelling_the_coroutine_reaches_all_of_them)
{
    for (const bool racing : {false, true}) {
        lab::world w;
        spawned s{w, [](lab::world& v, bool r) -> task<> {
                      if (r)
                          co_await race(copy(v.dram.at(0, 64_KiB), v.vram.at(0, 64_KiB)), v.rt.sleep(1h));
                      else
                          co_await when_all(copy(v.dram.at(0, 64_KiB), v.vram.at(0, 64_KiB)), v.rt.sleep(1h));
                  }(w, racing)};
        const std::uint64_t posted = w.near.submits();
        s.signal.emit(asio::cancellation_type::terminal);
        w.settle();
        BOOST_TEST(!s.over);
        w.hold(false);
        BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
        BOOST_TEST(s.error == asio::error::operation_aborted);
        BOOST_TEST(w.near.submits() == posted);
    }
}

BOOST_AUTO_TEST_CASE(races_within_races)
{
    lab::world w;
    spawned s{w, [](lab::world& v) -> task<> {
                  const auto inner = [](lab::world& u) -> task<> {
                      co_await race(copy(u.dram.at(0, 64_KiB), u.vram.at(0, 64_KiB)), u.rt.sleep(1h));
                  };
                  co_await race(inner(v), inner(v), v.rt.sleep(1ms));
              }(w)};
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return s.over; }));
    BOOST_TEST(w.idle());
    BOOST_TEST(!w.rt.has_work()); // no timer of an hour is left
}
