// SPDX-License-Identifier: Apache-2.0
// Rails in simulated worlds: whatever becomes of them, every copy ends once, in time, with every byte right,
// and nothing lands after that. WYE_SEEDS says how many worlds are tried, WYE_SEED picks one.
#define BOOST_TEST_MODULE rails
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <memory>
#include <optional>
#include <random>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

using namespace wye;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

constexpr std::size_t area_bytes = 8_MiB;

sim::host_options with_rails(std::size_t rails)
{
    sim::host_options o;
    o.nic = sim::default_nic(rails);
    return o;
}

agent_options brief()
{
    agent_options o;
    o.rails.quarantine = 20ms;
    o.rails.give_up = 100ms;
    o.rails.probe = 10ms;
    return o;
}

/// Two hosts, and memory of both as the first one sees it.
struct world {
    world(std::uint64_t seed, std::size_t here, std::size_t there) : world{seed, with_rails(here), with_rails(there)} {}
    world(std::uint64_t seed, const sim::host_options& here, const sim::host_options& there)
        : it{seed}, a{it.add_host("a", here)}, b{it.add_host("b", there)},
          one{it.spawn("one", a, brief())}, other{it.spawn("other", b, brief())}
    {
        it.run(open());
    }
    ~world()
    {
        for (const std::string& c : it.complaints()) BOOST_TEST(c == "");
    }
    task<> open()
    {
        local = co_await one.register_memory(dram(near));
        theirs = co_await other.register_memory(dram(far));
        remote = it.reach(one, other, theirs);
    }

    lab::bytes near = lab::pattern(area_bytes, 1), far = lab::pattern(area_bytes, 2);
    sim::world it;
    sim::host a, b;
    agent& one;
    agent& other;
    region local, theirs, remote;
};

struct ending {
    int ends = 0;
    error_code error;
    std::size_t bytes = 0;
    asio::cancellation_signal signal;
    auto token()
    {
        return asio::bind_cancellation_slot(signal.slot(), [this](error_code e, std::size_t n) {
            ++ends;
            error = e;
            bytes = n;
        });
    }
};

duration took(world& w, ending& e)
{
    const duration begun = w.it.now();
    BOOST_REQUIRE(w.it.run_until([&] { return e.ends != 0; }));
    return w.it.now() - begun;
}

std::uint64_t number(const char* name, std::uint64_t otherwise)
{
    const char* value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

/// Copies both ways, in all sizes, between places of their own; what has ended well or not is scribbled over
/// at once, as its owner may, and must stay so.
class storm {
public:
    explicit storm(std::uint64_t seed) : random_{seed}, w_{seed, 1 + pick(8), 1 + pick(8)}
    {
        for (const auto kind : {sim::fault_kind::reorder, sim::fault_kind::early_data,
                                sim::fault_kind::late_data, sim::fault_kind::refuse, sim::fault_kind::twice,
                                sim::fault_kind::dark, sim::fault_kind::broken, sim::fault_kind::slow})
            if (pick(2)) {
                const duration most = pick(4) ? 1ms : 50ms;
                w_.it.inject({.what = kind, .chance = 0.02 * static_cast<double>(1 + pick(3)), .until = 200ms,
                              .device = "nic", .extent = most, .seed = static_cast<std::uint64_t>(kind)});
            }
        if (pick(4) == 0)
            w_.it.inject({.what = sim::fault_kind::clock_jump, .from = 1ms, .extent = 3s});
    }

    bool play()
    {
        const std::size_t copies = 4 + pick(24);
        for (std::size_t i = 0; i < copies; ++i) start();
        const auto all = [&] {
            return std::all_of(all_.begin(), all_.end(), [](auto& c) { return c->ends != 0; });
        };
        for (std::size_t steps = 0; !all(); ++steps) {
            BOOST_REQUIRE_MESSAGE(steps < 1'000'000 && w_.it.now() < 60s, "a copy hangs");
            w_.it.step();
            if (pick(200) == 0) all_[pick(all_.size())]->cancel();
        }
        const duration end = w_.it.now() + 100ms; // whatever is late arrives meanwhile
        w_.it.at(end - duration{}, [] {});
        w_.it.run_until([&] { return w_.it.now() >= end; });
        for (const auto& c : all_) {
            BOOST_TEST(c->ends == 1);
            BOOST_TEST(
                (!c->error || c->error == errc::rail_lost || c->error == asio::error::operation_aborted));
            BOOST_TEST(c->right);
            const bool untouched =
                std::all_of(c->to, c->to + c->length, [](std::byte b) { return b == std::byte{0xee}; });
            BOOST_TEST(untouched, "a late write of " << c->length << " bytes, " << c->error.message());
            fine_ = fine_ && c->ends == 1 && c->right && untouched;
        }
        for (const auto& d : w_.one.measure().drivers) fine_ = fine_ && d.in_flight == 0;
        return fine_ && w_.it.complaints().empty();
    }

private:
    struct copying {
        const std::byte* from;
        std::byte* to;
        std::size_t length;
        int ends = 0;
        bool right = true, cancelled = false;
        error_code error;
        asio::cancellation_signal signal;
        void cancel()
        {
            if (ends || std::exchange(cancelled, true)) return;
            signal.emit(asio::cancellation_type::terminal);
        }
    };

    std::size_t pick(std::size_t below) { return random_() % below; }

    void start()
    {
        std::size_t length = pick(3) ? 1 + pick(100'000) : 1 + pick(1'500'000);
        length = std::min(length, area_bytes / 2 - used_);
        if (length == 0) return;
        const bool out = pick(2) == 0;
        const std::size_t from = area_bytes / 2 + used_, to = used_; // sources above, targets below
        used_ += length;
        auto& c = *all_.emplace_back(std::make_unique<copying>());
        lab::bytes& source = out ? w_.near : w_.far;
        lab::bytes& target = out ? w_.far : w_.near;
        c.from = source.data() + from;
        c.to = target.data() + to;
        c.length = length;
        copy_options o;
        o.priority = static_cast<priority>(pick(3));
        const slice s = (out ? w_.local : w_.remote).at(from, length),
                    t = (out ? w_.remote : w_.local).at(to, length);
        copy(s, t, o, asio::bind_cancellation_slot(c.signal.slot(), [&c](error_code e, std::size_t n) {
                 ++c.ends;
                 c.error = e;
                 c.right = e ? n <= c.length : n == c.length && std::equal(c.from, c.from + c.length, c.to);
                 std::fill_n(c.to, c.length, std::byte{0xee});
             }));
    }

    std::mt19937_64 random_;
    world w_;
    std::vector<std::unique_ptr<copying>> all_;
    std::size_t used_ = 0;
    bool fine_ = true;
};

} // namespace

BOOST_AUTO_TEST_CASE(whatever_becomes_of_rails_copies_end_right_and_quiescent)
{
    const std::uint64_t only = number("WYE_SEED", 0);
    const std::uint64_t first = only ? only : 1, last = only ? only : number("WYE_SEEDS", 200);
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        BOOST_TEST_CONTEXT("WYE_SEED=" << seed)
        {
            storm s{seed};
            BOOST_REQUIRE(s.play());
        }
    }
}

// All rails that both hosts have share the work; the others get none.
BOOST_AUTO_TEST_CASE(rails_that_both_have_carry)
{
    world w{1, 4, 3};
    ending e;
    copy(w.local, w.remote, e.token());
    took(w, e);
    BOOST_TEST(!e.error);
    BOOST_TEST((w.far == w.near));
    for (std::uint32_t r = 0; r < 3; ++r) BOOST_TEST(w.a.carried(r) > area_bytes / 4);
    BOOST_TEST(w.a.carried(3) == 0u);
}

BOOST_AUTO_TEST_CASE(a_small_copy_rides_one_rail)
{
    world w{1, 4, 4};
    ending e;
    copy(w.local.at(0, 128_KiB), w.remote.at(0, 128_KiB), e.token());
    took(w, e);
    int used = 0;
    for (std::uint32_t r = 0; r < 4; ++r) used += w.a.carried(r) != 0;
    BOOST_TEST(used == 1);
}

// Of four rails two are near the GPU. They have its memory to themselves until both are lost, and again when one is back.
BOOST_AUTO_TEST_CASE(rails_near_a_gpu_carry_as_long_as_they_can)
{
    sim::host_options two_gpus = with_rails(4);
    two_gpus.gpus = 2;
    two_gpus.nic.near = true;
    world w{1, two_gpus, with_rails(4)};
    lab::bytes on_gpu = lab::pattern(area_bytes, 3);
    region gpu;
    const auto enlist = [](world& in, lab::bytes& m, region& r) -> task<> {
        r = co_await in.one.register_memory(vram(m.data(), m.size(), 1));
    };
    w.it.run(enlist(w, on_gpu, gpu));
    const auto carried = [&](std::initializer_list<std::uint32_t> some) {
        std::uint64_t n = 0;
        for (const std::uint32_t r : some) n += w.a.carried(r);
        return n;
    };
    const auto copies = [&] {
        std::fill(w.far.begin(), w.far.end(), std::byte{0});
        ending e;
        copy(gpu, w.remote, e.token());
        took(w, e);
        BOOST_TEST(!e.error, e.error.message());
        BOOST_TEST((w.far == on_gpu));
    };
    copies();
    BOOST_TEST(carried({0, 1}) == 0u);
    BOOST_TEST(w.a.carried(2) > area_bytes / 4);
    BOOST_TEST(w.a.carried(3) > area_bytes / 4);

    w.a.set_rail(2, sim::rail_state::broken);
    copies();
    BOOST_TEST(carried({0, 1}) == 0u);
    w.a.set_rail(3, sim::rail_state::broken);
    copies();
    BOOST_TEST(carried({0, 1}) > area_bytes / 2);

    w.a.set_rail(2, sim::rail_state::up);
    const duration later = w.it.now() + 50ms;
    w.it.at(later, [] {});
    w.it.run_until([&] { return w.it.now() >= later; });
    const std::uint64_t before = carried({0, 1});
    copies();
    BOOST_TEST(carried({0, 1}) == before);
}

// A rail that dies costs its share and the fence, with an error and silently.
BOOST_AUTO_TEST_CASE(a_lost_rail_costs_bandwidth)
{
    for (const auto how : {sim::rail_state::broken, sim::rail_state::dark}) {
        world w{1, 4, 4};
        ending e;
        w.it.at(w.it.now() + 50us, [&] { w.a.set_rail(2, how); });
        copy(w.local, w.remote, e.token());
        const duration d = took(w, e);
        BOOST_TEST(!e.error);
        BOOST_TEST(e.bytes == area_bytes);
        BOOST_TEST((w.far == w.near));
        BOOST_TEST((d < 2ms)); // 0.22 ms with the three others alone, and ten times a piece's time to miss one
    }
}

// One that is mended is used again.
BOOST_AUTO_TEST_CASE(a_healed_rail_comes_back)
{
    world w{1, 2, 2};
    w.a.set_rail(1, sim::rail_state::broken);
    ending first, second;
    copy(w.local, w.remote, first.token());
    took(w, first);
    BOOST_TEST(!first.error);
    w.a.set_rail(1, sim::rail_state::up);
    const duration later = w.it.now() + 50ms;
    w.it.at(later, [] {});
    w.it.run_until([&] { return w.it.now() >= later; });
    const std::uint64_t before = w.a.carried(1);
    copy(w.local, w.remote, second.token());
    took(w, second);
    BOOST_TEST(w.a.carried(1) - before > area_bytes / 3);
}

// So is one that was lost before its rate was known, and whose driver promises less than the others were seen to have.
BOOST_AUTO_TEST_CASE(a_healed_rail_that_was_never_measured_is_used_again)
{
    world w{1, 2, 2};
    for (const sim::host& h : {w.a, w.b})
        for (std::uint32_t r = 0; r < 2; ++r) h.set_rail(r, sim::rail_state::up, 8);
    w.a.set_rail(1, sim::rail_state::broken, 8);
    ending first;
    copy(w.local, w.remote, first.token());
    took(w, first);
    BOOST_TEST(!first.error);
    w.a.set_rail(1, sim::rail_state::up, 8);
    const duration later = w.it.now() + 50ms;
    w.it.at(later, [] {});
    w.it.run_until([&] { return w.it.now() >= later; });
    const std::uint64_t before = w.a.carried(1);
    for (std::size_t i = 0; i < 4; ++i) { // one at a time, which keeps no rail busy
        ending e;
        copy(w.local.at(i * 64_KiB, 64_KiB), w.remote.at(i * 64_KiB, 64_KiB), e.token());
        took(w, e);
    }
    BOOST_TEST(w.a.carried(1) - before >= 64_KiB);
}

// Without any rail left, the error names that, and comes in time.
BOOST_AUTO_TEST_CASE(without_rails_a_copy_ends_in_time)
{
    for (const std::size_t rails : {1, 3})
        for (const auto how : {sim::rail_state::broken, sim::rail_state::dark}) {
            world w{1, rails, rails};
            ending e;
            copy(w.local, w.remote, e.token());
            w.it.at(w.it.now() + 30us, [&] {
                for (std::uint32_t r = 0; r < rails; ++r) w.a.set_rail(r, how);
            });
            const duration d = took(w, e);
            BOOST_TEST((e.error == errc::rail_lost));
            BOOST_TEST((d < 200ms), d.count() << " ns");
            std::fill(w.far.begin(), w.far.end(), std::byte{});
            for (std::uint32_t r = 0; r < rails; ++r) w.a.set_rail(r, sim::rail_state::up);
            const duration later = w.it.now() + 1s;
            w.it.at(later, [] {});
            w.it.run_until([&] { return w.it.now() >= later; });
            BOOST_TEST((w.far == lab::bytes(area_bytes)));
        }
}

// Of a batch that asks how each transfer fared, only those that needed the rails are lost.
BOOST_AUTO_TEST_CASE(without_rails_the_rest_of_a_batch_is_copied)
{
    world w{1, 1, 1};
    w.a.set_rail(0, sim::rail_state::dark);
    lab::bytes beside(64_KiB);
    region own;
    w.it.run([](world& v, lab::bytes& b, region& r) -> task<> { r = co_await v.one.register_memory(dram(b)); }(w, beside, own));
    const transfer batch[] = {{w.local.at(0, 4_MiB), w.remote.at(0, 4_MiB)},
                              {w.local.at(0, 64_KiB), own.at(0, 64_KiB)},
                              {w.local.at(4_MiB, 64), w.remote.at(4_MiB, 64)}};
    error_code status[3];
    copy_options o;
    o.status = status;
    ending e;
    copy(batch, o, e.token());
    took(w, e);
    BOOST_TEST((e.error == errc::rail_lost));
    BOOST_TEST((status[0] == errc::rail_lost));
    BOOST_TEST(!status[1]);
    BOOST_TEST((status[2] == errc::rail_lost));
    BOOST_TEST(std::equal(beside.begin(), beside.end(), w.near.begin()));
    own.reset();
    w.a.set_rail(0, sim::rail_state::up);
}

// What hangs in a dark rail does not keep a cancelled copy.
BOOST_AUTO_TEST_CASE(a_copy_can_be_cancelled_while_a_rail_is_dark)
{
    world w{1, 2, 2};
    ending e;
    copy(w.local, w.remote, e.token());
    w.it.at(w.it.now() + 30us, [&] {
        w.a.set_rail(0, sim::rail_state::dark);
        w.a.set_rail(1, sim::rail_state::dark);
    });
    w.it.at(w.it.now() + 40us, [&] { e.signal.emit(asio::cancellation_type::terminal); });
    BOOST_TEST((took(w, e) < 10ms));
    BOOST_TEST((e.error == asio::error::operation_aborted));
}

// A rail that carries a hundredth is slow and not dead: nobody waits for it longer than it takes to close it.
BOOST_AUTO_TEST_CASE(a_very_slow_rail_does_not_hold_the_others)
{
    world w{1, 8, 8};
    w.a.set_rail(3, sim::rail_state::up, 0.01);
    ending e;
    copy(w.local, w.remote, e.token());
    BOOST_TEST((took(w, e) < 2ms)); // what it was given at first takes it 2 ms a piece
    BOOST_TEST(!e.error);
    BOOST_TEST((w.far == w.near));
}

// Of rails with rates of 1:2:4:8 each carries what it can: no turns are taken, in which all would go at the slowest one's pace.
BOOST_AUTO_TEST_CASE(unequal_rails_carry_what_they_can)
{
    world w{1, 4, 4};
    for (std::uint32_t r = 0; r < 4; ++r) w.a.set_rail(r, sim::rail_state::up, (1 << r) / 8.0);
    ending first, second; // of which the first finds out
    copy(w.local, w.remote, first.token());
    took(w, first);
    copy(w.local, w.remote, second.token());
    const duration d = took(w, second);
    BOOST_TEST(!second.error);
    BOOST_TEST((d < 500us), d.count() << " ns"); // 358 us at the sum of their rates, 1.3 ms in turns
    BOOST_TEST(w.a.carried(3) > 4 * w.a.carried(0));
}

// A world whose clock jumps thinks no rail dead for that.
BOOST_AUTO_TEST_CASE(a_jump_of_the_clock_loses_no_rail)
{
    world w{1, 4, 4};
    w.it.inject({.what = sim::fault_kind::clock_jump, .from = w.it.now() + 60us, .extent = 10s});
    ending e;
    copy(w.local, w.remote, e.token());
    took(w, e);
    BOOST_TEST(!e.error);
    for (const auto& d : w.one.measure().drivers) BOOST_TEST(d.errors == 0u);
}

/// Copies that begin again as soon as they end, as long as it is wanted.
struct demand {
    explicit demand(world& w) : on_{w}
    {
        for (std::size_t i = 0; i < 16; ++i) begin(i);
    }
    void begin(std::size_t i)
    {
        copy_options o;
        o.priority = priority::urgent;
        const std::size_t at = area_bytes / 2 + i * 256_KiB;
        ++under_way;
        copy(on_.local.at(at, 256_KiB), on_.remote.at(at, 256_KiB), o, [this, i](error_code, std::size_t n) {
            --under_way;
            bytes += n;
            if (wanted) begin(i);
        });
    }

    bool wanted = true;
    int under_way = 0;
    std::size_t bytes = 0;

private:
    world& on_;
};

// Urgent copies that leave no rail a pause leave background a twentieth at least.
BOOST_AUTO_TEST_CASE(background_goes_on_beside_urgent_copies)
{
    world w{1, 4, 4};
    demand urgent{w};
    copy_options later;
    later.priority = priority::background;
    ending e;
    copy(w.local.at(0, 4_MiB), w.remote.at(0, 4_MiB), later, e.token());
    const duration limit = w.it.now() + 20ms;
    BOOST_TEST(w.it.run_until([&] { return e.ends != 0 || w.it.now() > limit; }));
    BOOST_TEST(e.ends == 1);
    BOOST_TEST(e.bytes == 4_MiB);
    BOOST_TEST(e.bytes >= (urgent.bytes + e.bytes) / 20);
    urgent.wanted = false;
    BOOST_TEST(w.it.run_until([&] { return urgent.under_way == 0; }));
}
