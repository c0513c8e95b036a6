// SPDX-License-Identifier: Apache-2.0
// The corners of failover, one by one: rails that do what each test tells them, in virtual time.
#define BOOST_TEST_MODULE failover
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

using namespace wye;
using namespace std::chrono_literals;

namespace {

/// From DRAM to VRAM. Each rail holds what it is given until it is told to end it, or carries it at once.
class scripted final : public driver {
public:
    struct rail {
        std::deque<chunk*> has;
        bool carries = false, refuses = false;
        std::size_t submits = 0, fences = 0;
    };

    explicit scripted(std::size_t n, duration s) : all(n), stutter{s} {}

    std::string_view name() const noexcept override { return "scripted"; }
    wye::limits limits() const noexcept override
    {
        wye::limits l;
        l.bytes_per_second = 1e12; // so that no other driver is preferred
        l.chunk_bytes = l.spread_bytes = 64_KiB;
        l.stutter = stutter;
        return l;
    }
    std::uint32_t rails() const noexcept override { return static_cast<std::uint32_t>(all.size()); }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        return from.tier() == tier::dram && to.tier() == tier::vram;
    }
    bool may_lose_rails() const noexcept override { return true; }
    bool busy() const noexcept override { return !fencing_.empty(); }
    bool submit(chunk& c) noexcept override
    {
        rail& r = all[c.rail];
        if (r.refuses) return false;
        ++r.submits;
        r.has.push_back(&c);
        return true;
    }
    std::size_t poll(turn) noexcept override
    {
        std::size_t n = 0;
        for (auto& what : std::exchange(told_, {})) what(), ++n;
        for (std::uint32_t r = 0; r < all.size(); ++r)
            while (all[r].carries && !all[r].has.empty()) end(r, {}), ++n;
        if (!fences_at_all) return n;
        for (auto& [r, fenced] : std::exchange(fencing_, {})) {
            while (!all[r].has.empty()) end(r, errc::rail_lost);
            fenced(), ++n;
        }
        return n;
    }
    void fence(std::uint32_t r, std::function<void()> fenced) override
    {
        ++all[r].fences;
        if (fences_at_once && all[r].has.empty()) return fenced();
        fencing_.emplace_back(r, std::move(fenced));
    }

    /// Ends the oldest that the rail has, at the next poll, with so many bytes at most.
    void tell(std::uint32_t r, error_code e = {}, std::size_t most = ~std::size_t{0})
    {
        told_.push_back([this, r, e, most] { end(r, e, most); });
    }

    /// Says at the next poll that the rail is lost.
    void give_up(std::uint32_t r)
    {
        told_.push_back([this, r] { lost(r); });
    }

    std::vector<rail> all;
    const duration stutter;
    bool fences_at_once = false, fences_at_all = true;

private:
    void end(std::uint32_t r, const error_code& e, std::size_t most = ~std::size_t{0})
    {
        chunk& c = *all[r].has.front();
        all[r].has.pop_front();
        const std::size_t n = e ? 0 : std::min(c.from.length, most);
        if (n != 0) std::memcpy(c.to.data(), c.from.data(), n);
        c.done(e, n);
    }

    std::vector<std::function<void()>> told_;
    std::vector<std::pair<std::uint32_t, std::function<void()>>> fencing_;
};

sim::host host_of(sim::world& w)
{
    const sim::host_options usual;
    return w.add_host("host", usual);
}

/// A world with one agent that has such rails.
struct bench {
    explicit bench(std::size_t n, agent_options o = {}, duration stutter = {}) : it{world.spawn("one", on, o)}
    {
        auto made = std::make_unique<scripted>(n, stutter);
        rails = made.get();
        it.add(std::move(made));
        world.run(open());
    }
    task<> open()
    {
        from = co_await it.register_memory(dram(source));
        to = co_await it.register_memory(vram(target.data(), target.size()));
    }
    void begin(const slice& a, const slice& b)
    {
        copy(a, b, [this](error_code e, std::size_t n) {
            ++ends;
            error = e;
            bytes = n;
        });
        world.settle();
    }
    void pass(duration time)
    {
        const duration end = world.now() + time;
        world.at(end, [] {});
        world.run_until([&] { return world.now() >= end; });
    }
    /// The rail that has something; -1 when none has.
    int holder(int other_than = -1) const
    {
        for (std::size_t r = 0; r < rails->all.size(); ++r)
            if (static_cast<int>(r) != other_than && !rails->all[r].has.empty()) return static_cast<int>(r);
        return -1;
    }
    std::size_t submits() const
    {
        std::size_t n = 0;
        for (const auto& r : rails->all) n += r.submits;
        return n;
    }

    lab::bytes source = lab::pattern(1_MiB, 1), target = lab::bytes(1_MiB);
    sim::world world;
    sim::host on = host_of(world);
    agent& it;
    scripted* rails = nullptr;
    region from, to;
    int ends = 0;
    error_code error;
    std::size_t bytes = 0;
};

std::uint32_t rail(int r)
{
    BOOST_REQUIRE(r >= 0);
    return static_cast<std::uint32_t>(r);
}

} // namespace

// A full queue is forgotten with the endpoint that it was of.
BOOST_AUTO_TEST_CASE(a_rail_that_refused_before_its_fence_is_used_after_it)
{
    bench b{1};
    b.rails->fences_at_once = true;
    b.rails->all[0].refuses = true;
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    b.pass(500us);
    BOOST_TEST(b.rails->all[0].fences == 1u);
    b.rails->all[0].refuses = false;
    b.rails->all[0].carries = true;
    b.pass(100ms);
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error);
}

// The overdue piece comes after all, and then the rail of its copy is lost: there is nothing left to send,
// and so no rail to wait for.
BOOST_AUTO_TEST_CASE(what_has_landed_waits_for_no_rail)
{
    bench b{2};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    const int first = b.holder();
    b.pass(120us); // overdue by then, but its copy is not
    const int second = b.holder(first);
    b.rails->tell(rail(first));
    b.world.settle();
    BOOST_TEST(b.ends == 0); // its copy is on its way
    b.rails->fences_at_all = false;
    b.begin(b.from.at(8_KiB, 4_KiB), b.to.at(8_KiB, 4_KiB));
    b.rails->tell(rail(first), errc::rail_lost);
    b.rails->tell(rail(second), errc::rail_lost);
    b.world.settle();
    BOOST_TEST(b.ends == 0); // until the fence
    const std::size_t submits = b.submits();
    b.rails->fences_at_all = true;
    b.world.settle();
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error);
    BOOST_TEST(b.submits() == submits);
    for (auto& r : b.rails->all) r.carries = true;
    b.pass(100ms); // the other one goes when a rail is open again
    BOOST_TEST(b.ends == 2);
    BOOST_TEST(!b.error);
}

// Of three that carry the same bytes one lands, and what becomes of the others is of no interest.
BOOST_AUTO_TEST_CASE(an_error_of_a_copy_of_what_has_landed_is_none)
{
    bench b{3};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    const int first = b.holder();
    b.pass(120us);
    const int second = b.holder(first);
    b.pass(120us);
    BOOST_TEST(b.submits() == 3u);
    const int third = 3 - first - second;
    b.rails->fences_at_all = false; // whose end comes first is for the test to say
    b.rails->tell(rail(first));
    b.rails->tell(rail(second), boost::system::errc::make_error_code(boost::system::errc::io_error));
    b.world.settle();
    BOOST_TEST(b.ends == 0);
    b.rails->tell(rail(third));
    b.rails->fences_at_all = true;
    b.world.settle();
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error, b.error.message());
    BOOST_TEST((std::equal(b.source.begin(), b.source.begin() + 4_KiB, b.target.begin())));
}

// Nobody looked for an hour. What came meanwhile is found before the rail is judged.
BOOST_AUTO_TEST_CASE(a_suspected_rail_is_not_given_up_for_a_pause)
{
    bench b{2};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    const int first = b.holder();
    b.pass(120us);
    BOOST_TEST(b.submits() == 2u);
    const duration then = b.world.now() + 1us;
    b.world.at(then, [&] {
        b.rails->tell(rail(first));
        b.rails->tell(rail(b.holder(first)));
    });
    b.world.inject({.what = sim::fault_kind::clock_jump, .from = then, .extent = 1h});
    b.pass(1h);
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(b.rails->all[0].fences + b.rails->all[1].fences == 0u);
}

// Missing pieces do not keep staging buffers from others until the verdict.
BOOST_AUTO_TEST_CASE(staging_buffers_are_not_held_by_what_is_missing)
{
    agent_options o;
    o.staging_piece = 64_KiB;
    o.staging_bytes = 128_KiB;
    bench b{3, o};
    *b.on.file("f", true) = b.source;
    file f;
    b.world.run([](bench& all, file& made) -> task<> { made = co_await all.it.open_file("f"); }(b, f));
    b.begin(f.at(0, 1_MiB), b.to);
    BOOST_REQUIRE(b.world.run_until([&] { return b.submits() >= 2; }));
    for (auto& r : b.rails->all) r.carries = r.has.empty();
    const duration begun = b.world.now();
    BOOST_REQUIRE(b.world.run_until([&] { return b.ends != 0; }));
    BOOST_TEST(!b.error);
    BOOST_TEST((b.target == b.source));
    BOOST_TEST((b.world.now() - begun < 100ms));
}

// A driver that knows of a loss need not be waited for.
BOOST_AUTO_TEST_CASE(a_rail_that_its_driver_gives_up_is_fenced_at_once)
{
    bench b{2};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    const int first = b.holder();
    const duration begun = b.world.now();
    b.rails->give_up(rail(first));
    b.world.settle();
    BOOST_TEST(b.rails->all[rail(first)].fences == 1u);
    BOOST_TEST(b.holder(first) >= 0);
    b.rails->all[rail(b.holder(first))].carries = true;
    b.world.settle();
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error);
    BOOST_TEST((b.world.now() == begun));
}

// A rail that may stutter is not taken for dead before it has, nor while it lands what was posted before, though a thousand
// times slower than was thought; and is in time when it lands no more.
BOOST_AUTO_TEST_CASE(a_rail_that_may_stutter_is_slow_before_it_is_dead)
{
    bench b{1, {}, 10ms};
    b.begin(b.from.at(0, 512_KiB), b.to.at(0, 512_KiB)); // eight pieces
    BOOST_TEST(b.rails->all[0].has.size() == 8u);
    for (int i = 0; i < 7; ++i) {
        b.pass(9ms);
        b.rails->tell(0);
        b.pass(10us);
    }
    BOOST_TEST(b.submits() == 8u);
    BOOST_TEST(b.rails->all[0].fences == 0u);
    b.pass(3s);
    BOOST_TEST(b.rails->all[0].fences >= 1u);
    b.rails->all[0].carries = true;
    b.pass(2s);
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error);
}

// A copy of nothing needs no rail.
BOOST_AUTO_TEST_CASE(nothing_is_posted_for_nothing)
{
    bench b{2};
    b.begin(b.from.at(0, 0), b.to.at(0, 0));
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(!b.error);
    BOOST_TEST(b.submits() == 0u);
}

// What a suspected rail left over of a piece goes over another.
BOOST_AUTO_TEST_CASE(a_suspected_rail_gets_no_rest)
{
    bench b{2};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    const int first = b.holder();
    b.pass(120us);
    const int second = b.holder(first);
    b.rails->tell(rail(first), {}, 1000);
    b.world.settle();
    BOOST_TEST(b.rails->all[rail(first)].has.empty());
    BOOST_TEST(b.rails->all[rail(second)].has.size() == 2u);
    b.rails->all[rail(second)].carries = true;
    b.world.settle();
    BOOST_TEST(b.ends == 1);
    BOOST_TEST(b.bytes == 4_KiB);
    BOOST_TEST((std::equal(b.source.begin(), b.source.begin() + 4_KiB, b.target.begin())));
}

// The way to end is not barred by rails that are tried again and again.
BOOST_AUTO_TEST_CASE(an_agent_can_go_while_rails_are_closed)
{
    bench b{2};
    b.begin(b.from.at(0, 4_KiB), b.to.at(0, 4_KiB));
    b.pass(120us);
    b.world.end(b.it);
    BOOST_TEST(b.ends == 1);
}
