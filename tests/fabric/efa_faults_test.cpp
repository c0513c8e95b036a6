// SPDX-License-Identifier: Apache-2.0
// The driver as it is over efa, where there are no connections and a NIC writes memory by itself: over a provider that
// stands in for it. What is late is kept out by keys.
#define BOOST_TEST_MODULE fabric_efa_faults
#include <boost/test/unit_test.hpp>

#include "efa_standin.hpp"
#include "fabric/drivers.hpp"
#include "fabric/efa.hpp"

using namespace wye::seam;
using wye::access, wye::heard, wye::told_lost, wye::error_code, wye::errc, wye::fabric, wye::make_libfabric;
using wye::operator""_KiB, wye::operator""_MiB;
using wye::testing::efa;

BOOST_TEST_GLOBAL_FIXTURE(efa_is_there);

namespace {

constexpr std::size_t piece_bytes = 4_KiB, pieces = 16;
constexpr std::byte again{0x33}; // what an owner writes who uses its page again

std::string address_of(const fabric& f, std::uint32_t rail) { return facts_of(f).rails[rail].address; }

/// Some are under way on one rail, held on the wire.
struct flying : two {
    explicit flying(std::uint32_t rails, bool write = true, std::uint32_t on = 0)
        : two{2 * pieces * piece_bytes, efa(rails), efa(rails)}, wire{address_of(*here, on)}
    {
        efa_standin_hold(wire.c_str());
        for (std::size_t i = 0; i < pieces; ++i) go(i * piece_bytes, piece_bytes, on, write);
        BOOST_TEST_REQUIRE(efa_standin_held(wire.c_str()) == pieces);
    }
    ~flying() { efa_standin_arrive(wire.c_str()); }
    std::size_t ended(error_code with) const
    {
        std::size_t n = 0;
        for (const chunk& c : chunks) n += c.ends == 1 && c.error == with;
        return n;
    }
    std::size_t arrive() { return efa_standin_arrive(wire.c_str()); }
    void give_up() { BOOST_TEST(efa_standin_give_up(wire.c_str(), address_of(*there, 0).c_str()) == pieces); }
    void fence(std::uint32_t rail, bool& fenced)
    {
        fenced = false;
        here->fence(rail, [&] { fenced = true; });
    }
    void open(std::uint32_t rail)
    {
        error_code e = errc::rail_lost;
        bool told = false;
        here->open_rail(rail, [&](error_code x) { e = x; told = true; });
        BOOST_TEST(both([&] { return told; }));
        BOOST_TEST(!e, e.message());
    }
    error_code end_of(chunk& c)
    {
        BOOST_TEST(both([&] { return c.ends != 0; }));
        return c.error;
    }
    /// What its owner does with pages that it was told are its own again.
    void use_again() { std::fill(pool.content.begin(), pool.content.end(), again); }
    bool left_alone() const { return pool.content == bytes(pool.content.size(), again); }

    const std::string wire;
};

} // namespace

BOOST_AUTO_TEST_CASE(it_is_the_stand_in)
{
    const auto driver = make_libfabric(efa(4));
    const wye::libfabric_facts f = facts_of(*driver);
    BOOST_TEST(f.provider == "efa");
    BOOST_TEST(f.rails.size() == 4u);
    BOOST_TEST(!f.sleeps);
    BOOST_TEST(f.rails[3].domain == "standin_3-rdm");
    BOOST_TEST(driver->wait_handle() == -1);
}

BOOST_AUTO_TEST_CASE(writes_and_reads)
{
    for (const std::uint32_t rails : {1u, 4u}) {
        two w{4_MiB, efa(rails), efa(rails)};
        for (std::uint32_t r = 0; r < rails; ++r) w.go(r * 1_MiB, 1_MiB, r);
        BOOST_TEST(w.both([&] { return w.all_over(); }));
        for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && !c.error && c.bytes == 1_MiB));
        const auto n = static_cast<std::ptrdiff_t>(rails * 1_MiB);
        BOOST_TEST(std::equal(w.pool.content.begin(), w.pool.content.begin() + n, w.from.content.begin()));
        std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x77});
        chunk& c = w.piece(3, 100, rails - 1, false);
        BOOST_TEST(w.here->submit(c));
        BOOST_TEST(poll({w.here.get()}, [&] { return c.ends != 0; })); // whose memory it is does nothing
        BOOST_TEST(!c.error);
        BOOST_TEST((w.from.content[3] == std::byte{0x77} && w.from.content[102] == std::byte{0x77}));
        BOOST_TEST((w.from.content[2] == std::byte{0x5a} && w.from.content[103] == std::byte{0x5a}));
    }
}

// If this fails nothing below says anything: a write whose sender has closed its endpoint does land.
BOOST_AUTO_TEST_CASE(what_is_late_lands_as_long_as_nothing_is_barred)
{
    flying w{2};
    bool fenced;
    w.fence(0, fenced);
    poll_for({w.here.get()}, 20ms);
    BOOST_TEST(w.arrive() == pieces);
    BOOST_TEST((w.pool.content[0] == std::byte{0x5a}));
    BOOST_TEST(w.both([&] { return fenced; }));
}

BOOST_AUTO_TEST_CASE(a_fence_waits_for_other_keys)
{
    for (const auto& [rails, on] : {std::pair{2u, 0u}, {2u, 1u}, {4u, 0u}, {4u, 1u}, {4u, 3u}}) {
        flying w{rails, true, on};
        const std::size_t registered = efa_standin_registered_here();
        bool fenced;
        w.fence(on, fenced);
        poll_for({w.here.get()}, 50ms);
        BOOST_TEST(!fenced);
        BOOST_TEST(!w.all_over());

        BOOST_TEST(w.both([&] { return fenced; }));
        BOOST_TEST(w.ended(errc::rail_lost) == pieces);
        w.use_again();
        BOOST_TEST(w.arrive() == 0u);
        BOOST_TEST(w.left_alone());

        BOOST_TEST(efa_standin_registered_here() == registered); // which may take a second: the helper does that

        w.open(on);
        BOOST_TEST(!w.end_of(w.go(0, piece_bytes, on)));
        BOOST_TEST((w.pool.content[piece_bytes - 1] == std::byte{0x5a}));
        BOOST_TEST(!w.end_of(w.go(0, piece_bytes, (on + 1) % rails)));
    }
}

// Keys of efa's kind are few: what is free is used again. One that came back would let in what is late.
BOOST_AUTO_TEST_CASE(no_key_comes_back)
{
    flying first{2};
    bool fenced;
    first.fence(0, fenced);
    BOOST_TEST(first.both([&] { return fenced; }));
    for (int round = 0; round < 4; ++round) {
        first.open(0);
        const std::string wire = address_of(*first.here, 0);
        efa_standin_hold(wire.c_str());
        first.go(0, piece_bytes, 0);
        first.fence(0, fenced);
        BOOST_TEST(first.both([&] { return fenced; }));
        first.use_again();
        BOOST_TEST(efa_standin_arrive(wire.c_str()) == 0u);
    }
    BOOST_TEST(first.arrive() == 0u); // of the first round
    BOOST_TEST(first.left_alone());
}

BOOST_AUTO_TEST_CASE(a_fence_of_the_only_rail)
{
    flying w{1};
    bool fenced;
    w.fence(0, fenced);
    const auto begun = steady::now();
    BOOST_TEST(w.both([&] { return fenced; }));
    BOOST_TEST((steady::now() - begun < 1s));
    BOOST_TEST(w.ended(errc::rail_lost) == pieces);
    w.use_again();
    BOOST_TEST(w.arrive() == 0u);
    BOOST_TEST(w.left_alone());
    w.open(0);
    BOOST_TEST(!w.end_of(w.go(0, piece_bytes, 0)));
}

BOOST_AUTO_TEST_CASE(a_fence_of_all_rails)
{
    flying w{2};
    const std::string other = address_of(*w.here, 1);
    efa_standin_hold(other.c_str());
    w.go(0, piece_bytes, 1);
    bool a, b;
    w.fence(0, a);
    w.fence(1, b);
    BOOST_TEST(w.both([&] { return a && b; }));
    BOOST_TEST(w.ended(errc::rail_lost) == pieces + 1);
    w.use_again();
    BOOST_TEST(w.arrive() + efa_standin_arrive(other.c_str()) == 0u);
    BOOST_TEST(w.left_alone());
    for (const std::uint32_t r : {0u, 1u}) {
        w.open(r);
        BOOST_TEST(!w.end_of(w.go(0, piece_bytes, r)));
    }
}

// Both sides close the rail at once, and have it at other addresses then.
BOOST_AUTO_TEST_CASE(two_who_break_at_once)
{
    flying w{2};
    bool a, b = false;
    w.fence(0, a);
    w.there->fence(0, [&] { b = true; });
    BOOST_TEST(w.both([&] { return a && b; }));
    int open = 0;
    w.here->open_rail(0, [&](error_code e) { open += !e; });
    w.there->open_rail(0, [&](error_code e) { open += !e; });
    BOOST_TEST(w.both([&] { return open == 2; }));
    for (const bool write : {true, false}) BOOST_TEST(!w.end_of(w.go(0, piece_bytes, 0, write)));
    BOOST_TEST(w.arrive() == 0u);
}

// The NIC gives up what it had for one peer. Its rail goes on for others.
BOOST_AUTO_TEST_CASE(a_lost_write_is_over_by_other_keys)
{
    for (const bool old : {false, true}) {
        efa_standin_errors_of_1_17(old);
        flying w{2};
        w.give_up();
        poll_for({w.here.get()}, 50ms);
        BOOST_TEST(!w.all_over());
        BOOST_TEST(w.both([&] { return w.all_over(); }));
        BOOST_TEST(w.ended(errc::path_lost) == pieces);
        BOOST_TEST(told_lost == 0u);
        w.use_again();
        BOOST_TEST(w.arrive() == 0u);
        BOOST_TEST(w.left_alone());
        error_code opened = errc::path_lost;
        w.here->open_path(0, w.them, [&](error_code e) { opened = e; });
        BOOST_TEST(w.both([&] { return !opened; }));
        BOOST_TEST(!w.end_of(w.go(0, piece_bytes, 0)));
    }
    efa_standin_errors_of_1_17(false);
}

BOOST_AUTO_TEST_CASE(keys_change_for_what_was_written_only)
{
    flying w{2};
    area other{64_KiB};
    fabric::key key;
    w.there->enlist(other, [](error_code) {});
    w.there->grant(other, access::read_write, [&](error_code, fabric::key k) { key = std::move(k); });
    BOOST_TEST(w.both([&] { return key.id != 0; }));
    const auto kv = w.here->import(w.them, wye::tier::dram, 0, 64_KiB, key.description);
    kv->peer = w.them;
    kv->home = w.here.get();
    w.give_up();
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    w.arrive(); // and holds nothing any more
    chunk& c = w.piece(0, piece_bytes, 0);
    c.to.of = kv.get();
    BOOST_TEST(w.here->submit(c));
    BOOST_TEST(!w.end_of(c));
    BOOST_TEST((other.content[0] == std::byte{0x5a}));
    w.there->dismiss(other);
}

namespace {

/// Somebody else who has the same key as `flying::here`.
struct third {
    explicit third(flying& of) : w{of}, from{1_MiB, std::byte{0x66}}, driver{make_libfabric(efa(2))}
    {
        bool ready = false;
        driver->enlist(from, [&](error_code) { ready = true; });
        driver->admit(w.there->address(), [&](error_code, std::uint32_t n) { them = n; });
        w.there->admit(driver->address(), [&](error_code, std::uint32_t n) { us = n; });
        BOOST_TEST_REQUIRE(all([&] { return ready && them != 0 && us != 0; }));
        kv = driver->import(them, wye::tier::dram, 0, w.pool.length, w.key.description);
        kv->peer = them;
        kv->home = driver.get();
    }
    ~third() { driver->dismiss(from); }
    bool all(auto over) { return poll({driver.get(), w.here.get(), w.there.get()}, over, 5s); }
    chunk& go(std::size_t at, std::uint32_t rail, bool write = true)
    {
        chunk& c = chunks.emplace_back();
        c.from = {&from, at, piece_bytes};
        c.to = {kv.get(), at, piece_bytes};
        if (!write) std::swap(c.from, c.to);
        c.rail = rail;
        BOOST_TEST(driver->submit(c));
        return c;
    }
    error_code end_of(const chunk& c)
    {
        BOOST_TEST_REQUIRE(all([&] { return c.ends != 0; }));
        return c.error;
    }

    flying& w;
    area from;
    const std::unique_ptr<fabric> driver;
    std::uint32_t them = 0, us = 0;
    std::unique_ptr<wye::segment> kv;
    std::deque<chunk> chunks;
};

} // namespace

// Who has the old key asks in the same way, and goes on by the new one. That must not take the new one from who had it
// first, or the two would go on taking it from each other.
BOOST_AUTO_TEST_CASE(others_find_the_new_key)
{
    for (const bool old : {false, true}) {
        efa_standin_errors_of_1_17(old);
        for (const bool write : {true, false}) {
            flying w{2};
            third other{w};
            w.give_up();
            BOOST_TEST(w.both([&] { return w.all_over(); }));
            w.use_again();
            BOOST_TEST(w.arrive() == 0u);
            BOOST_TEST(other.end_of(other.go(0, 1)) == error_code{}); // another rail, another key
            BOOST_TEST(other.end_of(other.go(0, 0, write)) == errc::path_lost);
            BOOST_TEST(other.end_of(other.go(0, 0, write)) == error_code{});
            BOOST_TEST(w.end_of(w.go(0, piece_bytes, 0, write)) == error_code{});
            BOOST_TEST(other.end_of(other.go(0, 0, write)) == error_code{});
        }
    }
    efa_standin_errors_of_1_17(false);
}

BOOST_AUTO_TEST_CASE(memory_that_was_withdrawn)
{
    for (const bool old : {false, true}) {
        efa_standin_errors_of_1_17(old);
        flying w{2};
        w.there->withdraw(w.key.id);
        w.use_again();
        BOOST_TEST(w.arrive() == 0u);
        BOOST_TEST(w.both([&] { return w.all_over(); }));
        BOOST_TEST(w.ended(errc::withdrawn) == pieces);
        BOOST_TEST(w.end_of(w.go(0, piece_bytes, 1)) == errc::withdrawn);
        BOOST_TEST(w.end_of(w.go(0, piece_bytes, 0, false)) == errc::withdrawn);
        BOOST_TEST(w.left_alone());
    }
    efa_standin_errors_of_1_17(false);
}

// Its other key is still being made.
BOOST_AUTO_TEST_CASE(memory_that_is_withdrawn_while_its_key_changes)
{
    flying w{2};
    w.give_up();
    poll_for({w.here.get()}, 5ms);
    w.there->poll({}); // asks, and is begun with
    w.there->withdraw(w.key.id);
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    BOOST_TEST(w.ended(errc::withdrawn) + w.ended(errc::path_lost) == pieces); // of what it heard in time
    BOOST_TEST(w.ended(errc::withdrawn) != 0u);
    w.use_again();
    BOOST_TEST(w.arrive() == 0u);
    BOOST_TEST(w.end_of(w.go(0, piece_bytes, 0)) == errc::withdrawn);
    BOOST_TEST(w.left_alone());
}

// A key that is free is used again, so memory that is granted anew must not have the one that it had.
BOOST_AUTO_TEST_CASE(memory_that_was_withdrawn_and_granted_again)
{
    flying w{2};
    w.there->withdraw(w.key.id);
    bool granted = false;
    w.there->grant(w.pool, access::read_write, [&](error_code, fabric::key k) {
        w.key = std::move(k);
        granted = true;
    });
    BOOST_TEST(w.both([&] { return granted; }));
    w.use_again();
    BOOST_TEST(w.arrive() == 0u);
    BOOST_TEST(w.left_alone());
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    bool drained = false;
    BOOST_TEST(w.here->renew(*w.kv, w.key.description, [&] { drained = true; }));
    BOOST_TEST(w.both([&] { return drained; }));
    BOOST_TEST(!w.end_of(w.go(0, piece_bytes, 0)));
}

BOOST_AUTO_TEST_CASE(reads_are_over_with_the_endpoint)
{
    flying w{2, false};
    bool fenced;
    w.fence(0, fenced);
    BOOST_TEST(poll({w.here.get()}, [&] { return fenced; })); // nobody over there is asked
    BOOST_TEST(w.ended(errc::rail_lost) == pieces);
    BOOST_TEST(w.arrive() == 0u);
}

// Where nobody answers they end with the peer: in nothing that would be sent again.
BOOST_AUTO_TEST_CASE(severing_a_silent_peer_ends_what_it_has)
{
    flying w{2};
    told_lost = 0;
    bool severed = false, fenced = false;
    w.here->sever(w.them, [&] { severed = true; });
    BOOST_TEST(poll({w.here.get()}, [&] { return told_lost != 0; }));
    BOOST_TEST(told_lost == 1u); // of the two rails the one that has something out
    told_lost = 0;
    w.fence(0, fenced);
    BOOST_TEST(poll({w.here.get()}, [&] { return severed && fenced; }));
    BOOST_TEST(w.ended(errc::peer_lost) == pieces);
}

BOOST_AUTO_TEST_CASE(a_peer_that_does_not_answer)
{
    flying w{2};
    w.give_up();
    const auto begun = steady::now();
    BOOST_TEST(poll({w.here.get()}, [&] { return w.all_over(); }));
    BOOST_TEST(w.ended(errc::peer_lost) == pieces);
    BOOST_TEST((steady::now() - begun < 5s));
}

// Its driver is gone, and its memory may be anybody's.
BOOST_AUTO_TEST_CASE(a_peer_that_is_gone)
{
    flying w{2};
    w.there->dismiss(w.pool);
    w.there.reset();
    BOOST_TEST(w.arrive() == 0u);
    BOOST_TEST(poll({w.here.get()}, [&] { return w.all_over(); }));
    BOOST_TEST(w.ended(errc::peer_lost) == pieces);
}

BOOST_AUTO_TEST_CASE(more_than_there_is_room_for)
{
    two w{4_MiB, efa(2), efa(2)};
    for (std::size_t i = 0; i < 2000; ++i) w.go(i * 1_KiB, 1_KiB, i % 2, i % 3 != 0);
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && !c.error));
}
