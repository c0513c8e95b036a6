// SPDX-License-Identifier: Apache-2.0
#include "oracle.hpp"

#include <algorithm>

#include <boost/asio/error.hpp>

namespace wye::sweep {

namespace {

constexpr std::uint64_t burst = 256_KiB;     // that one of a priority may have before its equals
constexpr duration lateness = std::chrono::microseconds{4}; // of a loop that is busy elsewhere, in this world
constexpr std::uint64_t background_floor = 15; // pieces of others to one of its own

std::string describe(const plan& p)
{
    std::string s = std::to_string(p.length) + " bytes from " + std::string{name_of(p.from_tier)} +
                    " at " + std::to_string(p.from.offset) + " to " + (p.key.empty() ? std::to_string(p.to.offset) : p.key);
    return p.doomed ? s + " (doomed: " + make_error_code(*p.doomed).message() + ")" : s;
}

bool stores(tier t) { return t == tier::file || t == tier::object; }

} // namespace

void oracle::fail(const std::string& what)
{
    if (failure_.empty()) failure_ = what + ", at " + std::to_string(world_.now().count()) + " ns";
}

const wye::limits& oracle::limits_of(std::string_view device) const
{
    return (device == "memory" ? host_.memory : device == "gpu" ? host_.gpu : device == "disk" ? host_.disk : host_.store)
        .limits;
}

// Whose is it?

plan* oracle::plan_at(const slice& s) const
{
    if (!s.of) return nullptr;
    if (s.tier() == tier::object) {
        const auto it = objects_.find(s.of->describe());
        return it == objects_.end() ? nullptr : it->second;
    }
    auto it = places_.upper_bound({s.of, s.offset});
    if (it == places_.begin() || (--it)->first.of != s.of) return nullptr;
    const plan& p = *it->second;
    const slice& side = p.from.of == s.of && p.from.offset == it->first.offset ? p.from : p.to;
    const std::uint64_t length = side.length == slice::whole ? p.length : side.length;
    return s.offset + s.length <= side.offset + length ? it->second : nullptr;
}

plan* oracle::plan_of(const chunk& c) const
{
    plan* const a = plan_at(c.from);
    return a ? a : plan_at(c.to);
}

/// The device of a plan that goes over one hop; none for those that are staged, summed, or in sessions.
std::string_view oracle::lane_of(const plan& p) const
{
    const tier a = p.from_tier, b = p.to_tier;
    if (p.op->options.verify || a == tier::object || b == tier::object || p.length == 0) return {};
    if (a == tier::dram && b == tier::dram) return "memory";
    if (a <= tier::vram && b <= tier::vram) return "gpu";
    if (a == tier::dram || b == tier::dram) return "disk";
    return {};
}

// Operations.

void oracle::began(operation& op)
{
    for (plan& p : op.plans) {
        p.op = &op;
        p.from_tier = p.from.tier();
        p.to_tier = p.to.tier();
    }
    const bool straight = std::all_of(op.plans.begin(), op.plans.end(),
                                      [&](const plan& p) { return lane_of(p) == lane_of(op.plans.front()); });
    for (plan& p : op.plans) {
        for (const slice& s : {p.from, p.to}) {
            if (s.tier() == tier::object) objects_[std::string{s.of->describe()}] = &p;
            else places_[{s.of, s.offset}] = &p;
            if (s.of->base) known_.insert(s.of);
        }
        // One that queues behind another's buffer or session has no turn yet.
        if (const auto lane = lane_of(p); straight && !lane.empty()) line_of(lane, p).waiting[index(op.options.priority)].insert(&p);
    }
    if (op.options.deadline.count() == 0) return;
    op.due = world_.now() + op.options.deadline;
    world_.at(op.due, [this, &op] { left(op); });
}

void oracle::left(operation& op)
{
    if (op.ends == 0)
        for (plan& p : op.plans) left(p);
}

/// It wants no more turns.
void oracle::left(const plan& p)
{
    const auto lane = lane_of(p);
    if (lane.empty()) return;
    line& l = line_of(lane, p);
    const std::size_t i = index(p.op->options.priority);
    l.waiting[i].erase(&p);
    if (l.waiting[i].empty()) l.passed_over[i] = 0;
}

void oracle::cancelled(operation& op)
{
    op.cancelled = world_.now();
    left(op);
}

bool oracle::arrived(const plan& p) const
{
    const bytes* now = p.area;
    std::uint64_t at = p.to.offset;
    if (!p.key.empty()) {
        const auto o = world_.object(p.key);
        if (!o || o->data.size() != p.expected.size()) return false;
        now = &o->data;
        at = 0;
    }
    if (now->size() < at + p.expected.size()) return false;
    std::uint64_t wrong = 0;
    if (!std::equal(p.expected.begin(), p.expected.end(), now->begin() + static_cast<std::ptrdiff_t>(at)))
        for (std::uint64_t i = 0; i < p.expected.size(); ++i) wrong += (*now)[at + i] != p.expected[i];
    // Under `verify` what was read from a store has been checked, and only what came after that may be wrong.
    const bool checked = p.op->options.verify && stores(p.from_tier);
    return wrong <= p.flips_written + (checked ? 0 : p.flips_read);
}

/// Whether this may be what became of the transfer.
bool oracle::fair(const operation& op, const plan& p, const error_code& e) const
{
    if (!e) return !p.doomed && p.landed == p.length && arrived(p);
    if (e == boost::asio::error::operation_aborted) return op.cancelled || op.orphaned;
    if (e == errc::deadline_missed) return world_.now() >= op.due;
    if (p.doomed && e == *p.doomed) return true;
    if (e == errc::short_transfer && p.starved) return true;
    if (e == errc::corrupt) return op.options.verify && (p.flips_read || p.rotten);
    return std::find(p.errors.begin(), p.errors.end(), e) != p.errors.end();
}

void oracle::judge_time(const operation& op, const error_code& e)
{
    if (!e && op.cancelled) expect(world_.now() - *op.cancelled <= lateness || excused(), "a cancelled operation goes on to the end");
    if (!e && late(op))
        fail("a success " + std::to_string((world_.now() - op.due).count()) + " ns after the deadline of " +
             describe(op.plans.front()) + " and " + std::to_string(op.plans.size() - 1) + " more, given " +
             std::to_string(op.options.deadline.count()) + " ns");
}

bool oracle::late(const operation& op) const { return world_.now() - lateness > op.due && !excused(); }

/// Objects change whole or not at all.
void oracle::judge_object(const plan& p)
{
    const auto now = world_.object(p.key);
    if (now == p.before) return;
    if (!arrived(p)) fail("half an object: " + describe(p));
    if (p.doomed) fail("an object of what was not to be trusted: " + describe(p));
}

void oracle::judge(operation& op, const error_code& e, std::size_t n)
{
    std::uint64_t landed = 0;
    bool all_well = true, somebody = false;
    for (std::size_t i = 0; i < op.plans.size(); ++i) {
        plan& p = op.plans[i];
        landed += p.landed;
        if (p.in_flight) fail("ended with chunks under way: " + describe(p));
        const bool has_status = !op.options.status.empty();
        const error_code own = has_status ? op.status[i] : e;
        if ((has_status || !e) && !fair(op, p, own)) fail(describe(p) + ", " + std::to_string(p.landed) + " landed: " + own.message());
        all_well = all_well && !own;
        somebody = somebody || fair(op, p, e);
        if (!p.key.empty()) judge_object(p);
    }
    if (!somebody) fail("nobody's error: " + e.message() + ", of " + describe(op.plans.front()));
    const bool stopped = e == boost::asio::error::operation_aborted || e == errc::deadline_missed;
    if (all_well ? e && !stopped : !e) fail("statuses and " + e.message());
    if (n != landed) fail(std::to_string(n) + " bytes said, " + std::to_string(landed) + " landed");
}

void oracle::ended(operation& op, const error_code& e, std::size_t n)
{
    expect(++op.ends == 1, "ended twice");
    op.ended_at = world_.now();
    if (op.ends != 1) return;
    judge(op, e, n);
    judge_time(op, e);
    for (plan& p : op.plans) { // from here on nothing may touch what it touched
        left(p);
        for (const slice& s : {p.from, p.to})
            if (const auto it = s.of ? places_.find({s.of, s.offset}) : places_.end();
                it != places_.end() && it->second == &p)
                places_.erase(it);
        std::erase_if(objects_, [&](const auto& o) { return o.second == &p; });
    }
}

void oracle::told(operation& op, bool aborted)
{
    expect(++op.told == 1, "told twice");
    if (aborted) return;
    for (const plan& p : op.plans)
        if (p.landed != p.length || (op.ends == 0 && !arrived(p))) fail("told before the last byte of " + describe(p));
}

// Devices.

void oracle::check_staging(const chunk& c)
{
    for (const slice* s : {&c.from, &c.to}) {
        if (!is_staging(*s)) continue;
        auto it = staging_in_use_.lower_bound({s->of, s->offset + s->length});
        if (it != staging_in_use_.begin() && (--it)->first.of == s->of && it->second > s->offset)
            fail("two chunks in one staging buffer");
        staging_in_use_[{s->of, s->offset}] = s->offset + s->length;
    }
}

/// Urgent before normal before background, with a floor for background, which is kept shallow.
void oracle::check_turn(std::string_view device, const chunk& c, const plan& p)
{
    line& l = line_of(device, p);
    const wye::limits& limits = limits_of(device);
    const std::uint64_t window = limits.window_bytes + limits.chunk_bytes;
    const std::size_t mine = index(p.op->options.priority), background = index(priority::background);
    const std::uint64_t n = c.from.length;
    for (std::size_t i = 0; i < priority_count; ++i) {
        if (i == mine) l.passed_over[i] = 0;
        else if (!l.waiting[i].empty() && l.in_flight[i] == 0 && (i == background || mine > i)) l.passed_over[i] += n;
    }
    if (l.passed_over[0] > window + burst + 2 * limits.chunk_bytes) fail("urgent work waits while other work is posted");
    if (l.passed_over[background] > background_floor * limits.chunk_bytes + window + burst)
        fail("background starves at " + std::string{device});
    if (mine != background) return;
    l.background_bytes += n;
    if (l.in_flight[background] != 0 && l.background_bytes > (limits.background_chunks + 1) * limits.chunk_bytes)
        fail("background is deep at " + std::string{device});
}

void oracle::submitted(std::string_view device, const chunk& c)
{
    plan* const p = plan_of(c);
    if (!p) return fail("a chunk of no operation, at " + std::string{device});
    ++p->in_flight;
    const operation& op = *p->op;
    if (op.cancelled && c.step == step::commit) fail("committed after it was cancelled: " + describe(*p));
    if (c.step != step::move) return;
    if (op.cancelled) fail("posted after it was cancelled: " + describe(*p));
    if (late(op)) fail("posted after its deadline: " + describe(*p));
    if (op.plans.size() == 1 && op.ends) fail("posted after its end: " + describe(*p));
    const bool straight = plan_at(c.from) && plan_at(c.to);
    if (straight && c.from.offset - p->from.offset != c.to.offset - p->to.offset) fail("bytes out of place: " + describe(*p));
    if (final_hop(c) && plan_at(c.to) != p) fail("bytes to where none belong: " + describe(*p));
    check_staging(c);
    check_turn(device, c, *p);
    ++line_of(device, *p).in_flight[index(op.options.priority)];
    if (const auto lane = lane_of(*p); !lane.empty()) {
        // A remainder was given before.
        const std::uint64_t upto = c.from.offset + c.from.length - p->from.offset;
        p->posted = std::max(p->posted, upto);
        if (p->posted == p->length) left(*p);
    }
}

void oracle::moved(std::string_view device, const chunk& c, std::uint64_t, std::uint64_t)
{
    if (!plan_of(c)) fail("bytes moved after the end of their operation, by " + std::string{device});
}

void oracle::flipped(std::string_view, const chunk& c, std::uint64_t)
{
    if (plan* const p = plan_of(c)) ++(stores(c.from.tier()) ? p->flips_read : p->flips_written);
}

void oracle::ended(std::string_view device, const chunk& c, const error_code& e, std::size_t n)
{
    plan* const p = plan_of(c);
    if (!p) return fail("a chunk that outlives its operation, at " + std::string{device});
    const bool counted = p->in_flight != 0; // what is moved at once never was
    p->in_flight -= counted;
    if (!e && n == 0 && c.step == step::move && c.from.length != 0) p->starved = true;
    if (e) p->errors.push_back(e);
    if (e || p->starved) p->op->options.status.empty() ? left(*p->op) : left(*p);
    if (c.step == step::commit && !e) p->landed += p->length;
    if (c.step != step::move) return;
    if (counted) {
        line& l = line_of(device, *p);
        --l.in_flight[index(p->op->options.priority)];
        if (p->op->options.priority == priority::background) l.background_bytes -= c.from.length;
    }
    for (const slice* s : {&c.from, &c.to})
        if (is_staging(*s)) staging_in_use_.erase({s->of, s->offset});
    if (final_hop(c) && !(c.session && c.to.tier() == tier::object)) p->landed += n;
}

} // namespace wye::sweep
