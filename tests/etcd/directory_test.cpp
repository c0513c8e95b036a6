// SPDX-License-Identifier: Apache-2.0
// etcd as directory, with nothing going wrong but agents that die.
#define BOOST_TEST_MODULE etcd
#include <boost/test/unit_test.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "etcd/base64.hpp"
#include "etcd_world.hpp"

using namespace wye;
using namespace wye::testing;
namespace asio = boost::asio;
using clock_type = std::chrono::steady_clock;

namespace {

struct needs_etcd {
    needs_etcd() { etcd_process::needed(); }
};

} // namespace

BOOST_TEST_GLOBAL_FIXTURE(needs_etcd);

WYE_CO_TEST(etcd_is_a_directory)
{
    const std::string url = url_of(common_etcd().port(), "conforms");
    const auto d = open_directory(rt, url), other = open_directory(rt, url);
    co_await entries_conform(*d, *other);
    co_await labels_conform(*d, *other);
    co_await names_conform(*d);
    co_await watches_conform(*d, *other);
    co_await lives_conform(*d, *other, least_life);
    co_await agents_conform(rt, *d, *other, least_life);
    const std::size_t left = co_await count_left(rt, "conforms");
    BOOST_TEST(left == 0u);
}

WYE_CO_TEST(prefixes_do_not_see_each_other)
{
    const auto a = open_directory(rt, url_of(common_etcd().port(), "one"));
    co_await a->put("x", some(3), {});
    for (const char* prefix : {"on", "one2", "two", "o/n/e"}) {
        const auto b = open_directory(rt, url_of(common_etcd().port(), prefix));
        const auto there = co_await b->get("x");
        BOOST_TEST(!there.has_value());
        const auto w = b->watch("");
        const auto first = co_await w->next(20s);
        BOOST_TEST(first.empty());
    }
    co_await a->remove("x");
}

// A peer that dies is told to have left, and found by nobody any more, within ttl + 1 s of its last word. A connection goes on.
WYE_CO_TEST(who_dies_is_gone_when_the_lease_is)
{
    const std::string url = url_of(common_etcd().port(), "dies");
    const auto d = open_directory(rt, url), other = open_directory(rt, url);
    neighbours n{rt};
    co_await n.open();
    std::optional<announcement> lives;
    announce_options o;
    o.ttl = least_life;
    lives.emplace(co_await announcement::make(n.decode, *d, o));
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+decode");
    const peer before = co_await connect(n.prefill, *other, "decode", 20s);
    const auto quiet = co_await w->next(least_life + 1s); // kept alive, and nobody is told
    BOOST_TEST(quiet.empty());
    lives.reset();
    const auto last_word = clock_type::now();
    const auto left = co_await w->next(20s);
    const auto after = clock_type::now() - last_word;
    BOOST_TEST(told(left) == "-decode");
    BOOST_TEST((after <= least_life + 1s));
    const error_code e = co_await failure_of(connect(n.prefill, *other, "decode", 50ms));
    BOOST_TEST(e == errc::deadline_missed);
    co_await n.expect_reach(before);
}

WYE_CO_TEST(an_entry_that_etcd_does_not_take_is_said_to_be_too_large)
{
    const auto d = open_directory(rt, url_of(common_etcd().port(), "large"));
    const std::vector<std::byte> metadata = some(1'000'000);
    co_await d->put("a", metadata, {});
    const auto back = co_await d->get("a");
    BOOST_TEST((back && back->metadata == metadata));
    const std::string why = co_await words_of(d->put("a", some(2'000'000), {}));
    BOOST_TEST(contains(why, "etcd 127.0.0.1:"));
    BOOST_TEST(contains(why, "HTTP 400"));
    BOOST_TEST(contains(why, "too large"));
    co_await d->remove("a");
}

WYE_CO_TEST(many_calls_at_once_share_a_few_connections)
{
    fault_proxy proxy{common_etcd().port()};
    const auto d = open_directory(rt, url_of(proxy.port(), "many"));
    unsigned done = 0;
    for (int i = 0; i < 200; ++i)
        asio::co_spawn(rt, d->put("n" + std::to_string(i), some(200), {}), [&](std::exception_ptr e) { done += !e; });
    const auto patience = clock_type::now() + 60s;
    while (done < 200 && clock_type::now() < patience) co_await rt.sleep(1ms, asio::use_awaitable);
    BOOST_TEST(done == 200u);
    BOOST_TEST(proxy.accepted() <= 4u);
}

WYE_CO_TEST(a_call_that_is_cancelled_ends)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned) {
                          fault f;
                          f.after_to_server = 0;
                          f.then = fault::end::stall;
                          return f;
                      }};
    {
        const auto d = open_directory(rt, url_of(proxy.port(), "stalls"));
        const auto began = clock_type::now();
        const error_code raced = co_await failure_of(race(d->put("a", some(3), 1s), rt.sleep(50ms)));
        BOOST_TEST(!raced);
        BOOST_TEST((clock_type::now() - began < 5s)); // and not after the 10 s of its own
        const auto w = d->watch("");
        const error_code watched = co_await failure_of(race(d->changed("a", 0, 20s), rt.sleep(50ms)));
        BOOST_TEST(!watched);
        BOOST_TEST((clock_type::now() - began < 5s));
    }
    const auto patience = clock_type::now() + 20s;
    while (proxy.open() != 0 && clock_type::now() < patience) co_await rt.sleep(1ms, asio::use_awaitable);
    BOOST_TEST(proxy.open() == 0u);
}

BOOST_AUTO_TEST_CASE(a_runtime_may_go_in_the_middle_of_it)
{
    for (unsigned polls = 0; polls < 60; polls += 3) {
        runtime rt;
        const auto d = open_directory(rt, url_of(common_etcd().port(), "goes"));
        asio::co_spawn(rt, failure_of(d->put("a", some(5000), 1s)), [](std::exception_ptr, error_code) {});
        asio::co_spawn(rt, failure_of(d->changed("b", 0, 20s)), [](std::exception_ptr, error_code) {});
        const auto w = d->watch("");
        asio::co_spawn(rt, failure_of(w->next(20s)), [](std::exception_ptr, error_code) {});
        for (unsigned i = 0; i < polls; ++i) rt.poll(50us);
    }
}

BOOST_AUTO_TEST_CASE(urls_that_make_no_sense_are_refused)
{
    runtime rt;
    for (const char* url : {"etcd://", "etcd:///prefix", "etcd://host:", "etcd://host:0", "etcd://host:99999", "etcd://a,", "etcd://h:1/p?what=x",
                            "etcd://h:1/p?user", "etcd://h:1/p?user=me", "etcd://user:pw@h:1", "etcd://h:1/p?ca=/x", "etcd://h:1/%zz",
                            "etcd://h:1/p?verify=maybe", "etcd://::1:5"})
        BOOST_CHECK_EXCEPTION(open_directory(rt, url), system_error, [](const system_error& e) { return e.code() == errc::bad_name; });
    BOOST_CHECK_THROW(open_directory(rt, "etcd://h:1/p?user=me&password_file=/nonexistent"), system_error);
    BOOST_CHECK_THROW(open_directory(rt, "etcds://h:1/p?ca=/nonexistent"), system_error);
    const auto s = detail::etcd::read_settings("etcds://a,[::1]:7,10.0.0.1:8/x/y%20z/?host=n", {});
    BOOST_TEST(s.endpoints.size() == 3u);
    BOOST_TEST(s.endpoints.at(0).to_string() == "a:2379");
    BOOST_TEST(s.endpoints.at(1).to_string() == "[::1]:7");
    BOOST_TEST(s.prefix == "x/y z/");
    BOOST_TEST((s.secured && s.options.tls.host == "n"));
}

BOOST_AUTO_TEST_CASE(base64_is_that_of_rfc_4648)
{
    using namespace wye::detail::etcd;
    for (const auto& [plain, coded] : {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}}) {
        BOOST_TEST(to_base64(std::string_view{plain}) == coded);
        const auto back = from_base64(coded);
        BOOST_TEST((back && to_base64(*back) == coded && back->size() == std::string_view{plain}.size()));
    }
    for (const char* bad : {"Z", "Zg=", "Zg", "====", "Z===", "Zm9v!", "Zm 9", "=Zg="}) BOOST_TEST(!from_base64(bad).has_value());
    for (std::size_t n = 0; n < 70; ++n) BOOST_TEST((from_base64(to_base64(some(n))) == some(n)));
}
