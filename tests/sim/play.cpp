// SPDX-License-Identifier: Apache-2.0
#include "play.hpp"

#include <algorithm>
#include <exception>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>

#include "stage.hpp"

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t most_events = 3'000'000;
constexpr duration most_time = std::chrono::hours{24 * 100};

/// One seed's world, its operations, and what became of them.
class performance {
public:
    explicit performance(const scenario& s)
        : scene_{s}, dice_{s.seed, 2}, world_{s.seed}, host_{world_.add_host("host", s.host)}, oracle_{world_, s.host}
    {
        world_.observe(&oracle_);
        for (const sim::fault& f : s.faults) {
            world_.inject(f);
            if (f.what == sim::fault_kind::clock_jump) world_.at(f.from, [this] { oracle_.jumped(); });
        }
        for (std::size_t i = 0; i < s.tenants; ++i) tenants_.emplace_back(world_, host_, s, i);
    }

    verdict run()
    {
        try {
            go();
        } catch (const std::exception& e) {
            oracle_.fail(e.what());
        }
        for (const std::string& c : world_.complaints()) oracle_.fail(c);
        verdict_.failure = oracle_.failure();
        verdict_.digest = world_.digest();
        verdict_.events = world_.events();
        verdict_.took = world_.now();
        return verdict_;
    }

    bool fine() const noexcept { return oracle_.fine(); }

private:
    void go()
    {
        for (tenant& t : tenants_) world_.run(t.open());
        schedule();
        const bool over = world_.run_until([&] {
            return !oracle_.fine() || (to_start_ == 0 && live_ == 0) || world_.events() > most_events ||
                   world_.now() > most_time;
        });
        if (!oracle_.fine()) return;
        if (live_ != 0) return oracle_.fail(std::to_string(live_) + (over ? " operations never end" : " operations hang"));
        world_.settle();
        for (tenant& t : tenants_)
            if (const std::string s = t.strays(); !s.empty()) oracle_.fail(s);
        account();
        world_.calm();
        if (tenants_.front().agent) probe(tenants_.front());
        for (tenant& t : tenants_) t.close();
        for (tenant& t : tenants_)
            if (t.agent) world_.end(*std::exchange(t.agent, nullptr));
    }

    // What happens when.

    duration sometime() { return world_.now() + duration{static_cast<duration::rep>(dice_.below(span()))}; }
    std::uint64_t span() const noexcept { return static_cast<std::uint64_t>(scene_.span.count()); }

    void schedule()
    {
        to_start_ = scene_.operations;
        for (std::size_t i = 0; i < scene_.operations; ++i)
            world_.at(sometime(), [this] { start(); });
        if (scene_.leaves) world_.at(sometime(), [this] { leaving_ = true; });
    }

    /// From the loop, not from an event: it takes time.
    void leave()
    {
        leaving_ = false;
        tenant& t = tenants_.back();
        if (!t.agent) return;
        for (operation& op : operations_)
            if (op.ends == 0 && op.tenant + 1 == tenants_.size()) op.orphaned = true;
        oracle_.blocked(true);
        world_.end(*std::exchange(t.agent, nullptr));
        oracle_.blocked(false);
    }

    std::uint64_t some_length()
    {
        switch (scene_.what) {
        case workload::huge: return 256_KiB + dice_.below(1_MiB);
        case workload::tiny: return dice_.below(512);
        default: break;
        }
        switch (dice_.below(10)) {
        case 0: return 0;
        case 1: return 1 + dice_.below(100);
        case 2: return 4_KiB * (1 + dice_.below(4));
        default: return 1 + dice_.below(20'000);
        }
    }

    void choose_options(operation& op)
    {
        const bool deadlines = scene_.what == workload::deadlines;
        op.options.verify = dice_.one_in(scene_.what == workload::priorities ? 16 : 4);
        op.options.priority = static_cast<priority>(dice_.below(priority_count));
        if (dice_.one_in(deadlines ? 1 : 8)) op.options.deadline = duration{static_cast<duration::rep>(dice_.scale(1, 1e8))};
        if (!dice_.one_in(6)) return;
        op.notify = "n" + std::to_string(operations_.size());
        op.options.notify = op.notify;
    }

    void choose_plans(tenant& t, operation& op)
    {
        if (scene_.what == workload::pages && !op.options.verify) {
            op.plans = t.pages(dice_.between(20, 200), 64u << dice_.below(6));
            return;
        }
        const std::size_t count = dice_.one_in(2) || scene_.what == workload::huge ? 1 : 1 + dice_.below(8);
        for (std::size_t i = 0; i < count; ++i) {
            plan p;
            if (t.choose(p, op.options.verify, some_length())) op.plans.push_back(std::move(p));
        }
    }

    void start()
    {
        --to_start_;
        if (leaving_) leave();
        const std::size_t whose = dice_.below(tenants_.size());
        tenant& t = tenants_[whose];
        if (!t.agent) return;
        operation& op = operations_.emplace_back();
        op.tenant = whose;
        choose_options(op);
        choose_plans(t, op);
        if (op.plans.empty()) return operations_.pop_back();
        for (const plan& p : op.plans) op.batch.push_back({p.from, p.to});
        op.status.resize(op.plans.size());
        if (dice_.one_in(2)) op.options.status = op.status;
        ++live_;
        ++verdict_.operations;
        oracle_.began(op);
        if (!op.notify.empty()) asio::co_spawn(t.agent->runtime(), hear(*this, *t.agent, op), [](std::exception_ptr) {});
        begin(t, op);
        t.names.clear(); // an object may go once the transfer has started
        if (dice_.one_in(scene_.what == workload::cancellations ? 1 : 10))
            world_.at(world_.now() + duration{static_cast<duration::rep>(dice_.below(span() / 4 + 1))}, [this, &op] { cancel(op); });
    }

    void begin(tenant& t, operation& op)
    {
        auto over = asio::bind_cancellation_slot(op.signal.slot(),
                                                 [this, &t, &op](error_code e, std::size_t n) { ended(t, op, e, n); });
        const transfer one = op.batch.front();
        if (op.batch.size() == 1 && dice_.one_in(2)) {
            const bool plain = !op.options.verify && op.options.status.empty() && op.notify.empty() &&
                               !op.options.deadline.count() && op.options.priority == priority::normal;
            if (plain) copy(one.from, one.to, std::move(over));
            else copy(one.from, one.to, op.options, std::move(over));
        } else if (scene_.what == workload::pages && op.batch.size() > 1 && !op.options.verify && dice_.one_in(2)) {
            begin_prepared(t, op, std::move(over));
        } else {
            copy(std::span<const transfer>{op.batch}, op.options, std::move(over));
        }
        op.batch.clear(); // it is read when the operation begins, and not after
        op.batch.shrink_to_fit();
    }

    template <class Over>
    void begin_prepared(tenant& t, operation& op, Over over)
    {
        std::vector<slice> from, to;
        std::vector<std::uint32_t> indices;
        for (const transfer& x : op.batch) {
            indices.push_back(static_cast<std::uint32_t>(from.size()));
            from.push_back(x.from);
            to.push_back(x.to);
        }
        const prepared a = t.agent->prepare(std::move(from)), b = t.agent->prepare(std::move(to));
        copy(a.select(indices), b.select(indices), op.options, std::move(over));
    }

    static task<> hear(performance& self, agent& a, operation& op)
    {
        if (op.orphaned) co_return; // the agent went before we came to it
        const notification n = co_await a.notified(op.notify);
        self.oracle_.told(op, n.aborted);
    }

    void cancel(operation& op)
    {
        if (op.ends || op.cancelled || op.orphaned) return;
        oracle_.cancelled(op);
        op.signal.emit(asio::cancellation_type::terminal);
    }

    void ended(tenant& t, operation& op, error_code e, std::size_t n)
    {
        --live_;
        oracle_.ended(op, e, n);
        bytes_[&t] += n;
        verdict_.bytes += n;
        ++(!e ? verdict_.succeeded
              : e == asio::error::operation_aborted ? verdict_.cancelled
              : e == errc::deadline_missed ? verdict_.missed : verdict_.failed);
        for (std::size_t i = 0; i < op.plans.size(); ++i) {
            plan& p = op.plans[i];
            t.ended(p, op.options.status.empty() ? !e : !op.status[i], op.options.verify);
            p.expected = {};
        }
    }

    // The books.

    /// Counters agree with what was seen, and everything that was taken has come back.
    void account()
    {
        for (tenant& t : tenants_) {
            if (!t.agent) continue;
            const metrics m = t.agent->measure();
            std::uint64_t bytes = 0;
            for (const pair_metrics& p : m.pairs) {
                oracle_.expect(p.in_flight == 0, "a pair in flight");
                bytes += p.bytes;
            }
            oracle_.expect(bytes == bytes_[&t], "bytes of pairs");
            for (const driver_metrics& d : m.drivers) oracle_.expect(d.in_flight == 0, "a driver in flight");
            oracle_.expect(m.staging_in_use == 0, "staging in use");
        }
        for (const char* device : {"memory", "gpu", "disk", "store"})
            oracle_.expect(host_.held(device) == 0, "chunks held");
        for (const operation& op : operations_) {
            const bool whole = !op.notify.empty() && op.ends && !op.orphaned &&
                               std::all_of(op.plans.begin(), op.plans.end(), [](const plan& p) { return p.landed == p.length && p.length; });
            if (whole) oracle_.expect(op.told == 1, "nobody was told of its last byte");
        }
    }

    std::size_t depth(const limits& l, std::size_t piece, priority p) const
    {
        std::size_t n = 1;
        const bool low = p == priority::background;
        while (n < l.window_chunks && n * piece < l.window_bytes &&
               (!low || (n * piece < l.background_chunks * l.chunk_bytes && n < std::max(1u, l.window_chunks / 2))))
            ++n;
        return std::min(n, (scene_.area_bytes + piece - 1) / piece);
    }

    /// The windows and the staging can be filled as if nothing had happened.
    void probe(tenant& t)
    {
        world_.run(quiet(world_)); // until no device refuses or stalls any more
        for (const priority p : {priority::background, priority::normal}) {
            const limits& gpu = scene_.host.gpu.limits;
            fills(t, {t.at(tier::dram, 0, scene_.area_bytes), t.at(tier::vram, 0, scene_.area_bytes)}, p, "gpu",
                  std::min<std::size_t>(depth(gpu, gpu.chunk_bytes, p), scene_.host.gpu.queue_depth));
        }
        const limits& disk = scene_.host.disk.limits;
        const std::size_t piece = std::min({disk.chunk_bytes, scene_.host.gpu.limits.chunk_bytes, scene_.agent.staging_piece});
        const std::size_t buffers = scene_.agent.staging_bytes / scene_.agent.staging_piece;
        fills(t, {t.at(tier::file, 0, scene_.area_bytes), t.at(tier::vram, 0, scene_.area_bytes)}, priority::normal, "disk",
              std::min<std::size_t>({depth(disk, piece, priority::normal), buffers, scene_.host.disk.queue_depth}));
        oracle_.expect(t.agent->measure().staging_in_use == 0, "staging in use after the probe");
    }

    static task<> quiet(sim::world& w) { co_await w.runtime().sleep(1min); }

    void fills(tenant&, const transfer& all, priority p, std::string_view device, std::size_t expected)
    {
        world_.observe(nullptr);
        host_.hold(device);
        int ends = 0;
        copy_options o;
        o.priority = p;
        copy(all.from, all.to, o, [&](error_code e, std::size_t) {
            oracle_.expect(!e || e == boost::system::errc::not_enough_memory, "the probe fails"); // of staging
            ++ends;
        });
        world_.settle();
        const std::size_t held = host_.held(device);
        if (held != expected)
            oracle_.fail("the window of " + std::string{device} + " leaks: it admits " + std::to_string(held) +
                         " and not " + std::to_string(expected));
        host_.hold(device, false);
        if (!world_.run_until([&] { return ends != 0; })) oracle_.fail("the probe hangs");
    }

    const scenario& scene_;
    dice dice_;
    sim::world world_;
    sim::host host_;
    oracle oracle_;
    std::deque<tenant> tenants_;
    std::deque<operation> operations_;
    std::map<const tenant*, std::uint64_t> bytes_;
    std::size_t to_start_ = 0, live_ = 0;
    bool leaving_ = false;
    verdict verdict_;
};

} // namespace

verdict play(const scenario& s)
{
    auto p = std::make_unique<performance>(s);
    const verdict v = p->run();
    // A world that failed may hold what cannot be ended by the rules any more.
    if (!v.failure.empty()) static_cast<void>(p.release());
    return v;
}

} // namespace wye::sweep
