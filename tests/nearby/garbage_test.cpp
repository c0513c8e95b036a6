// SPDX-License-Identifier: Apache-2.0
// What others may do to the memory that they share with us: anything. We stay up, memory that was not granted stays as it
// is, and others go on.
#define BOOST_TEST_MODULE nearby_garbage
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <random>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <box.hpp>
#include <wire.hpp>

#include "nearby/two.hpp"

using namespace wye;
using namespace wye::seam;
using nearby::record, nearby::record_kind, nearby::unit;

namespace {

constexpr std::size_t guard = 64_KiB;

/// Granted memory with some around it that is not.
struct guarded {
    explicit guarded(tier t) : all(3 * guard, std::byte{0x11}), middle{t}
    {
        middle.base = all.data() + guard;
        middle.length = guard;
    }
    bool untouched() const
    {
        const auto is = [](std::byte b) { return b == std::byte{0x11}; };
        return std::all_of(all.begin(), all.begin() + guard, is) && std::all_of(all.begin() + 2 * guard, all.end(), is);
    }
    bytes all;
    segment middle;
};

/// GPUs that are ordinary memory: ours lies in `mine`, and a handle that begins rightly opens 64 KiB of somebody's.
struct lab_gpus : gpu_sharing {
    explicit lab_gpus(const guarded& m) : mine{m} {}
    error_code share(const segment& s, place& p) noexcept override
    {
        p = {7, static_cast<std::uint64_t>(s.base - mine.all.data()), {}};
        return {};
    }
    error_code sample(std::int32_t, gpu_sharing::handle& h) noexcept override { return h = {}, error_code{}; }
    std::byte* open(const gpu_sharing::handle& h, std::int32_t, std::uint64_t& length) noexcept override
    {
        if (h[0] != std::byte{'H'}) return nullptr;
        length = theirs.size();
        ++opened;
        return theirs.data();
    }
    void close(std::byte*, std::int32_t) noexcept override { --opened; }
    bool start(gpu_copy& c) noexcept override
    {
        wrong += c.from < theirs.data() || c.from + c.bytes > theirs.data() + theirs.size() || c.bytes > theirs.size();
        if (line.size() == 5) return false;
        line.push_back(&c);
        return true;
    }
    void flush() noexcept override {}
    gpu_copy* next_over() noexcept override
    {
        if (line.empty() || held) return nullptr;
        gpu_copy* const c = line.front();
        line.erase(line.begin());
        std::memcpy(c->to, c->from, c->bytes);
        ++copied;
        return c;
    }
    void settle() noexcept override { held = false; }

    bool held = false; ///< until somebody waits
    const guarded& mine;
    bytes theirs = bytes(guard, std::byte{0x22});
    std::vector<gpu_copy*> line;
    int opened = 0;
    std::uint64_t wrong = 0, copied = 0;
};

/// A process that scribbles in a box of somebody else's.
struct scribbler {
    explicit scribbler(fabric& of)
        : at{*nearby::decode_directions(of.address())},
          in{nearby::box::open(nearby::open_of(static_cast<pid_t>(at.pid), at.box, O_RDWR), at.who)}
    {
    }
    /// Takes a slot, as this agent.
    void claim(const nearby::identity& who)
    {
        for (place = 0; place < in.slots(); ++place) {
            std::uint64_t free = 0;
            if (!slot().state.compare_exchange_strong(free, nearby::slot_state(::getpid(), nearby::phase::claiming))) continue;
            slot().by = {who, at.door, *nearby::began(::getpid())};
            slot().state.store(nearby::slot_state(::getpid(), nearby::phase::open));
            return;
        }
        throw std::runtime_error{"no slot is free"};
    }
    nearby::slot& slot() const { return in.slot(place); }
    std::byte* ring() const { return in.ring(place); }
    void say(const record& r, std::uint64_t tail)
    {
        std::memcpy(ring(), &r, sizeof r);
        slot().tail.store(tail);
        rings();
    }
    void rings() const { in.header().rang[place / 64].fetch_or(std::uint64_t{1} << place % 64); }
    void leave() const
    {
        slot().state.store(nearby::slot_state(0, nearby::phase::released));
        rings();
    }

    nearby::directions at;
    nearby::box in;
    std::uint32_t place = 0;
};

} // namespace

// One by one, what a record must not be.
BOOST_AUTO_TEST_CASE(records_that_make_no_sense)
{
    two w{1_MiB};
    scribbler s{*w.there};
    const std::uint64_t units = s.in.ring_bytes() / unit;
    struct {
        record r;
        std::uint64_t tail;
    } const wrong[] = {
        {{.bytes = 0, .kind = static_cast<record_kind>(0)}, 1},
        {{.bytes = 0, .kind = static_cast<record_kind>(99)}, 1},
        {{.bytes = 64, .kind = record_kind::message}, 1},                        // more than was written
        {{.bytes = 8193, .kind = record_kind::message}, 200},                    // more than a message has
        {{.bytes = ~std::uint32_t{0}, .kind = record_kind::put}, units},         // more than there can be
        {{.bytes = 0, .kind = record_kind::put}, 1},
        {{.bytes = 64, .kind = record_kind::filler}, 2},                         // not up to the end
        {{.bytes = 0, .kind = record_kind::pull}, 1},                            // of nothing
        {{.bytes = 64, .kind = record_kind::pull, .length = 1}, 2},
        {{.bytes = 64, .kind = record_kind::gpu_pull, .length = 1}, 2},
        {{.kind = record_kind::gpu_pull, .length = 1}, 1},                       // we have no GPU
        {{.bytes = 3, .kind = record_kind::message}, units + 1},                 // more than the ring holds
        {{.bytes = 3, .kind = record_kind::message}, ~std::uint64_t{0}},
    };
    for (const auto& it : wrong) {
        s.claim({7, 7});
        s.say(it.r, it.tail);
        BOOST_TEST(poll({w.there.get()}, [&] { return s.slot().shut.load() != 0; }, 2s));
        s.leave();
        BOOST_TEST(poll({w.there.get()}, [&] { return s.slot().state.load() == 0; }, 2s));
    }
    BOOST_TEST(heard.empty());
    BOOST_TEST(!w.move(0, 0, 1_MiB)); // others go on
}

// Requests without end: they are not kept without end.
BOOST_AUTO_TEST_CASE(more_requests_than_anybody_may_have)
{
    two w{1_MiB};
    scribbler s{*w.there};
    s.claim({7, 7});
    for (std::uint64_t i = 0; i < nearby::most_pulls + 1; ++i) {
        const record r{.kind = record_kind::pull, .token = w.key.id, .source = 4096, .length = ~std::uint64_t{0}};
        std::memcpy(s.ring() + i * unit, &r, sizeof r);
    }
    s.slot().tail.store(nearby::most_pulls + 1);
    s.rings();
    BOOST_TEST(poll({w.there.get()}, [&] { return s.slot().shut.load() != 0; }, 2s));
    BOOST_TEST(!w.move(0, 0, 1_MiB));
}

/// Everything is random, but often nearly right.
BOOST_AUTO_TEST_CASE(anything_at_all)
{
    guarded mine{tier::dram};
    const std::unique_ptr<fabric> us = make_same_host(), them = make_same_host();
    const fabric::key key = grant(*us, mine.middle, access::read_write);
    const fabric::key shown = grant(*us, mine.middle, access::read_only);
    std::uint32_t number = 0;
    BOOST_REQUIRE(!admit(*us, them->address(), number)); // so that what is said in their name is believed
    const nearby::identity who = nearby::decode_directions(them->address())->who;
    scribbler s{*us};
    std::mt19937_64 random{7};
    const auto below = [&](std::uint64_t n) { return random() % n; };
    const auto near = [&](std::uint64_t n) { return below(4) == 0 ? random() : n + below(3) - 1; };
    std::uint64_t shut = 0, fine = 0;
    for (int round = 0; round < 3000; ++round) {
        s.claim(who);
        const std::uint64_t units = s.in.ring_bytes() / unit;
        std::uint64_t at = 0;
        for (std::uint64_t records = 1 + below(8); records != 0; --records) {
            record r{};
            r.bytes = static_cast<std::uint32_t>(below(8) ? below(9000) : random());
            r.kind = static_cast<record_kind>(1 + below(5));
            if (r.kind == record_kind::pull && below(8)) r.bytes = 0;
            r.token = below(4) ? key.id : below(2) ? shown.id : near(key.id);
            r.offset = below(2) ? below(guard) : near(guard);
            r.length = below(2) ? below(guard) : near(guard);
            r.source = below(2) ? reinterpret_cast<std::uintptr_t>(mine.all.data()) + below(guard) : random();
            std::memcpy(s.ring() + at % units * unit, &r, sizeof r);
            const auto* const put = reinterpret_cast<const std::byte*>(&random);
            const std::size_t room = (units - at % units - 1) * unit;
            std::memcpy(s.ring() + at % units * unit + unit, put, std::min<std::size_t>({r.bytes, room, sizeof random}));
            at += 1 + std::min<std::uint64_t>((std::uint64_t{r.bytes} + unit - 1) / unit, units);
        }
        s.slot().tail.store(below(8) ? std::min(at, units) : near(at));
        for (auto& c : s.slot().cancelled) c.store(static_cast<std::uint8_t>(below(16) == 0), std::memory_order_relaxed);
        s.slot().pulled.store(below(8) ? 0 : random());
        s.in.header().rang[below(4)].store(random());
        s.rings();
        for (int i = 0; i < 4; ++i) us->poll({});
        (s.slot().shut.load() ? shut : fine) += 1;
        s.leave();
        for (int i = 0; i < 100 && s.slot().state.load() != 0; ++i) us->poll({});
        BOOST_REQUIRE(s.slot().state.load() == 0u);
        heard.clear();
    }
    BOOST_TEST(mine.untouched());
    BOOST_TEST(shut > 100u);
    BOOST_TEST(fine > 100u);
}

// Contract 6, of a request that a device is at: `withdraw`, `cut_off` and the end of the slot wait for it.
BOOST_AUTO_TEST_CASE(a_device_that_is_at_it_is_waited_for)
{
    for (int how = 0; how < 3; ++how) {
        guarded mine{tier::vram};
        const auto gpus = std::make_shared<lab_gpus>(mine);
        same_host_options o;
        o.gpus = gpus;
        const std::unique_ptr<fabric> us = make_same_host(o), them = make_same_host();
        us->enlist(mine.middle, [](error_code) {});
        const fabric::key key = grant(*us, mine.middle, access::read_write);
        std::uint32_t number = 0;
        BOOST_REQUIRE(!admit(*us, them->address(), number));
        scribbler s{*us}, shows{*them};
        shows.in.header().exports[3].handle[0] = std::byte{'H'};
        shows.in.header().exports[3].serial.store(5);
        s.claim(shows.at.who);
        gpus->held = true;
        s.say({.kind = record_kind::gpu_pull, .token = key.id, .length = 1000, .number = 3, .serial = 5}, 1);
        BOOST_TEST(poll({us.get()}, [&] { return !gpus->line.empty(); }));
        us->poll({});
        BOOST_TEST(s.slot().gpu_pulled.load() == 0u);
        if (how == 0) us->withdraw(key.id);
        if (how == 1) us->cut_off(number);
        if (how == 2) s.leave();
        if (how == 2) BOOST_TEST(poll({us.get()}, [&] { return s.slot().state.load() == 0; }));
        BOOST_TEST(gpus->line.empty());
        if (how != 2) BOOST_TEST(s.slot().gpu_pulled.load() == 1u);
        BOOST_TEST((mine.middle.base[999] == std::byte{0x22}));
    }
}

/// The same between GPUs, and of what is exported.
BOOST_AUTO_TEST_CASE(anything_at_all_between_gpus)
{
    guarded mine{tier::vram};
    const auto gpus = std::make_shared<lab_gpus>(mine);
    same_host_options o;
    o.gpus = gpus;
    const std::unique_ptr<fabric> us = make_same_host(o), them = make_same_host();
    us->enlist(mine.middle, [](error_code) {});
    const fabric::key key = grant(*us, mine.middle, access::read_write);
    std::uint32_t number = 0;
    BOOST_REQUIRE(!admit(*us, them->address(), number));
    scribbler s{*us}, shows{*them};
    std::mt19937_64 random{7};
    const auto below = [&](std::uint64_t n) { return random() % n; };
    const auto near = [&](std::uint64_t n) { return below(4) == 0 ? random() : n + below(3) - 1; };
    for (int round = 0; round < 3000; ++round) {
        for (int i = 0; i < 4; ++i) {
            nearby::exported& e = shows.in.header().exports[below(8)];
            e.handle[0] = static_cast<std::byte>('H' - (below(3) == 0));
            e.serial.store(below(4));
        }
        s.claim(shows.at.who);
        const std::uint64_t records = 1 + below(8);
        for (std::uint64_t at = 0; at < records; ++at) {
            record r{.kind = below(9) ? record_kind::gpu_pull : below(2) ? record_kind::pull : record_kind::message};
            r.token = below(4) ? key.id : near(key.id);
            r.offset = below(2) ? below(guard) : near(guard);
            r.length = 1 + (below(4) ? below(1000) : near(guard));
            r.source = below(8) ? below(guard) : random();
            r.number = static_cast<std::uint32_t>(below(16) ? below(8) : random());
            r.serial = below(16) ? below(4) : random();
            std::memcpy(s.ring() + at * unit, &r, sizeof r);
        }
        s.slot().tail.store(records);
        for (auto& c : s.slot().gpu_cancelled) c.store(static_cast<std::uint8_t>(below(16) == 0), std::memory_order_relaxed);
        s.slot().gpu_pulled.store(below(8) ? 0 : random());
        for (auto& r : s.slot().reaches) r.store(static_cast<std::uint32_t>(random()));
        s.rings();
        for (int i = 0; i < 4; ++i) us->poll({});
        s.leave();
        for (int i = 0; i < 100 && s.slot().state.load() != 0; ++i) us->poll({});
        BOOST_REQUIRE(s.slot().state.load() == 0u);
    }
    BOOST_TEST(mine.untouched());
    BOOST_TEST(gpus->wrong == 0u);
    BOOST_TEST(gpus->copied > 100u);
    us->sever(number, [] {});
    us->poll({});
    BOOST_TEST(gpus->opened == 0);
}

// The owner of a box may scribble, too, over what it says of our requests.
BOOST_AUTO_TEST_CASE(an_owner_that_says_what_cannot_be)
{
    for (int story = 0; story < 4; ++story) {
        two w{1_MiB};
        scribbler s{*w.there};
        w.go(0, 0, story % 2 ? 1_MiB : 4_KiB);
        while (nearby::phase_of(s.slot().state.load()) != nearby::phase::open) ++s.place;
        if (story == 0) s.slot().head.store(1 << 20);
        if (story == 1) s.slot().pulled.store(1 << 20);
        if (story == 2) s.slot().shut.store(5);
        if (story == 3) s.in.header().alive.store(1);
        BOOST_TEST(poll({w.here.get()}, [&] { return !went.empty() && w.chunks.front().ends != 0; }, 2s));
        BOOST_TEST(w.chunks.front().error == errc::peer_lost);
    }
}

// Boxes that are none: too small, not sealed, of somebody else, with sizes that do not fit.
BOOST_AUTO_TEST_CASE(boxes_that_are_none)
{
    const nearby::identity who{1, 2};
    auto [good, fd] = nearby::box::make(4, 64_KiB, who);
    BOOST_TEST(static_cast<bool>(nearby::box::open(fd, who)));
    BOOST_TEST(!nearby::box::open(fd, {1, 3}));
    good.header().slots.store(5);
    BOOST_TEST(!nearby::box::open(fd, who));
    good.header().slots.store(4);
    good.header().ring_bytes.store(64_KiB - 4096);
    BOOST_TEST(!nearby::box::open(fd, who));
    good.header().ring_bytes.store(~std::uint64_t{0});
    BOOST_TEST(!nearby::box::open(fd, who));
    good.header().ring_bytes.store(64_KiB);
    BOOST_TEST(static_cast<bool>(nearby::box::open(fd, who)));
    const nearby::descriptor loose{::memfd_create("loose", MFD_CLOEXEC)};
    BOOST_TEST(::ftruncate(loose.get(), 1_MiB) == 0);
    BOOST_TEST(!nearby::box::open(loose, who));
    BOOST_TEST(!nearby::box::open(nearby::descriptor{}, who));
}
