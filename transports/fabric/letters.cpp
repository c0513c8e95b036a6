// SPDX-License-Identifier: Apache-2.0
// What drivers like this one say to each other: that a rail is there, what is to be barred, and that it is. How reads are
// asked for is in serving.cpp. See docs/decisions/0015-fencing-writes.md.
#include <algorithm>

#include "driver.hpp"

namespace wye::ofi {

namespace {

constexpr auto ask_again = std::chrono::milliseconds{20}, ask_again_most = std::chrono::milliseconds{200};

} // namespace

wire::letter libfabric_driver::letter_to(const contact& k) const { return {k.known.door, id_here_, {}}; }

/// By whatever rail it can be posted on, `not_over` last; another attempt begins with another.
bool libfabric_driver::say(contact& k, std::uint32_t attempt, std::uint32_t not_over, const wire::letter& l) noexcept
{
    const wire::bytes message = wire::encode(l);
    const std::uint32_t n = rails();
    for (std::uint32_t i = 0; i + 1 < n; ++i)
        if (send_over(k.paths[(not_over + 1 + (attempt + i) % (n - 1)) % n], std::byte{1}, message)) return true;
    return send_over(k.paths[not_over], std::byte{1}, message);
}

/// What the peer is to be asked about this way: what it was asked and has not answered, or what has come since.
std::optional<wire::bar> libfabric_driver::next_bar(path& p, steady::time_point now) noexcept
{
    if (!p.owes() || stations_[p.mine].closing) return std::nullopt;
    if (p.bar == 0) {
        p.barring = std::exchange(p.lost, {});
        p.bar = ++last_bar_;
        p.asked = 0;
        p.ask_at = now;
        p.bar_ends = now + options_.bar_within;
    }
    wire::bar b{static_cast<std::uint8_t>(p.mine), p.bar, {}};
    if (closes_paths_) return b;
    for (const chunk* c : p.barring) {
        const wire::bar::posted by{keys_of(*c).what.token, c->scratch[1]};
        const bool known = std::find(b.all.begin(), b.all.end(), by) != b.all.end();
        if (!known && b.all.size() < wire::most_tokens) b.all.push_back(by);
    }
    return b;
}

/// With no rail open there is none to ask by: one that is fenced is opened for it, sooner than the runtime wants it.
void libfabric_driver::open_to_ask() noexcept
{
    if (std::any_of(rails_.begin(), rails_.end(), [](const auto& r) { return r->is_open(); })) return;
    for (std::uint32_t r = 0; r < rails(); ++r) {
        if (stations_[r].closing) continue;
        try {
            return reopen(r);
        } catch (const system_error&) {
            // another, or later
        }
    }
}

/// Asks, and gives up. A peer that does not answer by any rail for so long has not been heard by the runtime either,
/// which gives it up sooner (`peer_options::lost_after`) unless told otherwise. What holds then: here all is closed, so
/// nothing leaves any more, but bytes that are on their way may land over there until that side closes its end, which
/// it does when its runtime gives us up. So the chunks end in `errc::peer_lost`, never in one that is sent again:
/// nothing is told of them, and over there nobody takes their pages for finished before that.
void libfabric_driver::look_at_bars(steady::time_point now) noexcept
{
    each_path([&](path& p) {
        const auto b = next_bar(p, now);
        if (!b) return;
        if (now >= p.bar_ends) { // nor would it say anything of the others
            for (chunk* c : std::exchange(p.lost, {})) end(*c, errc::peer_lost, 0);
            return barred(p, errc::peer_lost);
        }
        if (now >= p.ask_at) {
            wire::letter l = letter_to(*p.to);
            if (const rail& r = *rails_[p.mine]; r.is_open()) // where the answer may go
                l.records.emplace_back(wire::ping{static_cast<std::uint8_t>(p.mine), r.address()});
            l.records.emplace_back(*b);
            if (!say(*p.to, p.asked, p.mine, l)) open_to_ask();
            p.ask_at = now + std::min(ask_again * (1 << std::min(p.asked, 8u)), ask_again_most);
            ++p.asked;
        }
        look_by(std::min(p.ask_at, p.bar_ends));
    });
}

/// Nothing of what it was asked about touches memory any more.
void libfabric_driver::barred(path& p, error_code e) noexcept
{
    p.bar = 0;
    for (chunk* c : std::exchange(p.barring, {})) end(*c, e, 0);
    if (p.owes()) look_by(steady::now());
}

/// A message of another driver like this one. It is input.
void libfabric_driver::heard(wire::view message) noexcept
{
    const auto l = wire::decode_letter(message);
    contact* const k = l && l->door == door_ ? find(l->from) : nullptr;
    if (!k) {
        ++strays_;
        return;
    }
    wire::letter answers = letter_to(*k);
    for (const wire::record& r : l->records) {
        if (const auto* ping = std::get_if<wire::ping>(&r)) take(*k, *ping);
        if (const auto* barred = std::get_if<wire::barred>(&r)) take(*k, *barred);
        if (const auto* wants = std::get_if<wire::wants>(&r)) take(*k, *wants);
        if (const auto* served = std::get_if<wire::served>(&r)) take(*k, *served);
        const auto* const bar = std::get_if<wire::bar>(&r);
        if (bar && answers.records.size() < 6) answer_bar(*k, *bar, answers);
    }
    if (!answers.records.empty()) answer_to(*k, answers);
}

/// False: not yet.
bool libfabric_driver::answer_bar(contact& k, const wire::bar& b, wire::letter& with)
{
    auto done = take(k, b);
    if (!done) return false;
    with.records.emplace_back(std::move(*done)); // first, so that what it asked is not asked again
    // What we lost by closing that is theirs to bar, before they post there again: else each would go on breaking
    // what the other has just begun.
    path& p = k.paths[b.rail % rails()];
    if (const auto ours = next_bar(p, steady::now())) with.records.emplace_back(*ours);
    return true;
}

/// By each of their rails: any of them may be what this is about, or closed since. Heard twice it is heard once.
void libfabric_driver::answer_to(contact& k, const wire::letter& l) noexcept
{
    const wire::bytes message = wire::encode(l);
    for (const entry& e : k.entries) send_over(k.paths[e.mine], e, std::byte{1}, message);
}

void libfabric_driver::take(contact& k, const wire::ping& p)
{
    if (p.rail >= k.known.rails.size() || p.address.size() != k.known.rails[p.rail].size()) return;
    if (p.address == k.known.rails[p.rail]) return;
    for (entry& e : k.entries)
        if (e.theirs == p.rail) close_entry(k, e, false);
    k.known.rails[p.rail] = p.address;
    for (entry& e : k.entries)
        if (e.theirs == p.rail) e.at = rails_[e.mine]->know(p.address).value_or(FI_ADDR_UNSPEC);
}

/// Nothing: keys are being changed for it. It is answered then, or when it is asked again.
std::optional<wire::barred> libfabric_driver::take(contact& k, const wire::bar& b)
{
    wire::barred done{b.number, {}};
    entry* const e = k.door_of(b.rail, rails());
    if (!e) return done;
    const bool fresh = b.number > e->barred; // it may have been asked twice, and have begun anew since the first time
    e->barred = std::max(e->barred, b.number);
    if (fresh && closes_paths_ && rails_[e->mine]->is_open()) close_entry(k, *e, true);
    const std::uint64_t bit = std::uint64_t{1} << e->mine;
    const auto again = [this, from = k.known.id, b] {
        contact* const asked = find(from);
        if (!asked) return;
        wire::letter l = letter_to(*asked);
        if (answer_bar(*asked, b, l)) answer_to(*asked, l);
    };
    bool changing = false;
    for (const auto& [token, by] : b.all) {
        const auto it = by_token_.find(token);
        if (it == by_token_.end()) continue;
        granted& g = *it->second;
        // By another key than that of now nothing comes in, whoever asked for that to be so.
        if (fresh && !closes_paths_ && by == g.described.keys[e->mine] && !(g.changing & bit)) rekey(g, e->mine, again);
        changing = changing || g.changing & bit;
        std::erase_if(done.keys, [&t = token](const auto& said) { return said.token == t; });
        if (g.mrs[e->mine]) done.keys.push_back({token, g.described.keys[e->mine]});
    }
    if (changing) return std::nullopt;
    return done;
}

/// By the old key nothing comes in any more; without a new one, by none.
void libfabric_driver::rekey(granted& g, std::uint32_t index, std::function<void()> changed)
{
    const std::uint64_t bit = std::uint64_t{1} << index;
    rail* const r = rails_[index].get();
    const stretch memory{*g.what};
    r->end_key(std::move(g.mrs[index]), memory);
    g.changing |= bit;
    const auto fresh = std::make_shared<handle<fid_mr>>();
    work(
        [r, fresh, memory, rights = rights_of(g.described.access)] {
            try {
                *fresh = r->enroll(memory, rights);
            } catch (const std::exception&) {
                // Then it is as if it had been withdrawn there.
            }
        },
        [this, fresh, index, bit, token = g.described.token, changed = std::move(changed)] {
            const auto it = by_token_.find(token);
            if (it == by_token_.end()) return; // withdrawn meanwhile; nobody has heard of the new one
            granted& now = *it->second;
            now.changing &= ~bit;
            now.mrs[index] = std::move(*fresh);
            if (now.mrs[index]) now.described.keys[index] = ::fi_mr_key(now.mrs[index].get());
            changed();
        });
}

void libfabric_driver::take(contact& k, const wire::barred& b)
{
    const auto asked = [&](const path& p) { return p.bar != 0 && p.bar == b.number; };
    const auto it = std::find_if(k.paths.begin(), k.paths.end(), asked);
    if (it == k.paths.end()) return;
    std::erase_if(it->barring, [&](chunk* c) {
        key_set& keys = keys_of(*c);
        const auto same = [&](const wire::barred::key& n) { return n.token == keys.what.token; };
        const auto now = std::find_if(b.keys.begin(), b.keys.end(), same);
        if (now != b.keys.end()) keys.what.keys[k.of(*it).theirs] = now->key;
        if (closes_paths_ || now != b.keys.end()) return false;
        end(*c, errc::withdrawn, 0);
        return true;
    });
    barred(*it, stations_[it->mine].fenced ? errc::rail_lost : errc::path_lost);
}

} // namespace wye::ofi
