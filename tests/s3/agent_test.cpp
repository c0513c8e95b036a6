// SPDX-License-Identifier: Apache-2.0
// S3 as an agent's tier: routes, verify, deadlines, cancelling, and the end of an agent, against a server in this process.
#define BOOST_TEST_MODULE s3_agent
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>

#include <wye/wye.hpp>

#include "s3/environment.hpp"
#include "support/co_test.hpp"
#include "support/fake_s3.hpp"

using namespace wye;
using namespace wye::literals;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace sys = boost::system;
using testing::fake_s3;

namespace {

constexpr std::size_t most = 20'000'000; // three parts

std::vector<std::byte> pattern(std::size_t n)
{
    std::mt19937 random{9};
    std::vector<std::byte> v(n);
    for (std::byte& b : v) b = static_cast<std::byte>(random());
    return v;
}

/// As patient as one can be: whatever ends early here does so because somebody said so.
s3_options patient(const fake_s3& server)
{
    seam::forget_environment();
    s3_options o;
    o.endpoint = "http://127.0.0.1:" + std::to_string(server.port());
    o.access_key = "a";
    o.secret_key = "b";
    o.stalled_after = o.answer_within = 1h;
    return o;
}

struct tier_world {
    explicit tier_world(runtime& rt)
    {
        agent.emplace(rt, "s3");
        agent->add(drivers::vram_standin());
        agent->add(make_s3(patient(server)));
    }
    task<> open()
    {
        from = co_await agent->register_memory(dram(a));
        to = co_await agent->register_memory(dram(b));
        gpu = co_await agent->register_memory(vram(c.data(), c.size()));
        bucket = co_await agent->open_bucket("s3://bucket");
    }
    task<outcome> moves(slice x, slice y, copy_options o = {})
    {
        const auto [e, n] = co_await copy(x, y, o, asio::as_tuple(asio::deferred));
        outcome out;
        out.error = e;
        out.bytes = n;
        co_return out;
    }
    fake_s3::trouble stalled(const std::string& match, std::size_t after)
    {
        fake_s3::trouble t;
        t.match = match;
        t.cut = after;
        t.how = fake_s3::trouble::end::stall;
        return t;
    }

    fake_s3 server;
    std::vector<std::byte> a = pattern(most), b = std::vector<std::byte>(most), c = std::vector<std::byte>(most);
    std::optional<wye::agent> agent;
    region from, to, gpu;
    wye::bucket bucket;
};

copy_options checked()
{
    copy_options o;
    o.verify = true;
    return o;
}

} // namespace

WYE_CO_TEST(all_routes)
{
    tier_world w{rt};
    co_await w.open();
    for (const std::size_t n : {1ul, 100'000ul, 5'000'000ul, most}) {
        std::fill(w.b.begin(), w.b.end(), std::byte{});
        std::fill(w.c.begin(), w.c.end(), std::byte{});
        outcome o = co_await w.moves(w.from.at(0, n), w.bucket.object("o"));
        BOOST_TEST((!o.error && o.bytes == n), o.error.message());
        o = co_await w.moves(w.bucket.object("o"), w.gpu.at(0, n)); // over staging
        BOOST_TEST((!o.error && std::equal(w.a.begin(), w.a.begin() + static_cast<long>(n), w.c.begin())), o.error.message());
        o = co_await w.moves(w.gpu.at(0, n), w.bucket.object("p"));
        BOOST_TEST(!o.error, o.error.message());
        o = co_await w.moves(w.bucket.object("p"), w.to.at(0, n));
        BOOST_TEST((!o.error && std::equal(w.a.begin(), w.a.begin() + static_cast<long>(n), w.b.begin())), o.error.message());
    }
    BOOST_TEST(w.server.uploads() == 0u);
    outcome o = co_await w.moves(w.bucket.object("o"), w.to.at(0, 1'000));
    BOOST_TEST(o.error == errc::length_mismatch);
    o = co_await w.moves(w.bucket.object("none"), w.to.at(0, 1'000));
    BOOST_TEST((o.error == sys::errc::no_such_file_or_directory));
    const std::vector<object_info> all = co_await w.bucket.list();
    BOOST_TEST(all.size() == 2u);
    std::vector<std::string> keys{"o", "p"};
    co_await w.bucket.remove(keys);
    BOOST_TEST(w.server.objects().empty());
}

WYE_CO_TEST(what_was_written_is_read)
{
    tier_world w{rt};
    w.server.keep_sums(true);
    co_await w.open();
    for (const std::size_t n : {100'000ul, 5'000'000ul, most}) {
        outcome o = co_await w.moves(w.from.at(0, n), w.bucket.object("o"), checked());
        BOOST_TEST(!o.error, o.error.message());
        o = co_await w.moves(w.bucket.object("o"), w.to.at(0, n), checked());
        BOOST_TEST(!o.error, n << ": " << o.error.message());
        o = co_await w.moves(w.bucket.object("o"), w.gpu.at(0, n), checked());
        BOOST_TEST(!o.error, n << ": " << o.error.message());
        w.server.flip_a_bit("o", n / 2);
        o = co_await w.moves(w.bucket.object("o"), w.to.at(0, n), checked());
        BOOST_TEST(o.error == errc::corrupt);
        o = co_await w.moves(w.bucket.object("o"), w.gpu.at(0, n), checked());
        BOOST_TEST(o.error == errc::corrupt);
    }
    w.server.put("foreign", std::string(1'000, 'x'));
    const outcome o = co_await w.moves(w.bucket.object("foreign"), w.to.at(0, 1'000), checked());
    BOOST_TEST(o.error == errc::unverified);
}

// A server that says nothing more holds nobody up who said until when.
WYE_CO_TEST(deadlines_in_the_middle)
{
    tier_world w{rt};
    co_await w.open();
    w.server.put("o", std::string(most, 'x'));
    copy_options soon;
    soon.deadline = 300ms;
    const auto begin = std::chrono::steady_clock::now();
    w.server.plan(w.stalled("GET", 1'000'000));
    outcome o = co_await w.moves(w.bucket.object("o"), w.to.at(0, most), soon);
    BOOST_TEST(o.error == errc::deadline_missed);
    w.server.plan(w.stalled("partNumber=2", 0));
    o = co_await w.moves(w.from.at(0, most), w.bucket.object("u"), soon);
    BOOST_TEST(o.error == errc::deadline_missed);
    BOOST_TEST(w.server.uploads() == 0u);
    BOOST_TEST(w.server.objects().count("u") == 0u);
    BOOST_TEST((std::chrono::steady_clock::now() - begin < 60s));
    o = co_await w.moves(w.bucket.object("o"), w.to.at(0, most));
    BOOST_TEST(!o.error); // and nothing is lost by it
}

WYE_CO_TEST(cancelled_in_the_middle)
{
    tier_world w{rt};
    co_await w.open();
    for (const char* stalls : {"partNumber=1", "partNumber=3", "POST /bucket/u?uploads"}) {
        asio::cancellation_signal stop;
        w.server.forget_requests();
        auto t = w.stalled(stalls, 0);
        // What begins an upload is not given up: it is answered, if late.
        if (std::string{stalls}.starts_with("POST")) t.cut = fake_s3::trouble::never;
        w.server.plan(t);
        bool over = false;
        error_code e;
        copy(w.from.at(0, most), w.bucket.object("u"), asio::bind_cancellation_slot(stop.slot(), [&](error_code failed, std::size_t) {
                 e = failed;
                 over = true;
             }));
        const auto asked = [&] {
            const auto all = w.server.requests();
            return std::any_of(all.begin(), all.end(), [&](const auto& r) { return (r.method + ' ' + r.target).find(stalls) != std::string::npos; });
        };
        while (!asked() && !over) co_await rt.sleep(1ms);
        stop.emit(asio::cancellation_type::terminal);
        while (!over) co_await rt.sleep(1ms);
        BOOST_TEST((e == asio::error::operation_aborted || !e), e.message());
        BOOST_TEST(w.server.uploads() == 0u, stalls);
        BOOST_TEST((!e || w.server.objects().count("u") == 0u));
    }
}

// One of two writers makes the object; who replaces a generation names it.
WYE_CO_TEST(conditions)
{
    tier_world w{rt};
    co_await w.open();
    object_condition absent, same;
    absent.absent = true;
    outcome r = co_await w.moves(w.from.at(0, 1'000), w.bucket.object("o", absent));
    BOOST_TEST(!r.error, r.error.message());
    r = co_await w.moves(w.from.at(0, 2'000), w.bucket.object("o", absent));
    BOOST_TEST((r.error == sys::errc::file_exists));
    BOOST_TEST(!w.bucket.why("o").empty());
    const object_info there = co_await w.bucket.stat("o");
    const std::vector<object_info> listed = co_await w.bucket.list("o");
    BOOST_TEST((listed.size() == 1 && listed.front().tag == there.tag));
    same.tag = there.tag;
    r = co_await w.moves(w.gpu.at(0, 3'000), w.bucket.object("o", same)); // staged, and yet one request
    BOOST_TEST(!r.error, r.error.message());
    r = co_await w.moves(w.bucket.object("o", same), w.to.at(0, 3'000));
    BOOST_TEST((r.error == s3_errc::changed));
    r = co_await w.moves(w.from.at(0, most), w.bucket.object("large", absent));
    BOOST_TEST((r.error == errc::not_supported));
    BOOST_TEST((w.server.objects().size() == 1u && w.server.uploads() == 0u));

    const std::string folder = "dir:" + std::filesystem::temp_directory_path().string();
    bucket directory = co_await w.agent->open_bucket(folder);
    const auto not_supported = [](const system_error& e) { return e.code() == errc::not_supported; };
    BOOST_CHECK_EXCEPTION((void)directory.object("o", absent), system_error, not_supported);
    const auto bad_name = [](const system_error& e) { return e.code() == errc::bad_name; };
    BOOST_CHECK_EXCEPTION((void)w.bucket.object("", absent), system_error, bad_name);
}

// Many more than there are connections wait in turn.
WYE_CO_TEST(back_pressure)
{
    tier_world w{rt};
    co_await w.open();
    std::vector<object> objects;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < 500; ++i) objects.push_back(w.bucket.object("many/" + std::to_string(i)));
    for (std::size_t i = 0; i < 500; ++i) batch.push_back({w.from.at(i * 1'000, 1'000), objects[i]});
    const copy_options plain;
    const auto [e, n] = co_await copy(batch, plain, asio::as_tuple(asio::deferred));
    BOOST_TEST((!e && n == 500'000u), e.message());
    BOOST_TEST(w.server.objects().size() == 500u);
    BOOST_TEST(w.server.connections() <= s3_options{}.connections);
}

// An agent that goes takes what is under way with it, and leaves no upload.
BOOST_AUTO_TEST_CASE(the_end_of_an_agent)
{
    runtime rt;
    std::optional<tier_world> w;
    w.emplace(rt);
    testing::finish(rt, w->open());
    w->server.plan(w->stalled("partNumber=1", 0));
    bool over = false;
    copy(w->from.at(0, most), w->bucket.object("u"), [&](error_code, std::size_t) { over = true; });
    BOOST_TEST_REQUIRE(testing::poll_until(rt, [&] {
        const auto all = w->server.requests();
        return std::any_of(all.begin(), all.end(), [](const auto& r) { return r.target.find("partNumber=1") != std::string::npos; });
    }));
    w->bucket = {};
    w->agent.reset();
    rt.poll();
    BOOST_TEST(over);
    BOOST_TEST(w->server.uploads() == 0u);
    BOOST_TEST(w->server.objects().empty());
}

// Between requests nothing is done, though connections are kept.
BOOST_AUTO_TEST_CASE(rests_without_work)
{
    runtime rt;
    tier_world w{rt};
    testing::finish(rt, w.open());
    testing::finish(rt, [](tier_world& v) -> task<> { co_await v.moves(v.from.at(0, 1'000), v.bucket.object("o")); }(w));
    const std::clock_t before = std::clock();
    const auto begin = std::chrono::steady_clock::now();
    testing::finish(rt, [](runtime& r) -> task<> { co_await r.sleep(1ms); }(rt));
    asio::co_spawn(rt, [](runtime& r) -> task<> { co_await r.sleep(500ms); }(rt), asio::detached);
    rt.run();
    BOOST_TEST((std::chrono::steady_clock::now() - begin >= 500ms));
    BOOST_TEST(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.2);
}
