// SPDX-License-Identifier: Apache-2.0
// etcd that is killed, restarted, compacted, slow, silent or away, and agents that come and go meanwhile.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>

#include <boost/asio/use_awaitable.hpp>

#include "etcd_world.hpp"

using namespace wye;
using namespace wye::testing;
namespace asio = boost::asio;
namespace json = boost::json;
using clock_type = std::chrono::steady_clock;

namespace {

etcd_options hasty()
{
    etcd_options o;
    o.connect_within = 300ms;
    o.answer_within = 300ms;
    o.give_up_after = 600ms;
    return o;
}

announce_options living(duration ttl)
{
    announce_options o;
    o.ttl = ttl;
    return o;
}

fault stalling(std::size_t after_to_client = 0)
{
    fault f;
    f.after_to_client = after_to_client;
    f.then = fault::end::stall;
    return f;
}

/// Until it is so.
template <class Is>
task<bool> comes_to_be(runtime& rt, Is is)
{
    const auto patience = clock_type::now() + 30s;
    while (!is()) {
        if (clock_type::now() > patience) co_return false;
        co_await rt.sleep(2ms, asio::use_awaitable);
    }
    co_return true;
}

task<> after(runtime& rt, duration d, std::function<void()> f)
{
    co_await rt.sleep(d, asio::use_awaitable);
    f();
}

/// Drops what is older than now from etcd's memory.
task<> compact(runtime& rt, std::uint16_t port)
{
    const auto c = client_of(rt, url_of(port, "x"));
    json::object look, question;
    look["key"] = "eA==";
    const json::object now = co_await operate(c, "/v3/kv/range", look);
    question["revision"] = std::to_string(detail::etcd::number_in(detail::etcd::object_in(now, "header"), "revision"));
    co_await operate(c, "/v3/kv/compaction", question);
}

} // namespace

WYE_CO_TEST(killed_and_restarted_it_loses_nobody)
{
    etcd_process etcd;
    const std::string url = url_of(etcd.port(), "p");
    const auto d = open_directory(rt, url), other = open_directory(rt, url);
    neighbours n{rt};
    co_await n.open();
    std::optional<announcement> lives;
    lives.emplace(co_await announcement::make(n.decode, *d, living(least_life)));
    co_await d->put("forever", some(5), {});
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+decode +forever");
    const peer before = co_await connect(n.prefill, *other, "decode", 20s);
    etcd.kill();
    const auto quiet = co_await w->next(300ms);
    BOOST_TEST(quiet.empty());
    co_await n.expect_reach(before);
    etcd.start();
    // The watch and the lease go on; what happened meanwhile is told once.
    co_await d->put("new", some(5), {});
    const auto joined = co_await w->next(20s);
    BOOST_TEST(told(joined) == "+new");
    const auto still = co_await w->next(least_life + 1s);
    BOOST_TEST(still.empty());
    const peer again = co_await connect(n.prefill, *other, "decode", 20s);
    co_await n.expect_reach(again);
    lives.reset();
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-decode");
}

// Leases and entries are gone with the data: who lives is there again soon, the others have left.
WYE_CO_TEST(restarted_without_its_data_it_is_told_again)
{
    etcd_process etcd;
    const std::string url = url_of(etcd.port(), "p");
    const auto d = open_directory(rt, url), other = open_directory(rt, url);
    crowd all;
    agent& lives = all.add(rt, "lives");
    std::string failure;
    announce_options o = living(least_life);
    o.failed = [&](const std::string& line) { failure = line; };
    const announcement stays = co_await announcement::make(lives, *d, o);
    co_await d->put("dead", some(5), {});
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+dead +lives");
    etcd.kill();
    etcd.forget();
    const bool noticed = co_await comes_to_be(rt, [&] { return !failure.empty(); });
    BOOST_TEST(noticed);
    BOOST_TEST(contains(failure, "etcd " + etcd.endpoint()));
    etcd.start();
    std::set<std::string> there{"dead", "lives"};
    const auto patience = clock_type::now() + 30s;
    while (there != std::set<std::string>{"lives"} && clock_type::now() < patience) {
        const auto news = co_await w->next(1s);
        for (const directory_change& c : news) {
            if (c.what == kind::left) BOOST_TEST(there.erase(c.name) == 1u);
            else there.insert(c.name);
        }
    }
    BOOST_TEST((there == std::set<std::string>{"lives"}));
    const auto back = co_await other->changed("lives", 0, 20s);
    BOOST_TEST(back.has_value());
}

WYE_CO_TEST(compacted_under_a_watch_it_misses_and_repeats_nobody)
{
    etcd_process etcd;
    fault_proxy proxy{etcd.port()};
    const auto d = open_directory(rt, url_of(etcd.port(), "p")), other = open_directory(rt, url_of(proxy.port(), "p"));
    for (const char* name : {"a", "b", "c"}) co_await d->put(name, some(3), {});
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+a +b +c");
    co_await d->put("d", some(3), {});
    const auto follows = co_await w->next(20s); // so it is listening
    BOOST_TEST(told(follows) == "+d");
    // Its connection breaks, much happens, and etcd forgets what did.
    proxy.shut(true);
    etcd.kill();
    etcd.start();
    co_await d->remove("a");
    co_await d->put("b", some(4), {});
    for (int i = 0; i < 5; ++i) {
        co_await d->put("e", some(3), {});
        co_await d->remove("e");
    }
    co_await d->put("f", some(3), {});
    co_await compact(rt, etcd.port());
    proxy.shut(false);
    const std::string news = co_await told_by(*w, 3);
    BOOST_TEST(news == "-a ~b +f");
    co_await d->remove("f");
    const auto on = co_await w->next(20s);
    BOOST_TEST(told(on) == "-f");
}

// The connection breaks at each byte in turn, with things happening in between.
WYE_CO_TEST(a_watch_that_is_cut_again_and_again_misses_nobody)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned n) {
                          fault f;
                          f.after_to_client = 400 + 150 * n;
                          f.then = n % 2 ? fault::end::reset : fault::end::close;
                          return f;
                      }};
    const auto d = open_directory(rt, url_of(common_etcd().port(), "cut"));
    std::set<std::string> there, heard;
    {
        const auto other = open_directory(rt, url_of(proxy.port(), "cut"));
        const auto w = other->watch("");
        const auto take = [&](const std::vector<directory_change>& news) {
            for (const directory_change& c : news) {
                if (c.what == kind::joined) BOOST_TEST(heard.insert(c.name).second);
                if (c.what == kind::changed) BOOST_TEST(heard.contains(c.name));
                if (c.what == kind::left) BOOST_TEST(heard.erase(c.name) == 1u);
            }
        };
        for (int i = 0; i < 40; ++i) {
            const std::string name = "n" + std::to_string(i % 7);
            if (there.erase(name) != 0) {
                co_await d->remove(name);
            } else {
                co_await d->put(name, some(20), {});
                there.insert(name);
            }
            if (i < 5) continue;
            take(co_await w->next(i == 5 ? duration{20s} : duration{5ms}));
        }
        const auto patience = clock_type::now() + 30s;
        while (heard != there && clock_type::now() < patience) take(co_await w->next(100ms));
        BOOST_TEST((heard == there));
        const auto quiet = co_await w->next(50ms);
        BOOST_TEST(quiet.empty());
    }
    BOOST_TEST(proxy.accepted() > 3u);
    for (const std::string& name : there) co_await d->remove(name);
    const bool closed = co_await comes_to_be(rt, [&] { return proxy.open() == 0; });
    BOOST_TEST(closed);
}

// A connection that carries nothing any more, and of which nobody says that it is broken.
WYE_CO_TEST(a_watch_whose_connection_is_dead_is_found_out)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned n) { return n == 1 ? stalling(450) : fault{}; }};
    const auto d = open_directory(rt, url_of(common_etcd().port(), "dead"));
    etcd_options o;
    o.check_after = 200ms;
    const auto other = etcd_directory(rt, url_of(proxy.port(), "dead"), o);
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(first.empty());
    const bool follows = co_await comes_to_be(rt, [&] { return proxy.accepted() >= 2; });
    BOOST_TEST(follows);
    co_await d->put("a", some(500), {});
    const auto news = co_await w->next(20s);
    BOOST_TEST(told(news) == "+a");
    co_await d->remove("a");
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-a");
}

WYE_CO_TEST(a_slow_etcd_is_waited_for)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned) {
                          fault f;
                          f.delay = 40ms;
                          return f;
                      }};
    const std::string url = url_of(proxy.port(), "slow");
    const auto d = open_directory(rt, url), other = open_directory(rt, url);
    crowd all;
    agent& a = all.add(rt, "a");
    announcement lives = co_await announcement::make(a, *d, living(least_life));
    const auto w = other->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+a");
    const auto quiet = co_await w->next(least_life + 500ms);
    BOOST_TEST(quiet.empty());
    co_await lives.withdraw();
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-a");
}

WYE_CO_TEST(a_silent_etcd_ends_by_the_deadline_in_one_line)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned) { return stalling(); }};
    {
        const auto d = etcd_directory(rt, url_of(proxy.port(), "silent"), hasty());
        for (const bool writes : {true, false}) {
            const auto began = clock_type::now();
            std::string why;
            if (writes) why = co_await words_of(d->put("a", some(3), 1s));
            else why = co_await words_of(d->get("a"));
            BOOST_TEST((clock_type::now() - began < 2s));
            BOOST_TEST(contains(why, "etcd 127.0.0.1:" + std::to_string(proxy.port())));
            BOOST_TEST(contains(why, "timed out"));
            BOOST_TEST(!contains(why, "\n"));
        }
        const auto w = d->watch("");
        const std::string unseen = co_await words_of(w->next(400ms));
        BOOST_TEST(contains(unseen, "etcd 127.0.0.1:"));
    }
    const bool closed = co_await comes_to_be(rt, [&] { return proxy.open() == 0; });
    BOOST_TEST(closed);
}

WYE_CO_TEST(unreachable_at_the_start_it_ends_by_the_deadline_or_recovers)
{
    fault_proxy proxy{common_etcd().port()};
    proxy.shut(true);
    etcd_options o = hasty();
    unsigned failures = 0;
    o.failed = [&](const std::string&) { ++failures; };
    const auto d = etcd_directory(rt, url_of(proxy.port(), "late"), o);
    neighbours n{rt};
    co_await n.open();
    const auto began = clock_type::now();
    const std::string put = co_await words_of(announce(n.decode, *d));
    BOOST_TEST((clock_type::now() - began < 3s));
    BOOST_TEST(contains(put, "etcd 127.0.0.1:" + std::to_string(proxy.port()) + ": Connection refused"));
    BOOST_TEST(failures > 1u);
    const std::string found = co_await words_of(connect(n.prefill, *d, "decode", 200ms));
    BOOST_TEST(contains(found, "Connection refused"));
    const auto w = d->watch("");
    const std::string seen = co_await words_of(w->next(200ms));
    BOOST_TEST(contains(seen, "Connection refused"));
    // Then it comes, and who still waits goes on.
    task<> opens = after(rt, 300ms, [&] { proxy.shut(false); });
    task<std::vector<directory_change>> looks = w->next(20s);
    const auto both = co_await when_all(std::move(looks), std::move(opens));
    BOOST_TEST(std::get<0>(both).empty());
    co_await announce(n.decode, *d);
    const peer there = co_await connect(n.prefill, *d, "decode", 20s);
    co_await n.expect_reach(there);
    const auto joined = co_await w->next(20s);
    BOOST_TEST(told(joined) == "+decode");
    co_await d->remove("decode");
}

WYE_CO_TEST(of_two_endpoints_one_may_be_dead_or_silent)
{
    for (const bool dead : {true, false}) {
        fault_proxy broken{common_etcd().port(), [](unsigned) { return stalling(); }};
        broken.shut(dead);
        const std::string both = "etcd://127.0.0.1:" + std::to_string(broken.port()) + "," + common_etcd().endpoint() + "/two";
        etcd_options o;
        o.answer_within = 400ms;
        const auto d = etcd_directory(rt, both, o);
        const auto w = d->watch("");
        const auto began = clock_type::now();
        co_await d->put("a", some(3), least_life);
        const bool kept = co_await d->keep("a", least_life);
        BOOST_TEST(kept);
        const std::string news = co_await told_by(*w, 1);
        BOOST_TEST(news == "+a");
        BOOST_TEST((clock_type::now() - began < 3s));
        co_await d->remove("a");
        const std::string left = co_await told_by(*w, 1);
        BOOST_TEST(left == "-a");
    }
}

// The one that answered goes away in the middle of a watch and of a lease.
WYE_CO_TEST(an_endpoint_that_goes_away_is_left_for_the_other)
{
    fault_proxy first{common_etcd().port()};
    const std::string both = "etcd://127.0.0.1:" + std::to_string(first.port()) + "," + common_etcd().endpoint() + "/goes";
    const auto d = open_directory(rt, both);
    crowd all;
    agent& a = all.add(rt, "a");
    announcement lives = co_await announcement::make(a, *d, living(least_life));
    const auto w = d->watch("");
    const auto there = co_await w->next(20s);
    BOOST_TEST(told(there) == "+a");
    first.shut(true);
    first.follow([](unsigned) { return stalling(); });
    const auto quiet = co_await w->next(least_life + 1s);
    BOOST_TEST(quiet.empty());
    co_await lives.withdraw();
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-a");
}

/// Only what is said first has an answer's time here.
etcd_options terse()
{
    etcd_options o;
    o.answer_within = 20s;
    o.give_up_after = 1s;
    return o;
}

// The last attempt has what time is left: too little for an answer, which is not the endpoint's fault.
WYE_CO_TEST(what_was_said_is_told_rather_than_that_time_ran_out)
{
    fault_proxy proxy{common_etcd().port(), [](unsigned n) {
                          if (n > 0) return stalling();
                          fault f;
                          f.canned = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
                          return f;
                      }};
    const auto d = etcd_directory(rt, url_of(proxy.port(), "busy"), terse());
    const std::string why = co_await words_of(d->get("a"));
    BOOST_TEST(contains(why, "HTTP 503"), why);
    BOOST_TEST(proxy.accepted() > 1u);
}

WYE_CO_TEST(what_is_no_etcd_is_said_to_be_none)
{
    const auto head = [](std::size_t length) { return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n"; };
    const std::string leaderless = R"({"error":{"grpc_code":14,"message":"etcdserver: no leader"}})";
    struct {
        std::string answer;
        const char* says;
    } const cases[]{
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", "HTTP 404, and no word of etcd's"},
        {head(5) + "<htm>", "HTTP 200, and no word of etcd's"},
        {head(99) + "{}", "partial message"},
        {head(9'999'999'999'999) + "{}", "body limit exceeded"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad chunk"},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "HTTP 503"},
        {"SSH-2.0-OpenSSH\r\n\r\n", "bad version"},
        {head(leaderless.size()) + leaderless, "no leader"},
    };
    for (const auto& c : cases) {
        fault_proxy proxy{common_etcd().port(), [&](unsigned) {
                              fault f;
                              f.canned = c.answer;
                              return f;
                          }};
        const auto d = etcd_directory(rt, url_of(proxy.port(), "none"), terse());
        const std::string why = co_await words_of(d->get("a"));
        BOOST_TEST(contains(why, c.says), why << " is not: " << c.says);
        BOOST_TEST(contains(why, "etcd 127.0.0.1:"));
    }
}

// Agents join and leave, orderly and not, over connections that break and beside watches that see it all.
WYE_CO_TEST(a_hundred_agents_join_and_leave_and_no_stale_one_remains)
{
    constexpr std::size_t agents = 100;
    fault_proxy proxy{common_etcd().port(), [](unsigned n) {
                          fault f;
                          if (n % 3 == 0) f.after_to_client = 1500 + 300 * (n % 11);
                          if (n % 3 == 1) f.after_to_server = 1200 + 400 * (n % 7);
                          f.then = n % 2 ? fault::end::reset : fault::end::close;
                          return f;
                      }};
    const std::string broken = url_of(proxy.port(), "hundred");
    {
        std::vector<std::unique_ptr<directory>> hosts; // some share one, as those of a process do
        for (int i = 0; i < 10; ++i) hosts.push_back(open_directory(rt, broken));
        const auto other = open_directory(rt, broken);
        const auto w = other->watch("");
        std::set<std::string> heard, alive;
        const auto take = [&](const std::vector<directory_change>& news) {
            for (const directory_change& c : news) {
                if (c.what == kind::joined) BOOST_TEST(heard.insert(c.name).second);
                if (c.what == kind::left) BOOST_TEST(heard.erase(c.name) == 1u);
            }
        };
        crowd all;
        std::vector<std::optional<announcement>> there(agents);
        const auto name_of = [](std::size_t i) { return "agent-" + std::to_string(i); };
        for (std::size_t i = 0; i < agents; ++i) {
            there[i].emplace(co_await announcement::make(all.add(rt, name_of(i)), *hosts[i % 10], living(2s)));
            alive.insert(name_of(i));
            if (i % 4 != 3) continue;
            // Some leave while others come: every other one without a word.
            const std::size_t who = i / 2;
            alive.erase(name_of(who));
            if (i % 8 == 3) co_await there[who]->withdraw();
            there[who].reset();
        }
        const auto patience = clock_type::now() + 40s;
        while (heard != alive && clock_type::now() < patience) take(co_await w->next(100ms));
        BOOST_TEST((heard == alive));
        BOOST_TEST(alive.size() == 75u);
        for (std::size_t i = 0; i < agents; ++i) {
            if (there[i] && i % 2 == 0) co_await there[i]->withdraw();
            there[i].reset();
        }
        while (!heard.empty() && clock_type::now() < patience) take(co_await w->next(100ms));
        BOOST_TEST(heard.empty());
        const std::size_t left = co_await count_left(rt, "hundred");
        BOOST_TEST(left == 0u);
    }
    BOOST_TEST(proxy.accepted() > 30u); // it has been broken
    const bool closed = co_await comes_to_be(rt, [&] { return proxy.open() == 0; });
    BOOST_TEST(closed);
}
