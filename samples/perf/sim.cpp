// SPDX-License-Identifier: Apache-2.0
// The scheduler in a world the size of two p5 instances: 32 rails of 12.5 GB/s each, a round trip of 20 us.
// Time is virtual, so these figures say how rails are used, not how fast any machine is.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <wye/sim.hpp>
#include <wye/wye.hpp>

#include "allocations.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace sim = wye::sim;
using namespace wye::literals;

constexpr std::uint32_t rail_count = 32;
constexpr double rail_rate = 12.5e9;

sim::host_options p5()
{
    sim::host_options o;
    o.nic = sim::default_nic(rail_count);
    return o;
}

/// A host that sends and others that are sent to, with some memory each.
struct sim_world {
    struct peer {
        wye::agent* agent;
        std::vector<std::byte> memory;
        wye::region theirs, here; ///< as it is to itself, and to who sends
    };

    explicit sim_world(std::size_t bytes, std::size_t hosts = 1, const sim::host_options& o = p5(),
                       std::uint64_t seed = 1)
        : world{seed}, host{world.add_host("a", o)}, agent{world.spawn("a", host)}, memory(bytes)
    {
        for (std::size_t i = 0; i < memory.size(); i += 8) std::memcpy(memory.data() + i, &i, 8);
        for (std::size_t i = 0; i < hosts; ++i) {
            const std::string name = "b" + std::to_string(i);
            peers.push_back(
                {&world.spawn(name, world.add_host(name, o)), std::vector<std::byte>(bytes), {}, {}});
        }
        world.run(open());
    }
    wye::task<> open()
    {
        from = co_await agent.register_memory(wye::dram(memory));
        for (peer& p : peers) {
            p.theirs = co_await p.agent->register_memory(wye::dram(p.memory));
            p.here = world.reach(agent, *p.agent, p.theirs);
        }
    }

    sim::world world;
    sim::host host;
    wye::agent& agent;
    std::vector<std::byte> memory;
    std::vector<peer> peers;
    wye::region from;
};

double seconds(wye::duration d) { return std::chrono::duration<double>(d).count(); }

/// Bytes a second of some copies of all of it, one after the other, of which each must be right.
double rate_of(sim_world& w, std::size_t times)
{
    double taken = 0;
    for (std::size_t i = 0; i < times; ++i) {
        sim_world::peer& to = w.peers.front();
        std::fill(to.memory.begin(), to.memory.end(), std::byte{0});
        const wye::duration begun = w.world.now();
        const auto copy = [](sim_world& v) -> wye::task<> {
            co_await wye::copy(v.from, v.peers.front().here);
        };
        w.world.run(copy(w));
        taken += seconds(w.world.now() - begun);
        if (to.memory != w.memory) throw std::runtime_error{"wrong bytes"};
    }
    return static_cast<double>(w.memory.size() * times) / taken;
}

/// What each rail carries of its nominal rate.
using speeds = std::function<double(std::uint32_t rail)>;
double set_speeds(sim_world& w, const speeds& of)
{
    double sum = 0;
    for (std::uint32_t r = 0; r < rail_count; ++r) {
        w.host.set_rail(r, sim::rail_state::up, of(r));
        sum += of(r) * rail_rate;
    }
    return sum;
}

void share(report& r, const char* name, const speeds& of, std::size_t bytes, const char* note)
{
    if (!r.wants(name)) return;
    sim_world w{bytes};
    const double all = set_speeds(w, of);
    const double first = rate_of(w, 1) / all;
    char text[160];
    std::snprintf(text, sizeof text, "%s%sthe first, with nothing learned: %.3f", note, *note ? "; " : "", first);
    r.add(name, "share", rate_of(w, 4) / all, text);
}

double equal(std::uint32_t) { return 1; }
double unequal(std::uint32_t rail) { return (1u << rail % 4) / 8.0; }
double one_slow(std::uint32_t rail) { return rail == 5 ? 0.1 : 1; }

/// One rail dies a third into a transfer: what is reached of what the others carry, and it did before.
double share_dying(sim::rail_state how, std::uint32_t seed)
{
    sim_world w{1_GiB, 1, p5(), seed};
    rate_of(w, 1);
    const double whole = rail_rate * rail_count, bytes = static_cast<double>(1_GiB);
    const double before = bytes / whole / 3;
    w.world.at(w.world.now() + wye::duration{static_cast<wye::duration::rep>(before * 1e9)},
               [&] { w.host.set_rail(7, how); });
    const double best = before + (bytes - before * whole) / (rail_rate * (rail_count - 1));
    return rate_of(w, 1) * best / bytes;
}

void dying(report& r)
{
    if (!r.wants("sim/rail_dies")) return;
    double loud = 1, silent = 1;
    for (std::uint32_t seed = 1; seed <= 3; ++seed) {
        loud = std::min(loud, share_dying(sim::rail_state::broken, seed));
        silent = std::min(silent, share_dying(sim::rail_state::dark, seed));
    }
    r.add("sim/rail_dies", "share", loud, "with an error, 1 GiB; the worst of three seeds");
    r.add("sim/rail_dies/silently", "share", silent, "1 GiB; the worst of three seeds");
}

/// Equal stripes, one for each rail: each is in the memory of a GPU of its own, that one rail is near.
void share_static(report& r)
{
    const char* const name = "sim/unequal_rails_static";
    if (!r.wants(name)) return;
    sim::host_options o = p5();
    o.gpus = rail_count;
    o.nic.near = true;
    sim_world w{1_GiB, 1, o};
    const double all = set_speeds(w, unequal);
    const std::size_t stripe = 1_GiB / rail_count;
    std::vector<wye::region> from(rail_count);
    const auto enter = [&]() -> wye::task<> {
        for (std::uint32_t i = 0; i < rail_count; ++i)
            from[i] = co_await w.agent.register_memory(
                wye::vram(w.memory.data() + i * stripe, stripe, static_cast<int>(i)));
    };
    w.world.run(enter());
    std::vector<wye::transfer> batch;
    for (std::uint32_t i = 0; i < rail_count; ++i)
        batch.push_back({from[i], w.peers[0].here.block(i, stripe)});
    const auto copy = [&]() -> wye::task<> { co_await wye::copy(std::span<const wye::transfer>{batch}); };
    const wye::duration begun = w.world.now();
    w.world.run(copy());
    if (w.peers[0].memory != w.memory) throw std::runtime_error{"wrong bytes"};
    r.add(name, "share", 1_GiB / seconds(w.world.now() - begun) / all, "an equal stripe for each rail");
}

/// Copies a stretch of one's own again and again, until told to stop.
struct stream {
    stream(wye::slice f, wye::slice t, wye::priority p) : from{f}, to{t} { options.priority = p; again(); }
    void again()
    {
        running = true;
        wye::copy(from, to, options, [this](wye::error_code e, std::size_t n) {
            running = false;
            bytes += n;
            failed = failed || e;
            if (!stop) again();
        });
    }
    wye::slice from, to;
    wye::copy_options options;
    std::uint64_t bytes = 0;
    bool running = false, stop = false, failed = false;
};
using streams = std::vector<std::unique_ptr<stream>>;

void run_for(sim_world& w, wye::duration d)
{
    const wye::duration end = w.world.now() + d;
    w.world.at(end, [] {});
    w.world.run_until([&] { return w.world.now() >= end; });
}

void finish(sim_world& w, streams& all)
{
    for (auto& s : all) s->stop = true;
    w.world.run_until(
        [&] { return std::none_of(all.begin(), all.end(), [](auto& s) { return s->running; }); });
    for (auto& s : all)
        if (s->failed) throw std::runtime_error{"a copy failed"};
}

/// Microseconds that 99 of 100 urgent fetches of 1 MiB stay below.
double urgent_p99(sim_world& w)
{
    std::vector<double> all;
    const auto fetch = [](sim_world& v, std::vector<double>& out) -> wye::task<> {
        wye::copy_options o;
        o.priority = wye::priority::urgent;
        for (int i = 0; i < 500; ++i) {
            const wye::duration begun = v.world.now();
            co_await wye::copy(v.peers[0].here.at(0, 1_MiB), v.from.at(0, 1_MiB), o);
            out.push_back(seconds(v.world.now() - begun) * 1e6);
            co_await v.world.runtime().sleep(std::chrono::microseconds{37 + i % 50});
        }
    };
    w.world.run(fetch(w, all));
    return quantile(all, 0.99);
}

void urgency(report& r)
{
    if (!r.wants("sim/urgent_p99_over_idle")) return;
    sim_world w{256_MiB};
    const double idle = urgent_p99(w);
    streams background;
    for (std::size_t i = 1; i < 8; ++i) // reads, as the urgent ones are
        background.push_back(std::make_unique<stream>(w.peers[0].here.block(i, 32_MiB),
                                                      w.from.block(i, 32_MiB), wye::priority::background));
    run_for(w, 1ms);
    const wye::duration begun = w.world.now();
    const auto carried = [&] {
        return std::accumulate(background.begin(), background.end(), 0.0,
                               [](double n, const auto& s) { return n + static_cast<double>(s->bytes); });
    };
    const double before = carried();
    const double loaded = urgent_p99(w);
    const double share = (carried() - before) / seconds(w.world.now() - begun) / (rail_rate * rail_count);
    finish(w, background);
    char text[160];
    std::snprintf(text, sizeof text, "1 MiB: %.1f us idle, %.1f us beside background at %.2f of all rails",
                  idle, loaded, share);
    r.add("sim/urgent_p99_over_idle", "ratio", loaded / idle, text);
}

void background_floor(report& r)
{
    if (!r.wants("sim/background_share")) return;
    sim_world w{256_MiB};
    streams all;
    // Background in short copies, since those under way at the end do not count.
    const auto kind = [](std::size_t i) { return i < 6 ? wye::priority::urgent : wye::priority::background; };
    for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t bytes = i < 6 ? 32_MiB : 4_MiB;
        all.push_back(std::make_unique<stream>(w.from.at(i * 32_MiB, bytes),
                                               w.peers[0].here.at(i * 32_MiB, bytes), kind(i)));
    }
    run_for(w, 50ms);
    double urgent = 0, background = 0;
    for (std::size_t i = 0; i < 8; ++i) (i < 6 ? urgent : background) += static_cast<double>(all[i]->bytes);
    finish(w, all);
    r.add("sim/background_share", "share", background / (urgent + background),
          "while urgent work fills every rail");
}

/// Jain's index over what eight equal peers got.
void fairness(report& r)
{
    if (!r.wants("sim/fairness")) return;
    sim_world w{64_MiB, 8};
    streams all;
    for (auto& p : w.peers)
        all.push_back(
            std::make_unique<stream>(w.from.at(0, 4_MiB), p.here.at(0, 4_MiB), wye::priority::normal));
    run_for(w, 20ms);
    double sum = 0, squares = 0;
    for (auto& s : all) {
        sum += static_cast<double>(s->bytes);
        squares += static_cast<double>(s->bytes) * static_cast<double>(s->bytes);
    }
    finish(w, all);
    r.add("sim/fairness", "index", sum * sum / (static_cast<double>(all.size()) * squares),
          "Jain's, of 8 equal peers");
}

/// Rails that do nothing: what is left is our own cost.
class null_rails final : public wye::driver {
public:
    std::string_view name() const noexcept override { return "null rails"; }
    wye::limits limits() const noexcept override { return sim::default_nic(rail_count).limits; }
    std::uint32_t rails() const noexcept override { return rail_count; }
    bool may_lose_rails() const noexcept override { return true; }
    bool carries(const wye::slice&, const wye::slice&) const noexcept override { return true; }
    bool submit(wye::chunk& c) noexcept override
    {
        c.next = std::exchange(taken_, &c);
        return true;
    }
    std::size_t poll(wye::turn) noexcept override
    {
        std::size_t n = 0;
        for (wye::chunk* c = std::exchange(taken_, nullptr); c; ++n) {
            wye::chunk* const next = c->next;
            c->done();
            c = next;
        }
        chunks += n;
        return n;
    }
    std::size_t chunks = 0;

private:
    wye::chunk* taken_ = nullptr;
};

void cost(const settings& s, report& r)
{
    if (!r.wants("sim/cost_ns_per_chunk")) return;
    wye::runtime rt;
    wye::agent_options o;
    o.default_drivers = false;
    wye::agent agent{rt, "cost", o};
    null_rails& rails = agent.add(std::make_unique<null_rails>());
    std::vector<std::byte> memory(2);
    const std::size_t bytes = 1_GiB; // that nobody touches
    wye::region from, to;
    const auto enter = [&]() -> wye::task<> {
        from = co_await agent.register_memory({wye::tier::dram, memory.data(), bytes, 0});
        to = co_await agent.register_memory({wye::tier::vram, memory.data() + 1, bytes, 0});
    };
    const auto drive = [&](wye::task<> t) {
        asio::co_spawn(rt, std::move(t), asio::detached);
        rt.run();
    };
    drive(enter());
    const auto copy = [&]() -> wye::task<> { co_await wye::copy(from, to); };
    const auto slice = [&] {
        const std::size_t before = rails.chunks;
        const auto begun = clock::now();
        drive(copy());
        return seconds_since(begun) * 1e9 / static_cast<double>(rails.chunks - before);
    };
    slice();
    const std::size_t chunks = rails.chunks;
    const std::uint64_t calls = allocations::calls();
    slice();
    const double allocated = static_cast<double>(allocations::calls() - calls);
    char text[160];
    std::snprintf(text, sizeof text,
                  "real time: 1 GiB over 32 rails that do nothing; %.0f allocations for %zu chunks",
                  allocated, rails.chunks - chunks);
    r.add("sim/cost_ns_per_chunk", "ns", quantile(repeat(std::min(s.seconds, 0.5), 15, slice), 0.1), text);
}

} // namespace

void run_sim(const settings& s, report& r)
{
    share(r, "sim/equal_rails", equal, 1_GiB, "1 GiB");
    for (const std::size_t mib : {1, 4, 16, 64, 256}) {
        const std::string size = "/" + std::to_string(mib) + "MiB";
        share(r, ("sim/equal_rails" + size).c_str(), equal, mib * 1_MiB, "");
        share(r, ("sim/unequal_rails" + size).c_str(), unequal, mib * 1_MiB, "");
    }
    share(r, "sim/unequal_rails", unequal, 1_GiB, "1:2:4:8, 1 GiB");
    share_static(r);
    share(r, "sim/slow_rail", one_slow, 1_GiB, "one carries a tenth, 1 GiB");
    dying(r);
    urgency(r);
    background_floor(r);
    fairness(r);
    cost(s, r);
}

} // namespace perf
