// SPDX-License-Identifier: Apache-2.0
// The driver among processes of one machine, at its seam: both ends in this process, each polled when the test says so.
#define BOOST_TEST_MODULE nearby_driver
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>

#include <poll.h>
#include <unistd.h>

#include <wire.hpp>

#include "nearby/two.hpp"
#include "support/same.hpp"

using namespace wye;
using namespace wye::seam;

namespace {

/// Whether that part of `to` is that part of `from`, and everything beside it is as it was.
bool landed(const bytes& from, std::size_t at, const bytes& to, std::size_t place, std::size_t n)
{
    const std::span<const std::byte> whole{to};
    return testing::same(std::span{from}.subspan(at, n), whole.subspan(place, n)) &&
           testing::all_are(std::byte{0}, whole.first(place)) && testing::all_are(std::byte{0}, whole.subspan(place + n));
}

nearby::directions directions_of(fabric& f) { return *nearby::decode_directions(f.address()); }

error_code admit_with(fabric& f, const nearby::directions& d)
{
    std::uint32_t number = 0;
    const error_code e = admit(f, encode(d), number);
    if (!e) f.sever(number, [] {});
    return e;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_written_and_read_is_right)
{
    two w{65_MiB};
    w.from.content = pattern(w.from.length, 1);
    w.from.base = w.from.content.data();
    const bytes theirs = pattern(w.pool.length, 2);
    for (const std::size_t n : {std::size_t{1}, std::size_t{63}, 4_KiB, 4_KiB + 1, 16_KiB + 1, 64_KiB, 64_KiB + 1, 256_KiB, 1_MiB,
                                5_MiB + 3, 64_MiB})
        for (const std::size_t off : {std::size_t{0}, std::size_t{3}}) {
            BOOST_TEST(!w.move(off, 2 * off, n));
            BOOST_TEST(landed(w.from.content, off, w.pool.content, 2 * off, n), n << " written at " << off);
            std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0});
        }
    w.pool.content = theirs;
    for (const std::size_t n : {std::size_t{1}, 4_KiB, 64_KiB + 1, 1_MiB, 64_MiB})
        for (const std::size_t off : {std::size_t{0}, std::size_t{3}}) {
            std::fill(w.from.content.begin(), w.from.content.end(), std::byte{0});
            BOOST_TEST(!w.move(2 * off, off, n, false));
            BOOST_TEST(landed(theirs, off, w.from.content, 2 * off, n), n << " read from " << off);
        }
}

// More than the ring holds, of all sizes, at once; each ends once.
BOOST_AUTO_TEST_CASE(many_at_once)
{
    two w{64_MiB};
    w.from.content = pattern(w.from.length, 3);
    w.from.base = w.from.content.data();
    constexpr std::size_t sizes[] = {100, 4_KiB, 40_KiB, 64_KiB, 70_KiB, 300_KiB};
    std::size_t at = 0;
    for (std::size_t i = 0; i < 250; ++i) {
        w.go(at, at, sizes[i % std::size(sizes)]);
        at += sizes[i % std::size(sizes)];
    }
    BOOST_TEST(w.both([&] { return std::all_of(w.chunks.begin(), w.chunks.end(), [](const auto& c) { return c.ends != 0; }); }));
    for (const seam::chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && !c.error));
    BOOST_TEST(landed(w.from.content, 0, w.pool.content, 0, at));
}

BOOST_AUTO_TEST_CASE(a_little_is_read_at_once)
{
    two w{1_MiB};
    w.pool.content = pattern(w.pool.length, 4);
    w.pool.base = w.pool.content.data();
    w.kv = w.import(w.key = grant(*w.there, w.pool, access::read_write));
    BOOST_TEST(w.here->move_at_once({w.kv.get(), 5, 4_KiB}, {&w.from, 7, 4_KiB}));
    BOOST_TEST(std::equal(w.from.base + 7, w.from.base + 7 + 4_KiB, w.pool.base + 5));
    BOOST_TEST(!w.here->move_at_once({&w.from, 0, 4_KiB}, {w.kv.get(), 0, 4_KiB}));
    w.there->withdraw(w.key.id);
    BOOST_TEST(!w.here->move_at_once({w.kv.get(), 5, 4_KiB}, {&w.from, 7, 4_KiB}));
}

BOOST_AUTO_TEST_CASE(what_was_not_granted_is_not_reached)
{
    two w{1_MiB, access::read_only};
    for (const std::size_t n : {4_KiB, 128_KiB}) {
        BOOST_TEST(w.move(0, 0, n) == errc::read_only);
        BOOST_TEST(w.move(0, 1_MiB - 1, n, false) == errc::out_of_range);
    }
    // One that says more than is true, of everything that it can say.
    nearby::description d = *nearby::decode_description(w.key.description);
    d.writable = 1;
    d.length += 4_KiB;
    w.kv = w.import({0, encode(d)}, 1_MiB + 4_KiB);
    for (const std::size_t n : {4_KiB, 128_KiB}) BOOST_TEST(w.move(0, 0, n) == errc::read_only);
    const fabric::key open = grant(*w.there, w.pool, access::read_write);
    d = *nearby::decode_description(open.description);
    d.length += 4_KiB;
    w.kv = w.import({0, encode(d)}, 1_MiB + 4_KiB);
    for (const std::size_t n : {4_KiB, 128_KiB}) BOOST_TEST(w.move(0, 1_MiB + 4_KiB - n, n) == errc::out_of_range);
    d.token += nearby::most_grants;
    w.kv = w.import({0, encode(d)}, 1_MiB);
    for (const std::size_t n : {4_KiB, 128_KiB}) BOOST_TEST(w.move(0, 0, n) == errc::withdrawn);
    BOOST_TEST(!w.import({0, bytes(10)}));
    d.length = ~std::uint64_t{0};
    BOOST_TEST(!w.import({0, encode(d)}));
    BOOST_TEST(std::all_of(w.pool.content.begin(), w.pool.content.end(), [](std::byte b) { return b == std::byte{0}; }));
}

// Contract 6: when `withdraw` returns, what is under way is over, though the peer has not heard of it.
BOOST_AUTO_TEST_CASE(what_is_withdrawn_stays_as_its_owner_has_it)
{
    two w{4_MiB};
    std::fill(w.from.content.begin(), w.from.content.end(), std::byte{1});
    for (const std::size_t n : {4_KiB, 64_KiB, 1_MiB, 4_MiB}) {
        w.chunks.clear();
        seam::chunk& c = w.go(0, 0, n);
        if (n > 256_KiB) w.there->poll(turn{steady::now()}); // a slice has landed
        w.there->withdraw(w.key.id);
        std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{2});
        BOOST_TEST(w.both([&] { return c.ends != 0; }));
        BOOST_TEST(c.error == errc::withdrawn);
        seam::chunk& r = w.go(0, 0, n, false);
        BOOST_TEST(w.both([&] { return r.ends != 0; }));
        BOOST_TEST(r.error == errc::withdrawn);
        const auto is_theirs = [](std::byte b) { return b == std::byte{2}; };
        BOOST_TEST(std::all_of(w.pool.content.begin(), w.pool.content.end(), is_theirs));
        w.kv = w.import(w.key = grant(*w.there, w.pool, access::read_write));
    }
}

// New keys to the same memory: what was submitted by the old ones is waited for.
BOOST_AUTO_TEST_CASE(keys_are_renewed)
{
    two w{1_MiB};
    seam::chunk& c = w.go(0, 0, 1_MiB);
    const fabric::key next = grant(*w.there, w.pool, access::read_write);
    bool drained = false;
    BOOST_TEST(w.here->renew(*w.kv, next.description, [&] { drained = true; }));
    w.here->poll({});
    BOOST_TEST(!drained);
    BOOST_TEST(w.both([&] { return drained; }));
    BOOST_TEST((c.ends == 1 && !c.error));
    w.there->withdraw(w.key.id);
    BOOST_TEST(!w.move(0, 0, 4_KiB));
    BOOST_TEST(!w.here->renew(*w.kv, bytes(3), [] {}));
}

BOOST_AUTO_TEST_CASE(a_chunk_of_one_that_is_severed_ends_and_lands_no_more)
{
    two w{4_MiB};
    std::fill(w.from.content.begin(), w.from.content.end(), std::byte{1});
    w.go(0, 0, 4_MiB);
    w.go(0, 0, 64_KiB);
    w.there->poll(turn{steady::now()}); // heard, and a slice taken
    bool severed = false;
    w.here->sever(w.them, [&] { severed = true; });
    BOOST_TEST(poll({w.here.get()}, [&] { return severed; }));
    for (const seam::chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && c.error == errc::peer_lost));
    std::fill(w.from.content.begin(), w.from.content.end(), std::byte{2}); // used again
    BOOST_TEST(!poll({w.there.get()}, [] { return false; }, 20ms));
    const auto late = [](std::byte b) { return b == std::byte{2}; };
    BOOST_TEST(std::none_of(w.pool.content.begin(), w.pool.content.end(), late));
    // And comes anew, by the same slot maybe.
    BOOST_TEST(!admit(*w.here, w.there->address(), w.them));
    w.kv = w.import(w.key);
    BOOST_TEST(!w.move(0, 0, 1_MiB));
    BOOST_TEST(std::all_of(w.pool.content.begin(), w.pool.content.begin() + 1_MiB, late));
}

BOOST_AUTO_TEST_CASE(messages_come_once_and_in_order)
{
    two w{4_KiB};
    std::uint64_t sent = 0, refused = 0;
    while (sent < 5000) {
        bytes m = pattern(1 + sent * 37 % 8192, sent);
        if (w.here->send(w.them, 0, m)) ++sent;
        else if (++refused % 2 != 0) w.there->poll({});
        else w.here->poll({});
    }
    BOOST_TEST(w.both([&] { return heard.size() == sent; }));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < heard.size(); ++i) wrong += heard[i] != pattern(1 + i * 37 % 8192, i);
    BOOST_TEST(wrong == 0u);
    BOOST_TEST(refused != 0u);
}

// Or the peer would be taken for a silent one.
BOOST_AUTO_TEST_CASE(words_pass_chunks_that_wait_for_room)
{
    two w{2_MiB};
    for (int i = 0; i < 16; ++i) w.go(0, 0, 64_KiB);
    BOOST_TEST(w.here->send(w.them, 0, bytes(8192)));
    BOOST_TEST(w.both([] { return !heard.empty(); }));
    BOOST_TEST(w.both([&] { return std::all_of(w.chunks.begin(), w.chunks.end(), [](const auto& c) { return c.ends == 1; }); }));
}

// An idle loop sleeps, and is woken by what comes: by a message, by a chunk, and by the end of one.
BOOST_AUTO_TEST_CASE(who_sleeps_is_woken)
{
    two w{1_MiB};
    const auto sleeps = [](fabric& f) {
        f.poll({});
        for (const auto end = steady::now() + 1s; !f.arm() && steady::now() < end;) f.poll({});
        pollfd wait{f.wait_handle(), POLLIN, 0};
        return ::poll(&wait, 1, 0) == 0;
    };
    const auto wakes = [](fabric& f) {
        pollfd wait{f.wait_handle(), POLLIN, 0};
        return ::poll(&wait, 1, 1000) == 1;
    };
    for (const std::size_t n : {4_KiB, 1_MiB}) {
        BOOST_TEST(sleeps(*w.there));
        seam::chunk& c = w.go(0, 0, n);
        BOOST_TEST(wakes(*w.there));
        BOOST_TEST(sleeps(*w.here));
        while (w.there->poll({}) != 0) {}
        BOOST_TEST(wakes(*w.here));
        BOOST_TEST(poll({w.here.get()}, [&] { return c.ends != 0; }));
    }
    BOOST_TEST(sleeps(*w.there));
    w.here->send(w.them, 0, bytes(3));
    BOOST_TEST(wakes(*w.there));
    w.there->poll({});
    BOOST_TEST(heard.size() == 1u);
    BOOST_TEST(sleeps(*w.there)); // nothing is left of it
}

BOOST_AUTO_TEST_CASE(only_who_is_what_it_says_is_admitted)
{
    two w{4_KiB};
    const nearby::directions right = directions_of(*w.there);
    std::unique_ptr<fabric> third = make_same_host();
    BOOST_TEST(!admit_with(*third, right));
    nearby::directions d = right;
    d.nonce.low ^= 1;
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    d = right;
    d.nonce_at = 8;
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    d = right;
    ++d.began;
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    d = right;
    d.host.boot[0] ^= 1;
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    d = right;
    d.who.low ^= 1;
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    d = right;
    d.pid = std::numeric_limits<pid_t>::max();
    BOOST_TEST(admit_with(*third, d) == errc::no_route);
    for (const std::int32_t other : {right.knocker, std::int32_t{0}, 9999}) {
        d = right;
        d.box = other;
        BOOST_TEST(admit_with(*third, d) == errc::no_route);
    }
    for (const std::int32_t other : {right.box, 9999}) {
        d = right;
        d.knocker = other;
        BOOST_TEST(admit_with(*third, d) == errc::no_route);
    }
    std::uint32_t number = 0;
    bytes blob = encode(right);
    BOOST_TEST(admit(*third, bytes(blob.begin(), blob.end() - 1), number) == errc::bad_metadata);
    blob[0] ^= std::byte{1};
    BOOST_TEST(admit(*third, blob, number) == errc::bad_metadata);
    d = right;
    d.pid = 0;
    BOOST_TEST(admit_with(*third, d) == errc::bad_metadata);
    BOOST_TEST(!admit_with(*third, right));
}

// Who has no address of ours has no business here, whatever it found in /proc.
BOOST_AUTO_TEST_CASE(the_door_is_asked_for)
{
    two w{4_KiB};
    nearby::directions d = directions_of(*w.there);
    d.door.low ^= 1;
    std::unique_ptr<fabric> third = make_same_host();
    std::uint32_t number = 0;
    BOOST_TEST(!admit(*third, encode(d), number));
    third->send(number, 0, bytes(5));
    BOOST_TEST(poll({third.get(), w.there.get()}, [] { return !went.empty(); }));
    BOOST_TEST(heard.empty());
}

// Places for peers are found again when those who had them have gone.
BOOST_AUTO_TEST_CASE(there_is_room_for_so_many)
{
    same_host_options o;
    o.most_peers = 2;
    const std::unique_ptr<fabric> there = make_same_host(o);
    const bytes address = there->address();
    std::uint32_t number = 0;
    for (int round = 0; round < 3; ++round) {
        std::vector<std::unique_ptr<fabric>> others;
        for (int i = 0; i < 2; ++i) BOOST_TEST(!admit(*others.emplace_back(make_same_host()), address, number));
        BOOST_TEST(admit(*others.emplace_back(make_same_host()), address, number) == errc::no_route);
        others.clear();
        there->poll({});
    }
}

// Two connections of the same two, as when both call at once: one ends, and the other goes on.
BOOST_AUTO_TEST_CASE(known_by_two_numbers)
{
    two w{1_MiB};
    std::uint32_t again = 0;
    BOOST_TEST(!admit(*w.here, w.there->address(), again));
    BOOST_TEST(again != w.them);
    bool severed = false;
    w.go(0, 0, 1_MiB);
    w.here->sever(w.them, [&] { severed = true; });
    BOOST_TEST(w.both([&] { return severed; }));
    BOOST_TEST(w.chunks.front().error == errc::peer_lost);
    w.them = again;
    w.kv = w.import(w.key);
    BOOST_TEST(!w.move(0, 0, 1_MiB));
    BOOST_TEST(went.empty());
}

BOOST_AUTO_TEST_CASE(a_driver_that_goes_is_gone)
{
    two w{1_MiB};
    w.go(0, 0, 1_MiB);
    w.there.reset();
    BOOST_TEST(poll({w.here.get()}, [] { return !went.empty(); }, 2s));
    BOOST_TEST(w.chunks.front().ends == 0); // until it is severed, or the next poll
    BOOST_TEST(poll({w.here.get()}, [&] { return w.chunks.front().ends == 1; }));
    BOOST_TEST(w.chunks.front().error == errc::peer_lost);
    BOOST_TEST(went.front() == w.them);
}
