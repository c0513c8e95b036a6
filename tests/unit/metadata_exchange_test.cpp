// SPDX-License-Identifier: Apache-2.0
// Agents come to know each other through files and directories.
#define BOOST_TEST_MODULE metadata_exchange
#include <boost/test/unit_test.hpp>

#include <fstream>

#include <sys/stat.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "support/directory_conformance.hpp"
#include "support/neighbours.hpp"

using namespace wye;
using namespace wye::testing;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

std::vector<char> contents(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}
void put_contents(const std::string& path, const std::vector<char>& bytes, std::size_t most)
{
    std::ofstream out{path, std::ios::binary};
    out.write(bytes.data(), static_cast<std::streamsize>(std::min(most, bytes.size())));
}

task<> later(runtime& rt, task<> t)
{
    co_await rt.sleep(30ms, asio::use_awaitable);
    co_await std::move(t);
}
task<> reaches(neighbours& n, task<peer> t)
{
    const peer p = co_await std::move(t);
    co_await n.expect_reach(p);
}

} // namespace

WYE_CO_TEST(a_file_connects_and_only_its_owner_may_read_it)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    co_await write_metadata(n.decode, in / "decode.wye");
    struct ::stat is;
    BOOST_REQUIRE(::stat((in / "decode.wye").c_str(), &is) == 0);
    BOOST_TEST((is.st_mode & 0777) == 0600u);
    co_await reaches(n, connect_by_file(n.prefill, in / "decode.wye", 5s));
    const auto files = std::distance(std::filesystem::directory_iterator{in.path}, {});
    BOOST_TEST(files == 1); // nothing that was in between stays
}

WYE_CO_TEST(a_file_that_appears_late_is_waited_for)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    task<> waits = reaches(n, connect_by_file(n.prefill, in / "decode.wye", 20s));
    task<> writes = later(rt, write_metadata(n.decode, in / "decode.wye"));
    const auto began = std::chrono::steady_clock::now();
    co_await when_all(std::move(waits), std::move(writes));
    BOOST_TEST((std::chrono::steady_clock::now() - began < 900ms)); // told, not found by looking again
}

WYE_CO_TEST(a_file_that_never_appears_ends_by_the_deadline)
{
    const scratch_folder in;
    neighbours n{rt};
    const error_code e = co_await failure_of(connect_by_file(n.prefill, in / "none", 50ms));
    BOOST_TEST(e == errc::deadline_missed);
    const error_code no_folder = co_await failure_of(connect_by_file(n.prefill, in / "no/such", 50ms));
    BOOST_TEST(no_folder == errc::deadline_missed);
}

WYE_CO_TEST(a_torn_file_is_refused_wherever_it_was_torn)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    co_await write_metadata(n.decode, in / "whole");
    const std::vector<char> whole = contents(in / "whole");
    for (std::size_t most = 0; most < whole.size(); most += 7) {
        put_contents(in / "torn", whole, most);
        const error_code e = co_await failure_of(connect_by_file(n.prefill, in / "torn", 5s));
        BOOST_TEST(e == errc::bad_metadata);
    }
    const error_code folder = co_await failure_of(connect_by_file(n.prefill, in.path, 5s));
    BOOST_TEST(folder == errc::corrupt);
}

WYE_CO_TEST(a_file_that_cannot_be_written_says_so)
{
    neighbours n{rt};
    const error_code e = co_await failure_of(write_metadata(n.decode, "/proc/wye/none"));
    BOOST_TEST((e == boost::system::errc::no_such_file_or_directory));
}

WYE_CO_TEST(an_announced_agent_is_found)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    const auto d = directory_in(rt, in / "peers");
    co_await announce(n.decode, *d);
    co_await reaches(n, connect(n.prefill, *d, "decode", 5s));
    co_await d->remove("decode");
    co_await d->remove("decode");
    const error_code e = co_await failure_of(connect(n.prefill, *d, "decode", 50ms));
    BOOST_TEST(e == errc::deadline_missed);
}

WYE_CO_TEST(who_looks_early_waits_for_the_announcement)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    const auto d = directory_in(rt, in / "peers");
    task<> waits = reaches(n, connect(n.prefill, *d, "decode", {}));
    task<> announces = later(rt, announce(n.decode, *d));
    co_await when_all(std::move(waits), std::move(announces));
}

WYE_CO_TEST(an_entry_of_an_earlier_life_is_waited_out)
{
    const scratch_folder in;
    neighbours n{rt};
    const auto d = directory_in(rt, in / "peers");
    {
        neighbours earlier{rt};
        co_await earlier.open();
        co_await d->put("decode", earlier.decode.metadata(), {});
    }
    co_await n.open();
    task<> waits = reaches(n, connect(n.prefill, *d, "decode", 20s));
    task<> announces = later(rt, announce(n.decode, *d));
    co_await when_all(std::move(waits), std::move(announces));
}

WYE_CO_TEST(entries_expire)
{
    const scratch_folder in;
    const auto d = directory_in(rt, in.path);
    const std::vector<std::byte> some(100, std::byte{1});
    co_await d->put("a", some, 200ms);
    co_await d->put("b", some, {});
    const auto there = co_await d->get("a");
    BOOST_REQUIRE(there.has_value());
    BOOST_TEST((there->metadata == some));
    const auto gone = co_await d->changed("a", there->version, 20s);
    BOOST_TEST(!gone.has_value());
    const auto stays = co_await d->get("b");
    BOOST_TEST(stays.has_value());
}

WYE_CO_TEST(a_change_is_told_and_none_is_missed)
{
    const scratch_folder in;
    const auto d = directory_in(rt, in.path);
    const std::vector<std::byte> first(10, std::byte{1}), second(10, std::byte{2});
    co_await d->put("a", first, {});
    const auto one = co_await d->get("a");
    co_await d->put("a", second, {});
    const auto two = co_await d->changed("a", one->version, 20s); // it had changed before anybody waited
    BOOST_TEST((two->metadata == second));
    const auto same = co_await d->changed("a", two->version, 30ms);
    BOOST_TEST(same->version == two->version);
}

WYE_CO_TEST(a_folder_is_a_directory)
{
    const scratch_folder in;
    const auto d = open_directory(rt, "dir:" + in.path);
    const auto other = directory_in(rt, in.path);
    co_await entries_conform(*d, *other);
    co_await labels_conform(*d, *other);
    co_await names_conform(*d);
    co_await watches_conform(*d, *other);
    co_await lives_conform(*d, *other, 300ms);
    co_await agents_conform(rt, *d, *other, 600ms);
}

WYE_CO_TEST(a_watch_of_a_folder_passes_over_what_is_damaged)
{
    const scratch_folder in;
    const auto d = directory_in(rt, in.path);
    co_await d->put("good", some(100), {});
    co_await d->put("bad", some(100), {});
    put_contents(in / "bad", contents(in / "bad"), 50);
    const auto w = d->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+good");
    co_await d->put("bad", some(100), {});
    const auto mended = co_await w->next(20s);
    BOOST_TEST(told(mended) == "+bad");
}

WYE_CO_TEST(side_channels_are_a_directory_that_can_only_be_asked)
{
    neighbours n{rt};
    co_await n.open();
    std::optional<side_channel> door;
    side_channel_options serves;
    serves.secret = "of the channel";
    door.emplace(n.decode, serves);
    const std::string where = door->endpoint();
    fetch_options how;
    how.secret = serves.secret;
    const auto d = directory_of_side_channels(rt, how);
    co_await reaches(n, connect(n.prefill, *d, where, 20s));
    const auto one = co_await d->get(where);
    BOOST_REQUIRE(one.has_value());
    region more = co_await n.decode.register_memory(dram(n.landed));
    task<> publishes = later(rt, n.decode.publish("more", more));
    task<std::optional<directory::entry>> waits = d->changed(where, one->version, 20s);
    const auto both = co_await when_all(std::move(waits), std::move(publishes));
    BOOST_TEST((std::get<0>(both) && std::get<0>(both)->version != one->version));
    door.reset();
    const auto gone = co_await d->get(where);
    BOOST_TEST(!gone.has_value());
    const error_code put = co_await failure_of(d->put("a", some(1), {}));
    const error_code kept = co_await failure_of(d->keep("a", 1s));
    const error_code removed = co_await failure_of(d->remove("a"));
    const error_code label = co_await failure_of(d->get(where + "/label"));
    for (const error_code& e : {put, kept, removed, label}) BOOST_TEST(e == errc::not_supported);
    BOOST_CHECK_EXCEPTION(d->watch(""), system_error, [](const system_error& e) { return e.code() == errc::not_supported; });
}

BOOST_AUTO_TEST_CASE(a_url_of_no_directory_is_refused)
{
    runtime rt;
    for (const char* url : {"", "nosuch://127.0.0.1", "/no/scheme"})
        BOOST_CHECK_EXCEPTION(open_directory(rt, url), system_error, [](const system_error& e) { return e.code() == errc::not_supported; });
}

WYE_CO_TEST(a_damaged_entry_is_refused)
{
    const scratch_folder in;
    const auto d = directory_in(rt, in.path);
    co_await d->put("a", std::vector<std::byte>(100, std::byte{1}), {});
    const std::vector<char> whole = contents(in / "a");
    for (std::size_t i = 0; i < whole.size(); i += 3) {
        std::vector<char> damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        put_contents(in / "a", damaged, damaged.size());
        const error_code flipped = co_await failure_of(d->get("a"));
        BOOST_TEST(flipped == errc::corrupt);
        put_contents(in / "a", whole, i);
        const error_code torn = co_await failure_of(d->get("a"));
        BOOST_TEST(torn == errc::corrupt);
    }
}

WYE_CO_TEST(an_agent_stays_announced_until_that_is_cancelled)
{
    const scratch_folder in;
    neighbours n{rt};
    co_await n.open();
    const auto d = directory_in(rt, in.path);
    asio::cancellation_signal stop;
    bool stopped = false;
    asio::co_spawn(rt, keep_announced(n.decode, *d, 300ms),
                   asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { stopped = true; }));
    const auto first = co_await d->changed("decode", 0, 20s);
    BOOST_REQUIRE(first.has_value());
    const auto same = co_await d->changed("decode", first->version, 700ms); // which is more than it would have lived
    BOOST_REQUIRE(same.has_value());
    BOOST_TEST(same->version == first->version);
    co_await n.decode.unpublish("kv");
    const auto second = co_await d->changed("decode", first->version, 20s);
    BOOST_REQUIRE(second.has_value());
    BOOST_TEST((second->metadata == n.decode.metadata()));
    stop.emit(asio::cancellation_type::terminal);
    const auto expired = co_await d->changed("decode", second->version, 20s);
    BOOST_TEST(!expired.has_value());
    BOOST_TEST(stopped);
}

/// The helper's thread is waited for, what waits is dropped.
BOOST_AUTO_TEST_CASE(a_runtime_may_go_in_the_middle_of_it)
{
    const scratch_folder in;
    for (unsigned polls = 0; polls < 40; ++polls) {
        runtime rt;
        const auto d = directory_in(rt, in.path);
        asio::co_spawn(rt, failure_of(d->put("a", std::vector<std::byte>(5000), {})), [](std::exception_ptr, error_code) {});
        asio::co_spawn(rt, failure_of(d->changed("b", 0, 20s)), [](std::exception_ptr, error_code) {});
        const auto w = d->watch("");
        asio::co_spawn(rt, failure_of(w->next(20s)), [](std::exception_ptr, error_code) {});
        for (unsigned i = 0; i < polls; ++i) rt.poll();
    }
}
