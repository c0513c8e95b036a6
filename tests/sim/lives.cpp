// SPDX-License-Identifier: Apache-2.0
// What happens to agents, to what they publish, and to their rails.
#include "encounter.hpp"

#include <algorithm>

namespace wye::sweep {

using namespace std::chrono_literals;

void encounter::befall(const mishap& m)
{
    if (m.what == mishap_kind::outage) return outage(m);
    resident& who = *present_[m.who];
    resident& other = *present_[m.other];
    if (!who.here()) return;
    switch (m.what) {
    case mishap_kind::crash:
        crash(who);
        if (m.again) later(m.extent, [this, &who] { reborn(who); });
        break;
    case mishap_kind::leave: to_do_.push_back([this, &who] { leave(who); }); break;
    case mishap_kind::stall: stall(who, m.extent, scene_.is_long(m)); break;
    case mishap_kind::anew: run_on(who, anew(*this, who, m.name), "publishing anew"); break;
    case mishap_kind::unpublish: run_on(who, unpublishes(*this, who, m.name, m.extent), "unpublishing"); break;
    case mishap_kind::revoke:
        if (&who != &other) run_on(who, revokes(*this, who, m.name, other), "revoking");
        break;
    case mishap_kind::destroy: destroy(who, m.name); break;
    default: disconnect(who, other);
    }
}

void encounter::later(duration d, std::function<void()> f)
{
    ++to_start_;
    world_->at(world_->now() + d, [this, f = std::move(f)] {
        --to_start_;
        f();
    });
}

void encounter::outage(const mishap& m)
{
    const sim::host h = hosts_[m.who];
    h.set_rail(m.other, m.state, m.speed);
    later(m.extent, [h, rail = m.other] { h.set_rail(rail, sim::rail_state::up); });
}

// Agents.

/// What it had under way never ends, and touches nothing any more.
void encounter::orphan(resident& r)
{
    for (deal& d : deals_) {
        if (d.by != &r || d.ends || d.orphaned || d.parts.empty()) continue;
        d.orphaned = true;
        --live_;
        if (may_be_late(d, errc::peer_lost)) continue;
        for (part& p : d.parts) close(p);
    }
}

void encounter::crash(resident& r)
{
    r.crashed = true;
    world_->crash(*r.agent);
    orphan(r);
    pending_ -= r.busy;
}

void encounter::reborn(resident& old)
{
    if (present_[old.index] != &old) return;
    resident& r = residents_.emplace_back(*world_, hosts_[old.host_index], scene_, old.index, residents_.size());
    run_on(r, comes(*this, r), "a new life");
}

task<> encounter::comes(encounter& self, resident& r)
{
    co_await r.open();
    self.present_[r.index] = &r;
}

/// An orderly end: what it has in flight is cancelled and drained.
void encounter::leave(resident& r)
{
    if (!r.here()) return;
    if (world_->now() < r.sleeps_until) return later(r.sleeps_until - world_->now(), [this, &r] { to_do_.push_back([this, &r] { leave(r); }); });
    r.left = true;
    world_->end(*r.agent);
    pending_ -= r.busy;
    r.busy = 0;
}

void encounter::stall(resident& r, duration d, bool too_long)
{
    r.slept = r.slept || too_long;
    r.sleeps_until = world_->now() + d;
    world_->stall(*r.agent, d);
}

void encounter::disconnect(resident& who, resident& with)
{
    acquaintance* const a = who.known(with);
    if (!a || a->in_flight != 0) return;
    a->kept.clear();
    a->it.reset();
}

// What is published.

/// Nobody may come in there any more, or one of them may not: its owner uses it for other things.
void encounter::withdrawn(stretch& a, const resident* from)
{
    for (deal& d : deals_)
        for (part& p : d.parts)
            if (!d.ends && !d.orphaned && p.into == &a && (!from || d.by == from)) close(p);
    if (from) a.barred.insert(from);
    else a.closed = true;
}

task<> encounter::anew(encounter& self, resident& r, std::size_t name)
{
    if (std::exchange(r.changing[name], true)) co_return;
    stretch& old = r.now(name);
    stretch& fresh = r.make(name);
    co_await r.enlist(fresh);
    old.withdrawing = true;
    old.reachable = false;
    fresh.out = old.out;
    fresh.barred = old.barred;
    fresh.again = old.again; // who missed it then was not told since
    r.have(name, fresh);
    fresh.reachable = true;
    const duration begun = self.world_->now();
    co_await r.publish(name, fresh);
    self.withdrawn(old);
    self.judge_withdrawal(r, begun);
    r.changing[name] = false;
}

task<> encounter::unpublishes(encounter& self, resident& r, std::size_t name, duration pause)
{
    if (std::exchange(r.changing[name], true)) co_return;
    stretch& old = r.now(name);
    old.withdrawing = true;
    old.reachable = false;
    const duration begun = self.world_->now();
    const std::string as{resident::name[name]};
    co_await r.agent->unpublish(as);
    self.withdrawn(old);
    self.judge_withdrawal(r, begun);
    if (!r.here()) throw system_error(errc::shut_down);
    co_await r.agent->runtime().sleep(pause); // which goes with it
    co_await offers(self, r, name);
    r.changing[name] = false;
}

/// Something is there again by that name, for those who connect from now on.
task<> encounter::offers(encounter& self, resident& r, std::size_t name)
{
    stretch& fresh = r.make(name);
    co_await r.enlist(fresh);
    co_await r.publish(name, fresh);
    r.have(name, fresh);
    fresh.reachable = fresh.again = true;
    for (resident* who : self.present_)
        if (who->here() && who != &r && who->known(r)) self.run_on(*who, self.renews(self, *who, r, name), "connecting again");
}

/// A connection is there, and new metadata says what else is.
task<> encounter::renews(encounter& self, resident& who, resident& with, std::size_t name)
{
    co_await meets(self, who, with);
    acquaintance* const a = who.known(with);
    const stretch& now = with.here() ? with.now(name) : who.now(name);
    if (!a || !with.here() || !now.reachable || now.withdrawing || with.changing[name] || self.excused(who, with)) co_return;
    try {
        const slice s = a->it.published(resident::name[name]);
        self.expect(s.length == now.size() || now.out.contains(&who), "what is published again is something else");
    } catch (const system_error& e) {
        self.expect(now.out.contains(&who), "what is published again is not found: " + std::string{e.what()});
    }
}

task<> encounter::revokes(encounter& self, resident& r, std::size_t name, resident& whom)
{
    if (r.changing[name]) co_return;
    r.changing[name] = true;
    stretch& a = r.now(name);
    a.out.insert(&whom);
    const bool known = r.known(whom) || whom.known(r);
    const duration begun = self.world_->now();
    const std::string as{resident::name[name]}, who = whom.called;
    co_await r.agent->revoke(as, who);
    if (known) self.withdrawn(a, &whom);
    self.judge_withdrawal(r, begun);
    r.changing[name] = false;
}

void encounter::judge_withdrawal(const resident& r, duration begun)
{
    if (scene_.any(sim::fault_kind::clock_jump) || r.slept) return;
    const duration took = world_->now() - begun;
    expect(took <= scene_.patience() + 2 * scene_.agent.peers.drain_within, "a withdrawal takes " + std::to_string(took.count()) + " ns");
}

/// It goes without a word, and its keys with it; other memory comes in its place.
void encounter::destroy(resident& r, std::size_t name)
{
    if (resident::read_only(name) || std::exchange(r.changing[name], true)) return;
    stretch& old = r.now(name);
    old.withdrawing = true;
    old.reachable = false;
    old.as.reset();
    withdrawn(old);
    run_on(r, again(*this, r, name), "publishing again");
}

task<> encounter::again(encounter& self, resident& r, std::size_t name)
{
    co_await offers(self, r, name);
    r.changing[name] = false;
}

} // namespace wye::sweep
