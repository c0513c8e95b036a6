// SPDX-License-Identifier: Apache-2.0
#include "device_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace wye::sim::detail {

namespace {

duration seconds(double s) { return duration{static_cast<duration::rep>(s * 1e9)}; }

std::uint64_t ns(time_point t) noexcept { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

} // namespace

device_driver::~device_driver()
{
    if (!loans_.empty()) complain("destroyed with chunks on loan");
    if (!enlisted_.empty()) complain("destroyed before its memory was dismissed");
}

void device_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    refused_.erase(&s);
    if (strikes(fault_kind::registration)) {
        refused_.insert(&s);
        return done({ENOMEM, boost::system::generic_category()});
    }
    if (!enlisted_.insert(&s).second) complain("the same memory twice");
    done({});
}

void device_driver::dismiss(segment& s) noexcept
{
    if (enlisted_.erase(&s) + refused_.erase(&s) != 1) complain("dismissed what was not enlisted");
}

void device_driver::answer(std::function<void()> f)
{
    ++answers_pending_;
    machine_.in.at(machine_.in.now() + device_.model.latency,
                   [this, f = std::move(f)]() mutable { answers_.push_back(std::move(f)); });
}

/// What the seam promises a driver.
void device_driver::inspect(const chunk& c)
{
    const wye::limits& l = device_.model.limits;
    if (c.rail != 0) complain("a rail that it does not have");
    if (loans_.size() >= l.window_chunks) complain("more chunks than its window");
    if (c.step != step::move) return;
    if (!loans_.empty() && held_bytes_ >= l.window_bytes + l.chunk_bytes) complain("more bytes than its window");
    if (c.from.length != c.to.length) complain("sides of different length");
    if (c.from.length > l.chunk_bytes) complain("a chunk larger than its largest");
    if (!carries(c.from, c.to)) complain("a pair of tiers that it does not carry");
    for (const slice* s : {&c.from, &c.to})
        if (!knows(*s) && !refused_.contains(s->of)) complain("memory that it was not told of");
}

/// A queue that is full, or says so for a while.
bool device_driver::refuses() noexcept
{
    universe& u = machine_.in;
    if (device_.held >= device_.model.queue_depth || u.now() < device_.refuses_until) return true;
    hazard* const h = strikes(fault_kind::refuse);
    if (!h) return false;
    device_.refuses_until = u.now() + some(*h);
    u.at(device_.refuses_until, [] {}); // so that time gets there
    return true;
}

/// What will be wrong with this one.
void device_driver::go_wrong(loan& l) noexcept
{
    const chunk& c = *l.c;
    if (c.step == step::abandon) return; // there is no way for that to go wrong
    const bool moves = c.step == step::move && c.from.length != 0;
    hazard* h = nullptr;
    if (!knows(c.from) || !knows(c.to)) { // staging is used all the same, and it is for the driver to say
        l.error = {ENOMEM, boost::system::generic_category()};
        l.goal = 0;
    } else if ((h = strikes(fault_kind::io_error))) {
        l.error = io_error(EIO);
        l.goal = moves ? h->random.below(c.from.length + 1) : 0; // some of it may have arrived
    } else if (moves && c.from.length > 1 && !must_be_whole(c) && (h = strikes(fault_kind::shorten))) {
        l.goal = 1 + h->random.below(c.from.length - 1);
    }
    tempt(l);
}

/// Books the time that the chunk takes on the channel that is free first; when that begins.
time_point device_driver::take_channel(const chunk& c) noexcept
{
    const auto [first, count] = channels(c);
    const auto begin = device_.free_at.begin() + static_cast<std::ptrdiff_t>(first);
    const auto channel = std::min_element(begin, begin + static_cast<std::ptrdiff_t>(count));
    const device_model& m = device_.model;
    const double length = c.step == step::move ? static_cast<double>(c.from.length) : 0;
    const time_point begins = std::max({machine_.in.now(), *channel, device_.stalled_until});
    *channel = begins + seconds(std::max(length / m.bytes_per_second, 1 / m.operations_per_second));
    return begins;
}

bool device_driver::submit(chunk& c) noexcept
{
    universe& u = machine_.in;
    inspect(c);
    if (refuses()) return false;
    unflushed_ = true;
    device_.most_held = std::max(device_.most_held, ++device_.held);
    held_bytes_ += c.step == step::move ? c.from.length : 0;
    if (u.seen_by) u.seen_by->submitted(device_.name, c);
    u.note({1, ns(u.now()), c.from.offset, c.to.offset, c.from.length, static_cast<std::uint64_t>(c.step)});

    const std::uint64_t id = ++last_id_;
    loan& l = loans_[id];
    l.c = &c;
    l.goal = c.step == step::move ? c.from.length : 0;
    go_wrong(l);
    schedule(id, take_channel(c));
    return true;
}

/// When its bytes land, and when it ends.
void device_driver::schedule(std::uint64_t id, time_point begins)
{
    universe& u = machine_.in;
    loan& l = loans_.at(id);
    const double length = static_cast<double>(l.goal);
    l.ends = std::max(l.ends, begins + seconds(length / device_.model.bytes_per_second) + device_.model.latency);
    if (hazard* const h = strikes(fault_kind::reorder)) l.ends += some(*h);
    if (hazard* const h = strikes(fault_kind::stall)) device_.stalled_until = std::max(device_.stalled_until, u.now() + some(*h));
    hazard* const early = strikes(fault_kind::early_data);
    if (early) {
        u.at(u.now(), [this, id, upto = l.goal] { advance(id, upto); });
        l.ends += some(*early);
    } else if (hazard* const late = strikes(fault_kind::late_data)) {
        l.ends += some(*late);
    } else {
        const std::uint64_t part = u.random.below(l.goal + 1);
        u.at(begins + (l.ends - begins) / 2, [this, id, part] { advance(id, part); });
    }
    u.at(l.ends, [this, id] { complete(id); });
}

void device_driver::advance(std::uint64_t id, std::uint64_t upto)
{
    if (device_.on_hold) {
        device_.parked.push_back([this, id, upto] { advance(id, upto); });
        return;
    }
    if (const auto it = loans_.find(id); it != loans_.end()) move(it->second, upto);
}

void device_driver::complete(std::uint64_t id)
{
    universe& u = machine_.in;
    if (device_.on_hold) {
        device_.parked.push_back([this, id] { complete(id); });
    } else if (u.now() < device_.stalled_until) {
        u.at(device_.stalled_until, [this, id] { complete(id); });
    } else {
        loan& l = loans_.at(id);
        move(l, l.goal);
        if (stores() && l.moved != 0 && strikes(fault_kind::flip)) spoil(l);
        over_.push_back(id);
        --device_.held; // whoever reaps it, and when
    }
}

std::byte* device_driver::target(loan& l, std::uint64_t at, std::uint64_t) { return l.c->to.data() + at; }

void device_driver::move(loan& l, std::uint64_t upto)
{
    chunk& c = *l.c;
    if (c.step != step::move) return;
    error_code e;
    const std::uint64_t end = std::min({upto, l.goal, available(c, e)});
    if (e && !l.error) l.error = e;
    if (e || l.moved >= end) return;
    const std::uint64_t at = l.moved, n = end - at;
    std::byte* const to = target(l, at, n); // first: it may make the file that is read longer, and move it
    std::memmove(to, source(l, at), n);
    l.moved = end;
    universe& u = machine_.in;
    if (u.seen_by) u.seen_by->moved(device_.name, c, at, n);
    u.note({2, ns(u.now()), at, n, static_cast<std::uint64_t>(*to)});
}

/// Changes a byte that has arrived.
void device_driver::spoil(loan& l)
{
    const std::uint64_t at = machine_.in.random.below(l.moved);
    *target(l, at, 1) ^= std::byte{0x10};
    if (machine_.in.seen_by) machine_.in.seen_by->flipped(device_.name, *l.c, at);
}

bool device_driver::move_at_once(const slice& from, const slice& to) noexcept
{
    universe& u = machine_.in;
    if (from.length > device_.model.limits.at_once_bytes) complain("more at once than it said");
    if (!carries(from, to) || !from.of->base || !to.of->base) return false;
    chunk c;
    c.from = from;
    c.to = to;
    const bool all = u.random.below(4) != 0 && !device_.on_hold;
    const std::uint64_t n = all ? from.length : u.random.below(from.length); // what is refused may have moved in part
    if (n != 0) std::memmove(to.data(), from.data(), n);
    u.note({3, ns(u.now()), from.offset, to.offset, n});
    if (all && u.seen_by) u.seen_by->moved(device_.name, c, 0, n);
    if (all && u.seen_by) u.seen_by->ended(device_.name, c, {}, n);
    return all;
}

std::size_t device_driver::poll(turn t) noexcept
{
    if (unflushed_) complain("polled before the flush");
    std::size_t n = 0;
    for (auto& f : std::exchange(answers_, {})) {
        --answers_pending_;
        f();
        ++n;
    }
    const std::vector<std::uint64_t> over = std::exchange(over_, {});
    for (std::size_t i = 0; i < over.size(); ++i, ++n) {
        if (n != 0 && t.over()) {
            over_.insert(over_.begin(), over.begin() + static_cast<std::ptrdiff_t>(i), over.end());
            break;
        }
        auto out = loans_.extract(over[i]);
        end(std::move(out.mapped()));
    }
    return n;
}

void device_driver::end(loan l)
{
    chunk& c = *l.c;
    universe& u = machine_.in;
    held_bytes_ -= c.step == step::move ? c.from.length : 0;
    if (l.error) give_up(l);
    else l.error = conclude(l);
    const std::uint64_t n = l.error || c.step != step::move ? 0 : l.moved;
    if (u.seen_by) u.seen_by->ended(device_.name, c, l.error, n);
    u.note({4, ns(u.now()), n, static_cast<std::uint64_t>(l.error.value())});
    c.done(l.error, n);
}

} // namespace wye::sim::detail
