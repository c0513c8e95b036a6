// SPDX-License-Identifier: Apache-2.0
// Rails to other hosts: one-sided writes and reads, each over one rail, out of order with all others.

#include <algorithm>
#include <bit>
#include <cstring>

#include "rails_driver.hpp"

namespace wye::sim::detail {

namespace {

duration seconds(double s) { return duration{static_cast<duration::rep>(s * 1e9)}; }
} // namespace

rails_driver::rails_driver(machine& m)
    : machine_{m}, nic_{m.nic}, id_{++m.in.endpoints_made}, endpoints_(m.nic.rails.size())
{
    m.in.homes[id_] = &m;
}

rails_driver::~rails_driver()
{
    if (!loans_.empty()) complain("destroyed with chunks on loan");
    if (!enlisted_.empty()) complain("destroyed before its memory was dismissed");
    die();
    std::erase_if(machine_.in.doors, [this](const auto& d) { return d.second.endpoint == id_; });
}

/// Those that both hosts have.
std::uint64_t rails_driver::rails_between(const slice& from, const slice& to) const noexcept
{
    const nic& theirs = remote_of(remote_of(to) ? to : from)->there.nic;
    const std::size_t common = std::min(nic_.rails.size(), theirs.rails.size());
    return common == 0 ? 0 : ~std::uint64_t{0} >> (64 - common);
}

/// Those near the GPU at this end.
std::uint64_t rails_driver::near_rails(const slice& from, const slice& to) const noexcept
{
    const std::uint64_t all = rails_between(from, to);
    const auto common = static_cast<std::size_t>(std::popcount(all));
    const slice& here = remote_of(to) ? from : to;
    const std::size_t gpus = machine_.gpu.free_at.size() / std::max(1u, machine_.gpu.model.channels);
    const std::size_t each = gpus ? common / gpus : 0;
    if (!nic_.model.near || here.tier() != tier::vram || each == 0) return all;
    const auto first = static_cast<std::size_t>(here.of->device) % gpus * each;
    return ((std::uint64_t{1} << each) - 1) << first & all;
}

/// What the seam promises a driver.
void rails_driver::inspect(const chunk& c)
{
    if (c.rail >= nic_.rails.size()) return complain("a rail that it does not have");
    if (!endpoints_[c.rail].open) complain("a rail that is closed");
    if (c.step != step::move || c.from.length != c.to.length) complain("sides of different length");
    if (!carries(c.from, c.to)) complain("a pair that it does not carry");
    else if (!(rails_between(c.from, c.to) >> c.rail & 1)) complain("a rail that may not carry it");
    if (c.from.length > nic_.model.limits.chunk_bytes) complain("a chunk larger than its largest");
    for (const slice* s : {&c.from, &c.to})
        if (s->of->base && !enlisted_.contains(s->of)) complain("memory that it was not told of");
}

/// Its place in the queue, which agents of a host share.
void rails_driver::let_go(const loan& l) noexcept
{
    --nic_.self.held;
    --nic_.rails[l.rail].held;
}

bool rails_driver::refuses(const rail& r) noexcept
{
    universe& u = machine_.in;
    if (r.held >= r.model.queue_depth || u.now() < nic_.self.refuses_until) return true;
    hazard* const h = strikes(fault_kind::refuse);
    if (!h) return false;
    nic_.self.refuses_until = u.now() + some(*h);
    u.at(nic_.self.refuses_until, [] {}); // so that time gets there
    return true;
}

/// What goes wrong with the rail itself, until it is mended.
void rails_driver::tempt(std::uint32_t index)
{
    const auto befall = [&](fault_kind k, rail_state state, double speed) {
        hazard* const h = strikes(k);
        if (!h) return;
        const host it{machine_};
        it.set_rail(index, state, speed);
        machine_.in.at(machine_.in.now() + some(*h), [it, index] { it.set_rail(index, rail_state::up); });
    };
    befall(fault_kind::dark, rail_state::dark, 1);
    befall(fault_kind::broken, rail_state::broken, 1);
    befall(fault_kind::slow, rail_state::up, 0.1);
}

/// When the last byte is through both ends, which takes each of them as long as the slower one needs.
time_point rails_driver::book(rail& r, chunk& c, double length)
{
    const bool out = remote_of(c.to) != nullptr;
    rail& theirs = (out ? remote_of(c.to) : remote_of(c.from))->there.nic.rails[c.rail];
    nic_.processor_free = std::max(nic_.processor_free, machine_.in.now()) + nic_.model.post_cost;
    time_point& mine = out ? r.out_free : r.in_free;
    time_point& other = out ? theirs.in_free : theirs.out_free;
    const time_point asked = out ? nic_.processor_free : nic_.processor_free + r.model.latency;
    const double rate = std::min(r.model.bytes_per_second * r.speed, theirs.model.bytes_per_second * theirs.speed);
    const double operations = std::min(r.model.operations_per_second, theirs.model.operations_per_second);
    const time_point through = std::max({asked, mine, other}) + seconds(std::max(length / rate, 1 / operations));
    mine = other = through;
    r.carried += c.from.length;
    theirs.carried += c.from.length;
    return through;
}

bool rails_driver::submit(chunk& c) noexcept
{
    universe& u = machine_.in;
    inspect(c);
    rail& r = nic_.rails[c.rail];
    if (!dead_ && refuses(r)) return false;
    tempt(c.rail);
    unflushed_ = true;
    if (!dead_) {
        ++r.held;
        nic_.self.most_held = std::max(nic_.self.most_held, ++nic_.self.held);
    }
    if (u.seen_by) u.seen_by->submitted("nic", c);
    u.note({1, ns(u.now()), c.rail, c.from.offset, c.to.offset, c.from.length});
    const std::uint64_t id = ++last_id_;
    const remote& other = *(remote_of(c.to) ? remote_of(c.to) : remote_of(c.from));
    const loan& l = loans_[id] = {&c, c.rail, c.from.length, other.key, other.peer};
    if (dead_) { // it is being buried, and what it still wants to do is over at once
        end(id, errc::peer_lost);
        return true;
    }

    const time_point landed = book(r, c, static_cast<double>(c.from.length)) + r.model.latency;
    time_point told = landed + (remote_of(c.to) ? r.model.latency : duration{});
    if (hazard* const h = strikes(fault_kind::reorder)) told += some(*h);
    if (hazard* const h = strikes(fault_kind::early_data)) {
        on_rail(l, u.now(), [this, id] { land(id); });
        told += some(*h);
    } else if (hazard* const late = strikes(fault_kind::late_data)) {
        told += some(*late);
    } else {
        on_rail(l, landed, [this, id] { land(id); });
    }
    if (strikes(fault_kind::twice)) on_rail(l, told, [this, id] { land(id); });
    on_rail(l, told, [this, id] { arrive(id); });
    return true;
}

/// When somebody looks after what comes by that key.
time_point rails_driver::attended_at(std::uint64_t door_key) const noexcept
{
    const universe& u = machine_.in;
    const auto d = u.doors.find(door_key);
    if (d == u.doors.end() || !d->second.of->nic.model.by_processor) return {};
    const auto it = u.endpoints.find(d->second.endpoint);
    return it == u.endpoints.end() ? time_point{} : it->second->stalled_until_;
}

/// Lets it happen then, unless the endpoint is closed by then; later, if the rail is dark at either end, or nobody there
/// has the time.
void rails_driver::on_rail(const loan& l, time_point when, std::function<void()> what)
{
    const auto it = machine_.in.doors.find(l.key);
    rail* const theirs = it == machine_.in.doors.end() ? nullptr : &it->second.of->nic.rails[l.rail];
    const auto act = [it = self_, index = l.rail, door_key = l.key, theirs, epoch = endpoints_[l.rail].epoch,
                      what = std::move(what)](auto&& again) -> void {
        if (!*it || (*it)->dead_ || (*it)->endpoints_[index].epoch != epoch) return;
        rail& r = (*it)->nic_.rails[index];
        universe& u = (*it)->machine_.in;
        const time_point attended = (*it)->attended_at(door_key);
        if (r.state == rail_state::dark) r.parked.push_back([again] { again(again); });
        else if (theirs && theirs->state == rail_state::dark) theirs->parked.push_back([again] { again(again); });
        else if (attended > u.now()) u.at(attended, [again] { again(again); });
        else what();
    };
    machine_.in.at(when, [act] { act(act); });
}

/// The way in that it was posted by, if that is open.
const door* rails_driver::door_of(const loan& l) const noexcept
{
    const auto it = machine_.in.doors.find(l.key);
    if (it == machine_.in.doors.end()) return nullptr;
    const door& d = it->second;
    const bool out = remote_of(l.c->to) != nullptr;
    const slice& there = out ? l.c->to : l.c->from;
    const bool inside = there.offset <= d.length && l.bytes <= d.length - there.offset;
    return inside && (!out || d.allows == access::read_write) ? &d : nullptr;
}

/// Where a side of it is in memory.
std::byte* rails_driver::place_of(const loan& l, const slice& s) const noexcept
{
    return remote_of(s) ? machine_.in.doors.at(l.key).base + s.offset : s.data();
}

/// Its bytes arrive.
void rails_driver::land(std::uint64_t id)
{
    const auto it = loans_.find(id);
    if (it == loans_.end()) return;
    const loan& l = it->second;
    const door* const d = door_of(l);
    universe& u = machine_.in;
    if (!d || !u.lives(d->endpoint)) return;
    std::memmove(place_of(l, l.c->to), place_of(l, l.c->from), l.bytes);
    if (u.seen_by) u.seen_by->moved("nic", *l.c, 0, l.bytes);
    u.note({2, ns(u.now()), l.rail, l.bytes});
}

/// Its completion does, or the error of its rail.
void rails_driver::arrive(std::uint64_t id)
{
    const auto it = loans_.find(id);
    if (it == loans_.end() || it->second.over) return;
    const door* const d = door_of(it->second);
    if (!d) return end(id, errc::withdrawn);
    if (!machine_.in.lives(d->endpoint)) return; // nobody says so
    if (nic_.rails[it->second.rail].state == rail_state::broken) return break_off(id);
    if (d->of->nic.rails[it->second.rail].state == rail_state::broken) return turn_away(id);
    land(id);
    end(id, {});
}

/// The rail gives it up, but some of its bytes are under way still: they land until the endpoint is closed.
void rails_driver::break_off(std::uint64_t id)
{
    const loan& l = loans_.at(id);
    universe& u = machine_.in;
    std::byte* const from = place_of(l, l.c->from);
    auto late = std::make_shared<bytes>(from, from + u.random.below(l.bytes + 1));
    on_rail(l, u.now() + 2 * nic_.rails[l.rail].model.latency, [&u, late, key = l.key, to = place_of(l, l.c->to)] {
        const auto d = u.doors.find(key);
        if (late->empty() || d == u.doors.end() || !u.lives(d->second.endpoint)) return;
        std::memcpy(to, late->data(), late->size());
    });
    end(id, errc::rail_lost);
}

/// The other end of the rail gives it up: some of its bytes have landed, and no more will.
void rails_driver::turn_away(std::uint64_t id)
{
    const loan& l = loans_.at(id);
    const std::byte* const from = place_of(l, l.c->from);
    std::memcpy(place_of(l, l.c->to), from, machine_.in.random.below(l.bytes + 1));
    end(id, errc::path_lost);
}

void rails_driver::end(std::uint64_t id, error_code e)
{
    loan& l = loans_.at(id);
    l.error = e;
    l.over = true;
    over_.push_back(id);
}

/// Unless the driver has gone by then.
void rails_driver::later(duration d, std::function<void()> what)
{
    machine_.in.at(machine_.in.now() + d, [it = self_, what = std::move(what)] {
        if (*it) what();
    });
}

void rails_driver::fence(std::uint32_t index, std::function<void()> fenced)
{
    ++pending_;
    endpoints_[index].open = false;
    later(nic_.model.fence_time, [this, index, fenced = std::move(fenced)]() mutable {
        ++endpoints_[index].epoch;
        for (auto& [id, l] : loans_)
            if (l.rail == index && !l.over) end(id, errc::rail_lost);
        answer(std::move(fenced));
    });
}

void rails_driver::open_rail(std::uint32_t index, std::function<void(error_code)> opened)
{
    ++pending_;
    later(nic_.model.fence_time, [this, index, opened = std::move(opened)]() mutable {
        const bool up = nic_.rails[index].state == rail_state::up;
        endpoints_[index].open = up;
        answer([opened = std::move(opened), up] { opened(up ? error_code{} : make_error_code(errc::rail_lost)); });
    });
}

void rails_driver::open_path(std::uint32_t index, std::uint32_t peer, std::function<void(error_code)> opened)
{
    ++pending_;
    const auto ask = [this, index, there = known_.at(peer - 1).on, opened = std::move(opened)]() mutable {
        const auto up = [index](const machine& m) { return m.nic.rails[index].state == rail_state::up; };
        const bool open = endpoints_[index].open && up(machine_) && up(*there);
        answer([opened = std::move(opened), open] { opened(open ? error_code{} : make_error_code(errc::path_lost)); });
    };
    later(2 * nic_.rails[index].model.latency, ask);
}

std::size_t rails_driver::poll(turn t) noexcept
{
    if (unflushed_) complain("polled before the flush");
    std::size_t n = 0;
    const std::vector<std::uint64_t> over = std::exchange(over_, {});
    for (; n < over.size(); ++n) {
        if (n != 0 && t.over()) {
            over_.insert(over_.begin(), over.begin() + static_cast<std::ptrdiff_t>(n), over.end());
            return n; // answers come after all of it
        }
        const loan l = loans_.extract(over[n]).mapped();
        if (!dead_) let_go(l);
        universe& u = machine_.in;
        const std::size_t moved = l.error ? 0 : l.bytes;
        if (u.seen_by) u.seen_by->ended("nic", *l.c, l.error, moved);
        u.note({4, ns(u.now()), l.rail, moved});
        l.c->done(l.error, moved);
    }
    see_renewed();
    for (auto& f : std::exchange(answers_, {})) {
        --pending_;
        f();
        ++n;
    }
    for (; !inbox_.empty() && !(n != 0 && t.over()); ++n) {
        const std::vector<std::byte> message = std::move(inbox_.front());
        inbox_.pop_front();
        received(message);
    }
    return n;
}

std::unique_ptr<driver> nic_driver(machine& m) { return std::make_unique<rails_driver>(m); }

} // namespace wye::sim::detail
