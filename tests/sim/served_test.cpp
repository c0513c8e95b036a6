// SPDX-License-Identifier: Apache-2.0
// Files, buckets and GPUs of a peer's that no fabric reaches: its agent serves them, and all that holds of copies holds of it.
#define BOOST_TEST_MODULE served
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include <engine.hpp>

#include "support/served_world.hpp"

using namespace wye;
using namespace std::chrono_literals;
using lab::area_bytes, lab::drop, lab::ending, lab::failure_of, lab::knowing, lab::telling, lab::verified;
using world = lab::served_world;
namespace asio = boost::asio;

BOOST_AUTO_TEST_CASE(a_file_is_written_and_read)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice there = v.to.published("disk").sub(0, area_bytes);
        std::size_t n = co_await copy(v.from, there);
        BOOST_TEST(n == area_bytes);
        BOOST_TEST(v.content() == v.sent);
        n = co_await copy(there, v.back);
        BOOST_TEST(n == area_bytes);
        BOOST_TEST(v.read == v.sent);
        BOOST_TEST(v.prefill.explain(v.from, there).to_string().starts_with("DRAM -> remote FILE (served), "));
        BOOST_TEST(v.prefill.explain(there, v.back).to_string().starts_with("remote FILE -> DRAM (served), "));
    });
}

// What the writer computed is kept over there, and checked by who reads.
BOOST_AUTO_TEST_CASE(what_was_written_is_what_is_read)
{
    world w;
    w.run([](world& v) -> task<> {
        const slice there = v.to.published("disk").sub(4_KiB, 3_MiB);
        const copy_options o = verified();
        co_await copy(v.from.at(0, 3_MiB), there, o);
        co_await copy(there, v.back.at(0, 3_MiB), o);
        BOOST_TEST(std::equal(v.sent.begin(), v.sent.begin() + 3_MiB, v.read.begin()));
        // By its owner, too.
        region own = co_await v.decode.register_memory(dram(v.landed));
        co_await copy(v.disk.at(4_KiB, 3_MiB), own.at(0, 3_MiB), o);
        own.reset();

        (*v.b.file("/disk"))[2_MiB] ^= std::byte{1};
        const auto [bad, n] = co_await copy(there, v.back.at(0, 3_MiB), o, asio::as_tuple(asio::deferred));
        BOOST_TEST(bad == errc::corrupt);
        const slice unknown = v.to.published("disk").sub(5_KiB, 1_MiB);
        const auto [none, m] = co_await copy(unknown, v.back.at(0, 1_MiB), o, asio::as_tuple(asio::deferred));
        BOOST_TEST(none == errc::unverified);
        co_await copy(unknown, v.back.at(0, 1_MiB));
    });
}

BOOST_AUTO_TEST_CASE(a_file_that_ends_early_is_a_short_transfer)
{
    world w;
    w.run([](world& v) -> task<> {
        co_await copy(v.from.at(0, 1'500'000), v.to.published("disk").sub(0, 1'500'000));
        const auto [e, n] = co_await copy(v.to.published("disk").sub(0, 2_MiB), v.back.at(0, 2_MiB), asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::short_transfer);
        BOOST_TEST((n > 1_MiB && n <= 1'500'000)); // what was still in staging has not landed
        BOOST_TEST(std::equal(v.sent.begin(), v.sent.begin() + static_cast<std::ptrdiff_t>(n), v.read.begin()));
    });
}

BOOST_AUTO_TEST_CASE(objects_are_replaced_whole_and_read_whole)
{
    world w;
    w.run([](world& v) -> task<> {
        for (const copy_options& o : {copy_options{}, verified()}) {
            for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{100'000}, std::size_t{area_bytes}}) {
                const std::string key = "k" + std::to_string(bytes);
                std::size_t n = co_await copy(v.from.at(0, bytes), v.to.object("cache", key), o);
                BOOST_TEST(n == bytes);
                const lab::bytes put(v.sent.begin(), v.sent.begin() + static_cast<std::ptrdiff_t>(bytes));
                BOOST_TEST(v.stored(key, put));
                std::fill(v.read.begin(), v.read.end(), std::byte{});
                n = co_await copy(v.to.object("cache", key), v.back.at(0, bytes), o);
                BOOST_TEST(n == bytes);
                BOOST_TEST(std::equal(put.begin(), put.end(), v.read.begin()));
            }
        }
        const auto [none, n] = co_await copy(v.to.object("cache", "none"), v.back.at(0, 10), asio::as_tuple(asio::deferred));
        BOOST_TEST(none == errc::not_found);
        const auto [longer, m] = co_await copy(v.to.object("cache", "k100000"), v.back.at(0, 10), asio::as_tuple(asio::deferred));
        BOOST_TEST(longer == errc::length_mismatch);
        const auto [shorter, k] = co_await copy(v.to.object("cache", "k1"), v.back.at(0, 2_MiB), asio::as_tuple(asio::deferred));
        BOOST_TEST(shorter == errc::short_transfer);
        BOOST_CHECK_THROW(v.to.object("cache", ""), system_error);
        BOOST_CHECK_THROW(v.to.object("disk", "k"), system_error);
        BOOST_CHECK_THROW(v.to.object("nothing", "k"), system_error);
        BOOST_CHECK_THROW(v.to.published("cache"), system_error);
    });
}

// Each in the direction granted, by name, within bounds; and nothing that was withdrawn.
BOOST_AUTO_TEST_CASE(reaches_only_what_was_published_and_in_the_direction_granted)
{
    world w;
    w.run([](world& v) -> task<> {
        file other = co_await v.decode.open_file("/other");
        co_await v.decode.publish("readable", v.disk, access::read_only);
        co_await v.decode.publish("objects", v.store, access::read_only);
        BOOST_CHECK_THROW(v.to.published("readable"), system_error); // published, but not to it yet
        v.to = co_await v.prefill.connect(v.decode.metadata());
        const slice there = v.to.published("readable").sub(0, 4_KiB);
        const auto [e, n] = co_await copy(v.from.at(0, 4_KiB), there, asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::read_only);
        const auto [f, m] = co_await copy(v.from.at(0, 4_KiB), v.to.object("objects", "k"), asio::as_tuple(asio::deferred));
        BOOST_TEST(f == errc::read_only);
        BOOST_TEST(v.content().empty());
        BOOST_CHECK_THROW(v.to.published("other"), system_error);
        co_await copy(v.from.at(0, 4_KiB), v.to.published("disk").sub(0, 4_KiB));
        co_await copy(there, v.back.at(0, 4_KiB));
        co_await v.decode.unpublish("readable");
        co_await v.decode.unpublish("objects");
        const auto [g, k] = co_await copy(there, v.back.at(0, 4_KiB), asio::as_tuple(asio::deferred));
        BOOST_TEST(g == errc::withdrawn);
        BOOST_CHECK_THROW(v.to.object("objects", "k"), system_error);
    });
}

// Through DRAM here and there. The staging of both is small, and both write and read at once: nobody waits for ever.
BOOST_AUTO_TEST_CASE(gpus_are_staged_at_both_ends)
{
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        agent_options o = knowing("the secret");
        o.staging_piece = 64_KiB;
        o.staging_bytes = seed % 2 ? 128_KiB : 512_KiB;
        world w{seed, o};
        w.run([](world& v) -> task<> {
            lab::bytes mine = lab::pattern(area_bytes, 7), theirs = lab::pattern(area_bytes, 9), got(area_bytes), put(area_bytes);
            region a = co_await v.prefill.register_memory(vram(mine.data(), area_bytes, 1));
            region b = co_await v.decode.register_memory(vram(theirs.data(), area_bytes, 2));
            region c = co_await v.prefill.register_memory(vram(got.data(), area_bytes, 1));
            region d = co_await v.decode.register_memory(vram(put.data(), area_bytes, 2));
            co_await v.prefill.publish("a", a, access::read_only);
            co_await v.prefill.publish("c", c);
            co_await v.decode.publish("b", b, access::read_only);
            co_await v.decode.publish("d", d);
            v.to = co_await v.prefill.connect(v.decode.metadata());
            peer back = co_await v.decode.connect(v.prefill.metadata());
            BOOST_TEST(v.prefill.explain(a, v.to.published("d")).to_string().find("-> DRAM (gpu) -> remote VRAM (served)") !=
                       std::string::npos);
            std::vector<ending> all(4);
            constexpr std::size_t half = area_bytes / 2;
            copy_options low;
            low.priority = priority::background;
            copy(a.at(0, half), v.to.published("d").sub(0, half), all[0].handler());
            copy(back.published("a").sub(half, half), d.at(half, half), low, all[1].handler());
            copy(b.at(0, half), back.published("c").sub(0, half), low, all[2].handler());
            copy(v.to.published("b").sub(half, half), c.at(half, half), all[3].handler());
            co_await v.until_all(all);
            for (const ending& e : all) BOOST_TEST((!e.e && e.n == half), e.e.message());
            BOOST_TEST(put == mine);
            BOOST_TEST(got == theirs);
            const auto [e, n] = co_await copy(a.at(0, 10), v.to.published("d").sub(area_bytes - 5, 10), asio::as_tuple(asio::deferred));
            BOOST_TEST(e == errc::out_of_range);
            for (const char* name : {"b", "d"}) co_await v.decode.unpublish(name);
            for (const char* name : {"a", "c"}) co_await v.prefill.unpublish(name);
            back.reset();
        });
    }
}

// Where the fabric reaches into GPUs it does so by itself.
BOOST_AUTO_TEST_CASE(with_hmem_nobody_serves)
{
    world w{1, knowing("the secret"), lab::with_rails(2)};
    w.run([](world& v) -> task<> {
        lab::bytes mine = lab::pattern(area_bytes, 7);
        region a = co_await v.decode.register_memory(vram(mine.data(), area_bytes, 1));
        co_await v.decode.publish("a", a);
        v.to = co_await v.prefill.connect(v.decode.metadata());
        co_await copy(v.to.published("a"), v.back);
        BOOST_TEST(v.read == mine);
        BOOST_TEST(v.prefill.explain(v.to.published("a"), v.back).to_string().starts_with("remote VRAM -> DRAM (nic), "));
        co_await v.decode.unpublish("a");
        a.reset();
    });
}

// The word of a write comes when the bytes are where they are to be, and not when they have left.
BOOST_AUTO_TEST_CASE(told_after_the_last_byte)
{
    world w;
    w.run([](world& v) -> task<> {
        ending o;
        v.b.hold("disk");
        copy(v.from, v.to.published("disk").sub(0, area_bytes), telling("written"), o.handler());
        const error_code early = co_await failure_of(drop(v.decode.notified({.key = "written", .deadline = 1s})));
        BOOST_TEST(early == errc::deadline_missed);
        BOOST_TEST(!o.over);
        v.b.hold("disk", false);
        const notification n = co_await v.decode.notified("written");
        BOOST_TEST(!n.aborted);
        BOOST_TEST(v.content() == v.sent);
        co_await v.until(o.over);
        BOOST_TEST(!o.e);
    });
}

// Few at once, of many: the others wait, and none fails.
BOOST_AUTO_TEST_CASE(what_is_too_much_at_once_waits)
{
    agent_options o = knowing("the secret");
    o.peers.serves = 3;
    o.peers.serves_each = 2;
    world w{1, o};
    w.run([](world& v) -> task<> {
        std::vector<ending> all(500);
        for (std::size_t i = 0; i < all.size(); ++i)
            copy(v.from.block(i, 8_KiB), v.to.published("disk").block(i, 8_KiB), all[i].handler());
        co_await v.until_all(all);
        for (const ending& e : all) BOOST_TEST(!e.e);
        BOOST_TEST(std::equal(v.sent.begin(), v.sent.begin() + 500 * 8_KiB, v.content().begin()));
        BOOST_TEST(v.b.most_held("disk") <= 2u);
    });
}

// Whoever waits for nothing but the disk goes before what was there first.
BOOST_AUTO_TEST_CASE(urgent_is_urgent_over_there)
{
    agent_options o = knowing("the secret");
    o.peers.serves_each = 2;
    world w{1, o};
    w.run([](world& v) -> task<> {
        std::vector<ending> all(200);
        for (std::size_t i = 0; i < all.size(); ++i)
            copy(v.from.block(i, 16_KiB), v.to.published("disk").block(i, 16_KiB), all[i].handler());
        co_await v.it.runtime().sleep(100us);
        ending first;
        copy_options now;
        now.priority = priority::urgent;
        copy(v.from.at(0, 16_KiB), v.to.published("disk").sub(8_MiB, 16_KiB), now, first.handler());
        co_await v.until(first.over);
        const auto done = std::count_if(all.begin(), all.end(), [](const ending& e) { return e.over; });
        BOOST_TEST(done < 150);
        co_await v.until_all(all);
    });
}

// Garbage of somebody who knows the secret is refused, counted, and harms nobody.
BOOST_AUTO_TEST_CASE(garbage_is_refused)
{
    world w;
    w.run([](world& v) -> task<> {
        namespace wire = wye::detail::wire;
        co_await copy(v.from.at(0, 4_KiB), v.to.published("disk").sub(0, 4_KiB));
        wye::detail::link& l = *v.to.link();
        const std::uint64_t epoch = v.to.epoch("disk"), objects = v.to.epoch("cache");
        std::uint64_t x = 88172645463325252u;
        const auto some = [&x](std::uint64_t below) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            return x % below;
        };
        const std::uint64_t edges[] = {0, 1, 4096, segment::unbounded, segment::unbounded - 1, 1ull << 62};
        for (int i = 0; i < 3000; ++i) {
            wire::errand e;
            e.number = some(4) ? 1000 + static_cast<std::uint64_t>(i) : edges[some(6)];
            e.epoch = some(3) ? (some(2) ? epoch : objects) : some(20);
            e.key = some(2) ? "k" : "";
            e.at = edges[some(6)];
            e.length = edges[some(3) ? some(3) : some(6)];
            e.memory = static_cast<std::uint32_t>(some(3));
            e.memory_at = edges[some(6)];
            e.step = static_cast<step>(some(4));
            e.writes = some(2);
            e.sole = some(2);
            e.priority = static_cast<priority>(some(3));
            e.session = some(2) ? 0 : some(6);
            e.total = edges[some(6)];
            e.verify = some(2);
            e.extent_at = edges[some(6)];
            e.extent_length = edges[some(6)];
            e.has_checksum = some(2);
            if (e.writes && (e.at > 1_MiB || e.total > 1_MiB)) continue; // it may, and what it writes to would be very long
            l.talk.push(e);
            if (some(10) == 0) l.talk.push(wire::reply{.number = some(64), .bytes = 5});
            if (some(10) == 0) l.talk.push(wire::unlend{static_cast<std::uint32_t>(5 + some(9))});
            if (some(10) == 0) l.talk.push(wire::lend{static_cast<std::uint32_t>(5 + some(9)), access::read_write, 5, {}});
            if (some(8) == 0) co_await v.prefill.notify(v.to, "on");
        }
        co_await v.prefill.notify(v.to, "on");
        co_await v.it.runtime().sleep(100ms);
        co_await copy(v.from, v.to.published("disk").sub(0, area_bytes));
        BOOST_TEST(std::equal(v.sent.begin(), v.sent.end(), v.content().begin()));
        BOOST_TEST(v.decode.engine().others().garbage() != 0u);
        v.to.reset(); // with what it has left open
        co_await v.it.runtime().sleep(5s);
        co_await v.decode.unpublish("cache");
        co_await v.decode.unpublish("disk");
    });
}
