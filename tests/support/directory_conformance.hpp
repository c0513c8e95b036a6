// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <wye/directory.hpp>

#include "support/neighbours.hpp"

/// What every directory does, whatever it is made of. `d` is empty; `other` is another object of the same directory, as another
/// process would have.
namespace wye::testing {

using kind = directory_change::kind;
using namespace std::chrono_literals;

inline std::vector<std::byte> some(std::size_t n, int seed = 1)
{
    std::vector<std::byte> v(n);
    for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(seed));
    return v;
}

/// "+a ~b -c": who joined, changed, left.
inline std::string told(const std::vector<directory_change>& news)
{
    std::string all;
    for (const directory_change& n : news) {
        if (!all.empty()) all += ' ';
        all += (n.what == kind::joined ? '+' : n.what == kind::changed ? '~' : '-') + n.name;
    }
    return all;
}

/// Takes news until `all` of them are there, or nothing comes any more.
inline task<std::string> told_by(directory_watch& w, std::size_t all)
{
    std::vector<directory_change> news;
    const auto patience = std::chrono::steady_clock::now() + 20s;
    while (news.size() < all && std::chrono::steady_clock::now() < patience) {
        std::vector<directory_change> more = co_await w.next(1s);
        news.insert(news.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    co_return told(news);
}

inline task<> entries_conform(directory& d, directory& other)
{
    const auto nobody = co_await d.get("a");
    BOOST_TEST(!nobody.has_value());
    const std::vector<std::byte> first = some(10'000), second = some(3, 9);
    co_await d.put("a", first, {});
    const auto one = co_await other.get("a");
    BOOST_REQUIRE(one.has_value());
    BOOST_TEST((one->metadata == first));
    BOOST_TEST(one->version != 0u);
    co_await d.put("a", second, {});
    const auto two = co_await other.changed("a", one->version, 20s); // it had changed before anybody waited
    BOOST_REQUIRE(two.has_value());
    BOOST_TEST((two->metadata == second));
    BOOST_TEST(two->version != one->version);
    const auto same = co_await other.changed("a", two->version, 30ms);
    BOOST_TEST(same->version == two->version);
    const auto now = co_await other.changed("a", two->version, {});
    BOOST_TEST(now->version == two->version);
    const std::vector<std::byte> none;
    co_await d.put("empty", none, {});
    const auto empty = co_await d.get("empty");
    BOOST_TEST((empty && empty->metadata.empty()));
    co_await d.remove("a");
    co_await d.remove("a");
    co_await other.remove("empty"); // which it has not put
    const auto gone = co_await other.get("a");
    const auto gone_too = co_await d.get("empty");
    BOOST_TEST(!gone.has_value());
    BOOST_TEST(!gone_too.has_value());
}

inline task<> labels_conform(directory& d, directory& other)
{
    co_await d.put("a", some(100), {});
    co_await d.put("a/gpu0", some(10, 2), {});
    co_await d.put("ab", some(10, 3), {});
    const auto part = co_await other.get("a/gpu0");
    const auto whole = co_await other.get("a");
    const auto none = co_await other.get("a/gpu1");
    BOOST_REQUIRE(part.has_value());
    BOOST_TEST((part->metadata == some(10, 2)));
    BOOST_TEST((whole->metadata == some(100)));
    BOOST_TEST(!none.has_value());
    const auto labels = other.watch("a/"), all = other.watch("a");
    const auto of_a = co_await labels->next(20s);
    const auto of_all = co_await all->next(20s);
    BOOST_TEST(told(of_a) == "+a/gpu0");
    BOOST_TEST(of_all.size() == 3u);
    for (const char* name : {"a", "a/gpu0", "ab"}) co_await d.remove(name);
}

inline task<> names_conform(directory& d)
{
    for (const char* name : {"", ".", "..", "../a", "a//b", "a/b/c", "/a", "a/", "/etc/passwd", ".hidden", "a b", "a\n", "a@b", "a/.b"}) {
        const error_code got = co_await failure_of(d.get(name));
        const error_code put = co_await failure_of(d.put(name, some(1), {}));
        const error_code kept = co_await failure_of(d.keep(name, 1s));
        const error_code gone = co_await failure_of(d.remove(name));
        const error_code changed = co_await failure_of(d.changed(name, 0, 1s));
        BOOST_TEST(got == errc::bad_name);
        BOOST_TEST(put == errc::bad_name);
        BOOST_TEST(kept == errc::bad_name);
        BOOST_TEST(gone == errc::bad_name);
        BOOST_TEST(changed == errc::bad_name);
    }
    BOOST_CHECK_THROW(d.watch("a b"), system_error);
    const error_code with_null = co_await failure_of(d.get(std::string(1, '\0')));
    const error_code too_long = co_await failure_of(d.get(std::string(129, 'a')));
    BOOST_TEST(with_null == errc::bad_name);
    BOOST_TEST(too_long == errc::bad_name);
    const error_code odd_ttl = co_await failure_of(d.put("a", some(1), -1s));
    BOOST_TEST(odd_ttl == errc::out_of_range);
}

inline task<> watches_conform(directory& d, directory& other)
{
    co_await d.put("x1", some(5), {});
    co_await d.put("y1", some(5), {});
    const auto w = other.watch("x"), empty = other.watch("none");
    const auto first = co_await w->next(20s);
    const auto nobody = co_await empty->next(20s);
    BOOST_TEST(told(first) == "+x1");
    BOOST_TEST((first.at(0).entry.metadata == some(5)));
    BOOST_TEST(nobody.empty()); // told at once, and not after 20 s
    const auto quiet = co_await w->next(20ms);
    BOOST_TEST(quiet.empty());
    co_await d.put("x2", some(6), {});
    const auto joined = co_await w->next(20s);
    BOOST_TEST(told(joined) == "+x2");
    BOOST_TEST((joined.at(0).entry.metadata == some(6)));
    co_await d.put("x1", some(7), {});
    co_await d.put("y2", some(7), {}); // none of this watch
    const auto changed = co_await w->next(20s);
    BOOST_TEST(told(changed) == "~x1");
    co_await d.remove("x2");
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-x2");
    BOOST_TEST(left.at(0).entry.version == 0u);
    for (const char* name : {"x1", "y1", "y2"}) co_await d.remove(name);
}

/// `least`: the shortest life that the directory gives an entry.
inline task<> lives_conform(directory& d, directory& other, duration least)
{
    co_await d.put("a", some(5), least);
    co_await d.put("b", some(5), least);
    co_await d.put("stays", some(5), {});
    const auto w = other.watch("");
    const auto all = co_await w->next(20s);
    BOOST_TEST(told(all) == "+a +b +stays");
    // One is kept for longer than it would have lived, and nobody hears of it.
    const auto end = std::chrono::steady_clock::now() + least + 700ms;
    bool kept = true;
    std::string heard;
    while (std::chrono::steady_clock::now() < end) {
        const bool there = co_await d.keep("b", least);
        kept = kept && there;
        const auto news = co_await w->next(least / 4);
        heard += told(news);
    }
    BOOST_TEST(kept);
    if (heard.empty()) heard = co_await told_by(*w, 1);
    BOOST_TEST(heard == "-a");
    const auto gone = co_await other.get("a");
    const auto there = co_await other.get("b");
    BOOST_TEST(!gone.has_value());
    BOOST_TEST(there.has_value());
    const bool again = co_await d.keep("a", least);
    const bool never = co_await d.keep("c", least);
    BOOST_TEST(!again);
    BOOST_TEST(!never);
    // Somebody else's under our name outlives ours.
    co_await other.put("b", some(9), {});
    co_await d.remove("b");
    const auto theirs = co_await d.get("b");
    BOOST_REQUIRE(theirs.has_value());
    BOOST_TEST((theirs->metadata == some(9)));
    co_await other.remove("b");
    co_await d.remove("stays");
}

/// Two agents meet there, by the whole and by a part; who has left is not found, and a connection outlives that.
inline task<> agents_conform(runtime& rt, directory& d, directory& other, duration ttl)
{
    neighbours n{rt};
    co_await n.open();
    announce_options o;
    o.ttl = ttl;
    announcement whole = co_await announcement::make(n.decode, d, o);
    o.label = "pages";
    o.names = {"kv"};
    co_await announce(n.decode, d, o);
    const auto part = co_await other.get("decode/pages");
    BOOST_TEST(part.has_value());
    const peer there = co_await connect(n.prefill, other, "decode/pages", 20s);
    co_await n.expect_reach(there);
    const auto w = other.watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+decode +decode/pages");
    // What is published meanwhile is told.
    region more = co_await n.decode.register_memory(dram(n.landed));
    co_await n.decode.publish("more", more);
    const std::string changed = co_await told_by(*w, 1);
    BOOST_TEST((changed == "~decode" || changed.starts_with("-decode/pages")));
    co_await whole.withdraw();
    const error_code e = co_await failure_of(connect(n.prefill, other, "decode", 50ms));
    BOOST_TEST(e == errc::deadline_missed);
    co_await n.expect_reach(there); // which goes on
    co_await n.decode.unpublish("more");
    co_await d.remove("decode/pages");
}

} // namespace wye::testing
