// SPDX-License-Identifier: Apache-2.0
#include "encounter.hpp"

#include <algorithm>

#include <boost/asio/co_spawn.hpp>

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t most_events = 3'000'000;
constexpr duration most_time = std::chrono::hours{24 * 10};

} // namespace

encounter::encounter(const meeting& m) : scene_{m}, dice_{m.seed, 4}, world_{m.seed ^ 0x5bd1e995}
{
    for (std::size_t i = 0; i < m.hosts.size(); ++i)
        hosts_.push_back(world_->add_host("host" + std::to_string(i), m.hosts[i]));
    for (std::size_t i = 0; i < m.agents.size(); ++i)
        present_.push_back(&residents_.emplace_back(*world_, hosts_[m.agents[i]], m, i, 0));
}

encounter::~encounter() { closing_ = true; }

void encounter::fail(const std::string& what)
{
    if (failure_.empty()) failure_ = "between hosts: " + what + ", at " + std::to_string(world_->now().count()) + " ns";
}

verdict encounter::run()
{
    try {
        if (scene_.what == dealings::thousand) thousand();
        else if (scene_.what == dealings::shares) shares();
        else go();
    } catch (const std::exception& e) {
        fail(e.what());
    }
    for (const std::string& c : world_->complaints()) fail(c);
    verdict_.failure = failure_;
    verdict_.digest = world_->digest();
    verdict_.events = world_->events();
    verdict_.took = world_->now();
    return verdict_;
}

void encounter::go()
{
    for (resident* r : present_) world_->run(r->open());
    for (const mishap& m : scene_.mishaps)
        if (m.what == mishap_kind::fault) {
            sim::fault f = m.fault;
            f.from += world_->now();
            if (f.until != duration::max()) f.until += world_->now();
            world_->inject(f);
        }
    schedule();
    const bool ended = world_->run_until([this] { return over(); });
    if (!failure_.empty()) return;
    if (live_ + pending_ != 0) return hangs(ended);
    world_->calm();
    const duration settled = world_->now() + scene_.patience(); // whatever is late comes by then
    world_->at(settled, [] {});
    world_->run_until([&] { return world_->now() >= settled; });
    account();
    closing_ = true;
    for (resident* r : present_)
        if (r->here()) r->close();
    for (resident* r : present_)
        if (r->here()) world_->end(*r->agent);
}

void encounter::hangs(bool for_ever)
{
    const auto lives = [](const deal& d) { return !d.ends && !d.orphaned && !d.parts.empty(); };
    const auto first = std::find_if(deals_.begin(), deals_.end(), lives);
    fail(std::to_string(live_) + " copies and " + std::to_string(pending_) + (for_ever ? " waits never end" : " waits hang") +
         (first == deals_.end() ? "" : ", the first of them of " + describe(*first, first->parts.front())));
}

bool encounter::over()
{
    for (auto& f : std::exchange(to_do_, {})) f();
    return !failure_.empty() || (to_start_ == 0 && live_ == 0 && pending_ == 0 && to_do_.empty()) ||
           world_->events() > most_events || world_->now() > most_time;
}

duration encounter::sometime()
{
    return world_->now() + duration{static_cast<duration::rep>(dice_.below(static_cast<std::uint64_t>(scene_.span.count())))};
}

/// Who is here.
resident& encounter::some_agent() { return *present_[dice_.below(present_.size())]; }

void encounter::schedule()
{
    const auto deal_at_once = [this] {
        --to_start_;
        resident& who = some_agent();
        resident& with = some_agent();
        if (!who.here() || &who == &with || !with.here()) return;
        if (dice_.one_in(8)) run_on(who, says(*this, who, with), "a word");
        else run_on(who, deals(*this, who, with), "a deal");
    };
    to_start_ = scene_.operations;
    for (std::size_t i = 0; i < scene_.operations; ++i) world_->at(sometime(), deal_at_once);
    const duration begun = world_->now();
    for (const mishap& m : scene_.mishaps) {
        if (m.what == mishap_kind::fault) continue;
        ++to_start_;
        world_->at(begun + m.at, [this, &m] {
            --to_start_;
            befall(m);
        });
    }
}

/// It counts until it has ended, or its agent is no more.
void encounter::run_on(resident& who, task<> work, const char* what)
{
    ++pending_;
    asio::co_spawn(who.agent->runtime(), std::move(work), [this, &who, what](std::exception_ptr e) {
        if (closing_) return;
        if (who.crashed) return;
        --pending_;
        --who.busy;
        if (!e || who.left) return;
        try {
            std::rethrow_exception(e);
        } catch (const std::exception& thrown) {
            fail(std::string{what} + ": " + thrown.what());
        }
    });
    ++who.busy;
}

/// A connection to another agent, which takes some time if there is none. Null when that cannot be.
task<> encounter::acquainted(encounter& self, resident& who, resident& with, acquaintance*& found)
{
    found = who.known(with);
    if (!found && !who.connecting.contains(&with)) {
        co_await meets(self, who, with);
        found = who.known(with);
    }
}

task<> encounter::meets(encounter& self, resident& who, resident& with)
{
    if (!with.here()) co_return;
    who.connecting.insert(&with);
    const duration begun = self.world_->now();
    std::vector<std::byte> metadata = with.agent->metadata();
    try {
        peer p = co_await who.agent->connect(std::move(metadata));
        self.expect(p.name() == with.called, "connected to somebody else");
        who.tidy();
        acquaintance& a = who.acquaintances.emplace_back();
        a.it = std::move(p);
        a.whom = &with;
    } catch (const system_error& e) {
        if (self.closing_) co_return;
        const bool lost = e.code() == errc::peer_lost || e.code() == errc::stale_metadata;
        self.expect((lost && self.excused(who, with)) || who.left, who.called + " cannot connect to " + with.called + ": " + e.what());
    }
    const duration took = self.world_->now() - begun;
    const bool jumps = self.scene_.any(sim::fault_kind::clock_jump);
    self.expect(jumps || who.slept || took <= self.scene_.patience() + self.scene_.agent.peers.connect_within,
                "connecting takes " + std::to_string(took.count()) + " ns");
    who.connecting.erase(&with);
}

/// What has been taken has been given back, and nothing is anywhere that it should not be.
void encounter::account()
{
    for (const deal& d : deals_)
        for (const deal::listener& l : d.tells) expect(l.told <= 1, "told twice");
    for (const resident& r : residents_) {
        if (r.crashed) continue; // what its devices still did is nobody's business
        if (const std::string s = r.stray(); !s.empty()) fail(s);
        if (!r.here()) continue;
        const metrics m = r.agent->measure();
        for (const pair_metrics& p : m.pairs) expect(p.in_flight == 0, "a pair in flight");
        for (const driver_metrics& d : m.drivers) expect(d.in_flight == 0, "a driver in flight");
        expect(m.staging_in_use == 0, "staging in use");
    }
}

verdict play(const meeting& m)
{
    auto e = std::make_unique<encounter>(m);
    const verdict v = e->run();
    // A world that failed may hold what cannot be ended by the rules any more.
    if (!v.failure.empty()) static_cast<void>(e.release());
    return v;
}

} // namespace wye::sweep
