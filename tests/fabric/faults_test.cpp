// SPDX-License-Identifier: Apache-2.0
// What breaks: rails that are fenced in mid-transfer, ways that end, peers that are silent or gone.
#define BOOST_TEST_MODULE fabric_faults
#include <boost/test/unit_test.hpp>

#include <malloc.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/drivers.hpp"
#include "support/same.hpp"

using namespace wye::seam;
namespace testing = wye::testing;
using wye::access, wye::heard, wye::told_lost, wye::error_code, wye::errc, wye::fabric, wye::make_libfabric;
using wye::operator""_KiB, wye::operator""_MiB;

namespace {

constexpr std::size_t piece_bytes = 1_MiB, pieces = 48;

/// Writes that are under way while the other side does not look.
struct flying : two {
    explicit flying(std::uint32_t rails = 2) : two{pieces * piece_bytes, loopback(rails), loopback(rails)}
    {
        for (std::size_t i = 0; i < pieces; ++i)
            if (!here->submit(piece(i * piece_bytes, piece_bytes, 0))) chunks.pop_back();
        poll_for({here.get()}, 20ms); // kernels' buffers fill, nothing is taken out
    }
    std::size_t ended() const
    {
        std::size_t n = 0;
        for (const chunk& c : chunks) n += static_cast<std::size_t>(c.ends);
        return n;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(writes_and_reads)
{
    two w{4_MiB, loopback(2), loopback(2)};
    for (std::uint32_t r : {0u, 1u}) w.go(r * 1_MiB, 1_MiB, r);
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && !c.error && c.bytes == 1_MiB));
    BOOST_TEST(std::equal(w.pool.content.begin(), w.pool.content.begin() + 2_MiB, w.from.content.begin()));
    BOOST_TEST((w.pool.content[2_MiB] == std::byte{0}));
    std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x77});
    const chunk& c = w.go(3, 100, 1, false);
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    BOOST_TEST(!c.error);
    BOOST_TEST((w.from.content[3] == std::byte{0x77}));
    BOOST_TEST((w.from.content[2] == std::byte{0x5a} && w.from.content[103] == std::byte{0x5a}));
}

// The heart of it: as long as the other side has not said so, a write that was given up may still land, so it is not
// over. Once it is over, nothing lands.
BOOST_AUTO_TEST_CASE(a_fence_waits_for_the_other_side)
{
    flying w;
    bool fenced = false;
    w.here->fence(0, [&] { fenced = true; });
    poll_for({w.here.get()}, 200ms);
    BOOST_TEST(!fenced);
    BOOST_TEST(w.ended() == 0u);

    BOOST_TEST(w.both([&] { return fenced; }));
    BOOST_TEST(w.all_over());
    for (const chunk& c : w.chunks) BOOST_TEST((!c.error || c.error == errc::rail_lost));
    std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x33}); // its owner uses it again
    poll_for({w.here.get(), w.there.get()}, 200ms);
    BOOST_TEST(testing::all_are(std::byte{0x33}, w.pool.content));

    error_code opened = errc::rail_lost;
    bool told = false;
    w.here->open_rail(0, [&](error_code e) { opened = e; told = true; });
    BOOST_TEST(w.both([&] { return told; }));
    BOOST_TEST(!opened);
    const chunk& again = w.go(0, piece_bytes, 0);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error);
    BOOST_TEST((w.pool.content[piece_bytes - 1] == std::byte{0x5a}));
}

// libfabric's queues do not forget the endpoints that closed: what it looks at before a sleep must not be one of these.
BOOST_AUTO_TEST_CASE(a_loop_sleeps_beside_a_closed_rail_and_wakes_by_an_opened_one)
{
    ::mallopt(M_PERTURB, 0x5a); // what is freed is written over
    two w{piece_bytes, loopback(2), loopback(2)};
    for (int round = 0; round < 8; ++round) {
        bool fenced = false, opened = false;
        w.here->fence(0, [&] { fenced = true; });
        BOOST_TEST(w.both([&] { return fenced; }));
        w.here->arm();
        w.here->open_rail(0, [&](error_code e) { opened = !e; });
        BOOST_TEST(w.both([&] { return opened; }));
        const bool asleep = poll({w.here.get(), w.there.get()}, [&] {
            ::pollfd quiet{w.here->wait_handle(), POLLIN, 0};
            return w.here->arm() && ::poll(&quiet, 1, 0) == 0;
        });
        BOOST_TEST(asleep);
        w.there->send(w.us, 0, bytes(100)); // over its rail 0, and so to ours
        bool woken = false;
        poll({w.there.get()}, [&] {
            ::pollfd ready{w.here->wait_handle(), POLLIN, 0};
            return woken = ::poll(&ready, 1, 10) == 1;
        }, 5s);
        BOOST_TEST(woken);
    }
    ::mallopt(M_PERTURB, 0);
}

// The only rail is opened again to ask whether writes that were given up have landed: what comes over it wakes as before.
BOOST_AUTO_TEST_CASE(a_loop_wakes_by_a_rail_that_was_opened_to_ask)
{
    flying w{1};
    bool fenced = false, opened = false; // and its loop would sleep between two polls
    w.here->fence(0, [&] { fenced = true; });
    BOOST_TEST(w.both([&] { return w.here->arm(), fenced; }));
    w.here->open_rail(0, [&](error_code e) { opened = !e; });
    BOOST_TEST(w.both([&] { return w.here->arm(), opened; }));
    const bool asleep = poll({w.here.get(), w.there.get()}, [&] {
        ::pollfd quiet{w.here->wait_handle(), POLLIN, 0};
        return w.here->arm() && ::poll(&quiet, 1, 200) == 0; // nor by its timer
    });
    BOOST_TEST(asleep);
    w.there->send(w.us, 0, bytes(100));
    bool woken = false;
    poll({w.there.get()}, [&] {
        ::pollfd ready{w.here->wait_handle(), POLLIN, 0};
        return woken = ::poll(&ready, 1, 10) == 1;
    }, 5s);
    BOOST_TEST(woken);
}

// Nobody asks any more whether there is a way to it: that keeps no agent from going.
BOOST_AUTO_TEST_CASE(a_peer_that_is_gone_leaves_no_work)
{
    two w{piece_bytes, loopback(2), loopback(2)};
    w.there.reset();
    error_code said;
    w.here->fence(0, [] {});
    BOOST_TEST(poll({w.here.get()}, [&] { return !w.here->busy(); }));
    w.here->open_rail(0, [&](error_code e) { said = e; });
    BOOST_TEST(poll({w.here.get()}, [&] { return static_cast<bool>(said); }));
    BOOST_TEST(!w.here->busy());
}

// Endpoints close and memory is registered on the helper thread, as with a NIC that takes its time.
BOOST_AUTO_TEST_CASE(what_is_slow_is_off_the_loop)
{
    wye::libfabric_options o = loopback(2);
    o.always_off_loop = true;
    two w{pieces * piece_bytes, o, o};
    for (int round = 0; round < 4; ++round) {
        for (std::size_t i = 0; i < 16; ++i)
            if (!w.here->submit(w.piece(i * piece_bytes, piece_bytes, 0))) w.chunks.pop_back();
        bool fenced = false, opened = false;
        w.here->fence(0, [&] { fenced = true; });
        BOOST_TEST(w.both([&] { return fenced && w.all_over(); }));
        w.here->open_rail(0, [&](error_code e) { opened = !e; });
        BOOST_TEST(w.both([&] { return opened; }));
    }
    const chunk& again = w.go(0, piece_bytes, 0);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error, again.error.message());
}

// With no other rail to ask by, one of those that are fenced is opened for it: its writes are over as all are, and it is
// used again.
BOOST_AUTO_TEST_CASE(a_fence_of_all_rails_ends)
{
    for (const std::uint32_t rails : {1u, 2u}) {
        flying w{rails};
        std::uint32_t fenced = 0, opened = 0;
        const auto begun = steady::now();
        for (std::uint32_t r = 0; r < rails; ++r) w.here->fence(r, [&] { ++fenced; });
        BOOST_TEST(w.both([&] { return fenced == rails; }));
        BOOST_TEST(w.all_over());
        BOOST_TEST((steady::now() - begun < 1500ms)); // half of the time after which the peer is lost
        for (const chunk& c : w.chunks) BOOST_TEST((!c.error || c.error == errc::rail_lost), c.error.message());
        for (std::uint32_t r = 0; r < rails; ++r) w.here->open_rail(r, [&](error_code e) { opened += !e; });
        BOOST_TEST(w.both([&] { return opened == rails; }));
        const chunk& again = w.go(0, piece_bytes, rails - 1);
        BOOST_TEST(w.both([&] { return again.ends != 0; }));
        BOOST_TEST(!again.error, again.error.message());
    }
}

// A process that was begun meanwhile has what listens on the rail's port, for libfabric does not close that on exec.
BOOST_AUTO_TEST_CASE(a_rail_whose_port_somebody_keeps_opens_elsewhere)
{
    two w{piece_bytes, loopback(2), loopback(2)};
    int hold[2];
    BOOST_REQUIRE(::pipe(hold) == 0);
    const ::pid_t child = ::fork();
    if (child == 0) {
        char none;
        ::close(hold[1]);
        ::_exit(::read(hold[0], &none, 1) == 0 ? 0 : 1);
    }
    bool fenced = false, opened = false;
    w.here->fence(1, [&] { fenced = true; });
    BOOST_TEST(w.both([&] { return fenced; }));
    w.here->open_rail(1, [&](error_code e) { opened = !e; });
    BOOST_TEST(w.both([&] { return opened; }, 5s));
    const chunk& again = w.go(0, piece_bytes, 1);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error, again.error.message());
    for (const int end : hold) ::close(end);
    BOOST_TEST(::waitpid(child, nullptr, 0) == child);
}

BOOST_AUTO_TEST_CASE(reads_are_over_with_the_endpoint)
{
    two w{8_MiB, loopback(1), loopback(1)};
    for (std::size_t i = 0; i < 8; ++i) w.here->submit(w.piece(i * 1_MiB, 1_MiB, 0, false));
    poll_for({w.here.get()}, 5ms);
    bool fenced = false;
    w.here->fence(0, [&] { fenced = true; });
    BOOST_TEST(poll({w.here.get()}, [&] { return fenced; })); // nobody over there is asked
    const bytes then = w.from.content;
    poll_for({w.here.get(), w.there.get()}, 50ms);
    BOOST_TEST(testing::same(w.from.content, then));
    for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && c.error == errc::rail_lost));
}

// Its owner is to write what is read, and is in the middle of it when its rail is closed: the way is lost, nothing else,
// and nothing comes late. In libfabric's own reads this brings the process down (1.17).
BOOST_AUTO_TEST_CASE(reads_whose_way_breaks_are_over)
{
    for (int round = 0; round < 8; ++round) {
        two w{pieces * piece_bytes, loopback(2), loopback(2)};
        std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x77});
        for (std::size_t i = 0; i < pieces; ++i) w.here->submit(w.piece(i * piece_bytes, piece_bytes, 0, false));
        for (int i = 0; i <= round; ++i) w.here->poll({});
        for (int i = 0; i < 2 + round; ++i) w.there->poll({});
        bool closed = false;
        w.there->fence(0, [&] { closed = true; });
        BOOST_TEST(w.both([&] { return closed && w.all_over(); }));
        std::size_t lost = 0;
        for (std::size_t i = 0; i < pieces; ++i) {
            const chunk& c = w.chunks[i];
            lost += c.error == errc::path_lost;
            BOOST_TEST((!c.error || c.error == errc::path_lost), c.error.message());
            if (!c.error) BOOST_TEST((w.from.content[(i + 1) * piece_bytes - 1] == std::byte{0x77}));
        }
        BOOST_TEST(lost != 0u);
        const bytes then = w.from.content;
        poll_for({w.here.get(), w.there.get()}, 20ms);
        BOOST_TEST(testing::same(w.from.content, then));
        const chunk& other = w.go(0, piece_bytes, 1, false);
        BOOST_TEST(w.both([&] { return other.ends != 0; }));
        BOOST_TEST(!other.error, other.error.message());
    }
}

// Memory that is withdrawn while it is being written out is left alone at once; its reader hears why, or of a lost way.
BOOST_AUTO_TEST_CASE(what_is_withdrawn_is_read_no_more)
{
    two w{pieces * piece_bytes, loopback(1), loopback(1)};
    for (std::size_t i = 0; i < pieces; ++i) w.here->submit(w.piece(i * piece_bytes, piece_bytes, 0, false));
    w.here->poll({});
    poll_for({w.there.get()}, 5ms);
    w.there->withdraw(w.key.id);
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    for (const chunk& c : w.chunks)
        BOOST_TEST((!c.error || c.error == errc::path_lost || c.error == errc::withdrawn), c.error.message());
    const chunk& late = w.go(0, 100, 0, false);
    BOOST_TEST(w.both([&] { return late.ends != 0; }));
    BOOST_TEST(late.error == errc::withdrawn);
}

// More at once than its owner has room for, of every size.
BOOST_AUTO_TEST_CASE(many_small_reads)
{
    two w{4_MiB, loopback(2), loopback(2)};
    for (std::size_t i = 0; i < w.pool.content.size(); ++i) w.pool.content[i] = static_cast<std::byte>(i * 7 + i / 997);
    std::size_t at = 0;
    for (std::size_t i = 0; i < 3000; ++i) {
        const std::size_t n = 1 + i * 37 % 1300;
        w.go(at, n, i % 2, false);
        at += n;
    }
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && !c.error));
    BOOST_TEST(std::equal(w.from.content.begin(), w.from.content.begin() + static_cast<std::ptrdiff_t>(at),
                          w.pool.content.begin()));
    BOOST_TEST((w.from.content[at] == std::byte{0x5a}));
}

// The other side closes one of its rails: the way over it is lost, the rail is not, and it comes back.
BOOST_AUTO_TEST_CASE(a_path_that_breaks_ends_its_chunks_only)
{
    flying w;
    bool closed = false;
    w.there->fence(0, [&] { closed = true; });
    const chunk& other = w.piece(0, 4_KiB, 1);
    BOOST_TEST(w.here->submit(w.chunks.back()));
    BOOST_TEST(w.both([&] { return closed && w.all_over(); }));
    BOOST_TEST(!other.error);
    std::size_t lost = 0;
    for (const chunk& c : w.chunks) {
        BOOST_TEST((!c.error || c.error == errc::path_lost), c.error.message());
        lost += c.error == errc::path_lost;
    }
    BOOST_TEST(lost != 0u);
    BOOST_TEST(told_lost == 0u);

    error_code opened;
    bool told = false;
    w.here->open_path(0, w.them, [&](error_code e) { opened = e; told = true; });
    BOOST_TEST(w.both([&] { return told; }));
    BOOST_TEST(opened == errc::path_lost); // it is closed still
    w.there->open_rail(0, [](error_code) {});
    told = false;
    w.here->open_path(0, w.them, [&](error_code e) { opened = e; told = true; });
    BOOST_TEST(w.both([&] { return told; }));
    BOOST_TEST(!opened);
    const chunk& again = w.go(0, 4_KiB, 0);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error, again.error.message());
}

// Both sides write, and both close the rail at once: neither goes on breaking what the other has just begun.
BOOST_AUTO_TEST_CASE(two_who_break_at_once_come_to_terms)
{
    flying w;
    bool a = false, b = false;
    w.here->fence(0, [&] { a = true; });
    w.there->fence(0, [&] { b = true; });
    BOOST_TEST(w.both([&] { return a && b; }));
    int open = 0;
    w.here->open_rail(0, [&](error_code e) { open += !e; });
    w.there->open_rail(0, [&](error_code e) { open += !e; });
    BOOST_TEST(w.both([&] { return open == 2; }));
    for (int i = 0; i < 20; ++i) {
        const chunk& c = w.go(0, piece_bytes, 0);
        BOOST_TEST(w.both([&] { return c.ends != 0; }));
        BOOST_TEST(!c.error, c.error.message());
    }
}

BOOST_AUTO_TEST_CASE(severing_a_silent_peer_ends_what_it_has)
{
    flying w;
    bool severed = false;
    const auto begun = steady::now();
    w.here->sever(w.them, [&] { severed = true; });
    BOOST_TEST(poll({w.here.get()}, [&] { return severed; }));
    BOOST_TEST((steady::now() - begun < 1s));
    for (const chunk& c : w.chunks) BOOST_TEST((c.ends == 1 && (c.error == errc::peer_lost || !c.error)));
}

// Who gives up a writer closes its way in: what it has half sent touches nothing any more.
BOOST_AUTO_TEST_CASE(severing_a_writer_shuts_it_out)
{
    flying w;
    poll_for({w.there.get()}, 1ms); // some of it lands
    bool severed = false;
    w.there->withdraw(w.key.id);
    w.there->sever(w.us, [&] { severed = true; });
    BOOST_TEST(poll({w.there.get()}, [&] { return severed; }));
    std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x33});
    poll_for({w.here.get(), w.there.get()}, 300ms);
    BOOST_TEST(testing::all_are(std::byte{0x33}, w.pool.content));
    // Nobody answers it: its writes end, and in nothing that would be sent again.
    BOOST_TEST(w.both([&] { return w.all_over(); }));
    for (const chunk& c : w.chunks) BOOST_TEST((c.error == errc::peer_lost || !c.error), c.error.message());
}

// A key that ends, and a writer that does not know: nothing comes in, and by another key everything does.
BOOST_AUTO_TEST_CASE(who_is_cut_off_comes_back_by_another_key)
{
    flying w;
    poll_for({w.there.get()}, 1ms);
    w.there->withdraw(w.key.id);
    w.there->cut_off(w.us);
    std::fill(w.pool.content.begin(), w.pool.content.end(), std::byte{0x33});
    bool granted = false;
    w.there->grant(w.pool, access::read_write, [&](error_code, fabric::key k) {
        w.key = std::move(k);
        granted = true;
    });
    BOOST_TEST(w.both([&] { return granted && w.all_over(); }));
    for (const chunk& c : w.chunks) BOOST_TEST((c.error == errc::path_lost || !c.error), c.error.message());
    BOOST_TEST(testing::all_are(std::byte{0x33}, w.pool.content));
    bool drained = false;
    BOOST_TEST(w.here->renew(*w.kv, w.key.description, [&] { drained = true; }));
    BOOST_TEST(w.both([&] { return drained; }));
    bool open = false, asked = false; // the way that broke: again and again, as the seam wants it
    BOOST_TEST(w.both([&] {
        if (!std::exchange(asked, true)) w.here->open_path(0, w.them, [&](error_code e) { open = asked = !e; });
        return open;
    }));
    const chunk& again = w.go(0, piece_bytes, 0);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error, again.error.message());
    BOOST_TEST((w.pool.content[piece_bytes - 1] == std::byte{0x5a}));
}

BOOST_AUTO_TEST_CASE(nobody_there_is_an_error_in_time)
{
    const std::unique_ptr<fabric> here = make_libfabric(loopback(2));
    const bytes address = make_libfabric(loopback(2))->address(); // whose driver is gone
    error_code e;
    bool told = false;
    const auto begun = steady::now();
    here->admit(address, [&](error_code x, std::uint32_t) { e = x; told = true; });
    BOOST_TEST(poll({here.get()}, [&] { return told; }));
    BOOST_TEST(e == errc::peer_lost);
    BOOST_TEST((steady::now() - begun < 8s));
}

BOOST_AUTO_TEST_CASE(a_peer_that_is_gone_is_an_error_in_time)
{
    flying w;
    w.there->dismiss(w.pool);
    w.there.reset();
    const auto begun = steady::now();
    BOOST_TEST(poll({w.here.get()}, [&] { return w.all_over(); }));
    BOOST_TEST((steady::now() - begun < 12s));
    chunk& late = w.piece(0, 100, 1);
    BOOST_TEST(w.here->submit(late));
    BOOST_TEST(poll({w.here.get()}, [&] { return late.ends != 0; }));
    BOOST_TEST(late.error == errc::path_lost);
}

// Nothing is posted that the peer's key does not cover.
BOOST_AUTO_TEST_CASE(bounds_are_checked_here)
{
    two w{64_KiB, loopback(1), loopback(1), access::read_only};
    const auto error_of = [&](const chunk& c) {
        w.both([&] { return c.ends != 0; });
        return c.error;
    };
    BOOST_TEST(error_of(w.go(0, 100, 0)) == errc::read_only);
    BOOST_TEST(error_of(w.go(64_KiB - 10, 11, 0, false)) == errc::out_of_range);
    BOOST_TEST(error_of(w.go(~std::size_t{0}, 2, 0, false)) == errc::out_of_range);
    BOOST_TEST(!error_of(w.go(64_KiB - 10, 10, 0, false)));
}

BOOST_AUTO_TEST_CASE(messages_go_round_rails_that_are_closed)
{
    two w{4_KiB, loopback(2), loopback(2)};
    const bytes message(8192, std::byte{9});
    heard.clear();
    bool fenced = false;
    w.here->fence(1, [&] { fenced = true; });
    BOOST_TEST(w.both([&] { return fenced; }));
    for (std::uint32_t attempt = 0; attempt < 4; ++attempt)
        BOOST_TEST(w.both([&] { return w.here->send(w.them, attempt, message); }));
    BOOST_TEST(w.both([&] { return heard.size() == 4; }));
    for (const bytes& m : heard) BOOST_TEST((m == message));
}
