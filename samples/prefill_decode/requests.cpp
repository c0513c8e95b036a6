// SPDX-License-Identifier: Apache-2.0
#include "requests.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "clock.hpp"

namespace pd {

namespace {

float ms_between(std::uint64_t from, std::uint64_t to) { return to > from ? float(double(to - from) / 1e6) : 0.0f; }

/// How long at least one of them lasted.
std::uint64_t covered(std::vector<std::pair<std::uint64_t, std::uint64_t>> spans)
{
    std::sort(spans.begin(), spans.end());
    std::uint64_t sum = 0, until = 0;
    for (const auto& [from, to] : spans) {
        if (to > std::max(from, until)) sum += to - std::max(from, until);
        until = std::max(until, to);
    }
    return sum;
}

} // namespace

page_table::page_table(std::uint32_t pages, std::uint64_t seed) : free_(pages), total_{pages}, random_{seed}
{
    std::iota(free_.begin(), free_.end(), 0u);
}

std::vector<std::uint32_t> page_table::take(std::uint32_t count)
{
    std::vector<std::uint32_t> pages;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::swap(free_[random_() % free_.size()], free_.back());
        pages.push_back(free_.back());
        free_.pop_back();
    }
    return pages;
}

void page_table::give_back(const std::vector<std::uint32_t>& pages) { free_.insert(free_.end(), pages.begin(), pages.end()); }

requests::requests(const settings& s, say to) : settings_{s}, say_{std::move(to)}, random_{s.seed}
{
    for (const role r : {role::prefill, role::decode})
        for (std::uint32_t e = 0; e < s.of(r).workers; ++e) all(r).push_back({{s.pages, random_()}, standing::serving});
}

std::uint32_t requests::expect(role r)
{
    const std::uint32_t e = engines(r);
    all(r).push_back({{settings_.pages, settings_.seed + e}, standing::expected, 0, false});
    return e;
}

void requests::admit(place at)
{
    of(at).is = standing::serving;
    of(at).came = true;
}

std::optional<place> requests::other_side(std::uint32_t id, role r) const noexcept
{
    const auto it = under_way_.find(id);
    if (it == under_way_.end()) return std::nullopt;
    return r == role::prefill ? place{role::decode, it->second.decode, 0} : place{role::prefill, it->second.prefill, 0};
}

bool requests::idle(place at) const noexcept
{
    return std::none_of(under_way_.begin(), under_way_.end(), [&](const auto& r) {
        return (at.role == role::prefill ? r.second.prefill : r.second.decode) == at.engine;
    });
}

/// Short ones and long ones: as many between 512 and 1,024 as between 256 and 512.
std::uint32_t requests::draw_tokens()
{
    const double least = std::min(settings_.page_tokens, settings_.max_tokens);
    const double share = double(random_() >> 11) * 0x1p-53;
    return static_cast<std::uint32_t>(least * std::pow(settings_.max_tokens / least, share) + 0.5);
}

std::optional<std::uint32_t> requests::pick(const std::vector<engine>& all, std::uint32_t pages) noexcept
{
    std::optional<std::uint32_t> best;
    for (std::uint32_t e = 0; e < all.size(); ++e)
        if (all[e].is == standing::serving && all[e].pages.free() >= pages && (!best || all[e].under_way < all[*best].under_way)) best = e;
    return best;
}

void requests::begin_some()
{
    if (begun_ns_ == 0) begun_ns_ = now_ns();
    while (!stopped_ && under_way_.size() - lost_under_way_ < settings_.concurrency) {
        if (!next_tokens_ && !again_.empty()) {
            next_tokens_ = again_.front();
            again_.pop_front();
            ++outcome_.retried;
        } else if (!next_tokens_) {
            if (drawn_ == settings_.requests) return;
            ++drawn_;
            next_tokens_ = draw_tokens();
        }
        const std::uint32_t pages = settings_.pages_for(*next_tokens_);
        const auto prefill = pick(prefill_, pages), decode = pick(decode_, pages);
        if (!prefill || !decode) return; // until some are given back
        begin(*std::exchange(next_tokens_, std::nullopt), *prefill, *decode);
    }
}

void requests::begin(std::uint32_t tokens, std::uint32_t prefill, std::uint32_t decode)
{
    const std::uint32_t id = ++last_id_, pages = settings_.pages_for(tokens);
    request& r = under_way_[id];
    r.tokens = tokens;
    r.prefill = prefill;
    r.decode = decode;
    r.prefill_pages = prefill_[prefill].pages.take(pages);
    r.decode_pages = decode_[decode].pages.take(pages);
    r.to_compute = settings_.direction == direction::read ? settings_.prefill.ranks : 0;
    r.to_release = settings_.prefill.ranks;
    r.to_arrive = settings_.decode.ranks;
    r.layerwise = settings_.layerwise && id % 2 == 1;
    r.begun_ns = now_ns();
    ++prefill_[prefill].under_way;
    ++decode_[decode].under_way;
    if (r.to_compute == 0) tell(role::decode, id, r);
    tell(role::prefill, id, r);
}

void requests::tell(role to, std::uint32_t id, const request& r)
{
    message m;
    m.f.what = verb::begin;
    m.f.request = id;
    m.f.tokens = r.tokens;
    m.f.layerwise = r.layerwise;
    m.f.engine = to == role::prefill ? r.decode : r.prefill;
    m.mine = to == role::prefill ? r.prefill_pages : r.decode_pages;
    m.theirs = to == role::prefill ? r.decode_pages : r.prefill_pages;
    say_(to, to == role::prefill ? r.prefill : r.decode, m);
}

void requests::heard(const message& m)
{
    const auto it = under_way_.find(m.f.request);
    if (it == under_way_.end()) return; // of an engine that is no more
    request& r = it->second;
    if (m.f.what == verb::computed) computed(it->first, r);
    else if (m.f.what == verb::arrived) arrived(r, m);
    else released(r, m);
    if (r.to_release != 0 || r.to_arrive != 0) return;
    finish(r);
    under_way_.erase(it);
}

void requests::computed(std::uint32_t id, request& r)
{
    if (!r.lost && --r.to_compute == 0) tell(role::decode, id, r);
}

void requests::arrived(request& r, const message& m)
{
    if (r.to_arrive == 0) return; // of a lost engine's rank that lives yet
    outcome_.verified += m.f.verified;
    outcome_.wrong += m.f.wrong;
    note_moved(r, m);
    note_ending(r, m);
    if (--r.to_arrive == 0) give_back(role::decode, r);
}

void requests::released(request& r, const message& m)
{
    if (r.to_release == 0) return;
    note_moved(r, m);
    note_ending(r, m);
    if (--r.to_release == 0) give_back(role::prefill, r);
}

void requests::give_back(role from, request& r)
{
    engine& e = of({from, from == role::prefill ? r.prefill : r.decode, 0});
    e.pages.give_back(from == role::prefill ? r.prefill_pages : r.decode_pages);
    --e.under_way;
    if (from == role::decode) r.arrived_ns = now_ns();
}

void requests::note_moved(request& r, const message& m)
{
    if (m.f.begun_ns == 0) return; // not one that copies
    r.bytes += m.f.bytes;
    r.first_ns = r.first_ns ? std::min(r.first_ns, m.f.begun_ns) : m.f.begun_ns;
    r.last_ns = std::max(r.last_ns, m.f.ended_ns);
    if (r.lost || m.f.how != ending::told) return;
    outcome::exposure& e = r.layerwise ? outcome_.layerwise : outcome_.plain;
    e.ns += m.f.exposed_ns;
    ++e.parts;
}

void requests::note_ending(request& r, const message& m)
{
    if (r.lost) {
        outcome::killing& k = outcome_.killed[*r.lost];
        ++(m.f.how == ending::lost ? k.lost : m.f.how == ending::revoked ? k.revoked : k.told);
        k.longest_hold_s = std::max(k.longest_hold_s, double(now_ns() - k.at_ns) / 1e9);
        return;
    }
    if (m.f.how == ending::told || !r.failure.empty()) return;
    r.failure = "request " + std::to_string(m.f.request) + ": " +
                (m.f.how == ending::lost      ? "a peer was lost"
                 : m.f.how == ending::revoked ? "a peer said nothing before the lease was over"
                                              : "a copy failed");
}

void requests::finish(const request& r)
{
    last_ns_ = now_ns();
    if (r.lost) {
        --lost_under_way_;
        return;
    }
    if (!r.failure.empty()) {
        ++outcome_.failed;
        if (outcome_.failure.empty()) outcome_.failure = r.failure;
        return;
    }
    ++outcome_.complete;
    ++prefill_[r.prefill].served;
    ++decode_[r.decode].served;
    outcome_.tokens += r.tokens;
    outcome_.pages += r.prefill_pages.size();
    outcome_.bytes += r.bytes;
    outcome_.transfer_ms.push_back(ms_between(r.first_ns, r.last_ns));
    outcome_.request_ms.push_back(ms_between(r.begun_ns, r.arrived_ns));
    moving_.emplace_back(r.first_ns, r.last_ns);
}

bool requests::over() const noexcept
{
    const bool all_begun = drawn_ == settings_.requests && !next_tokens_ && again_.empty();
    return under_way_.empty() && (stopped_ || all_begun);
}

std::optional<std::uint32_t> requests::victim() const noexcept
{
    const std::uint32_t e = settings_.decode.workers - 1;
    if (settings_.kill_decode == 0 || decode_[e].is == standing::lost || outcome_.complete < settings_.kill_decode)
        return std::nullopt;
    if (decode_[e].under_way == 0) return std::nullopt; // nobody would miss it
    return e;
}

void requests::lose(place at, std::string who)
{
    of(at).is = standing::lost;
    if (!of(at).came) return;
    outcome::killing& k = outcome_.killed.emplace_back();
    k.who = std::move(who);
    k.of = at.role;
    k.after = static_cast<std::uint32_t>(outcome_.complete);
    k.at_ns = now_ns();
    for (auto it = under_way_.begin(); it != under_way_.end();) {
        request& r = it->second;
        const bool its = (at.role == role::prefill ? r.prefill : r.decode) == at.engine;
        if (its && (at.role == role::prefill ? r.to_release : r.to_arrive) != 0) lose(r, at.role, outcome_.killed.size() - 1);
        if (r.to_release == 0 && r.to_arrive == 0) {
            finish(r);
            it = under_way_.erase(it);
        } else {
            ++it;
        }
    }
}

/// What the engine of that role has not done will not be done. The other one says when nobody touches its pages any more,
/// if it has begun.
void requests::lose(request& r, role gone, std::size_t index)
{
    outcome::killing& k = outcome_.killed[index];
    (gone == role::prefill ? r.to_release : r.to_arrive) = 0;
    if (gone == role::prefill && r.to_compute != 0 && r.to_arrive != 0) {
        r.to_arrive = 0; // nobody has told it to read
        give_back(role::decode, r);
    }
    ++k.requests;
    k.pages += r.to_release + r.to_arrive != 0 ? r.prefill_pages.size() : 0;
    if (!r.lost) {
        again_.push_back(r.tokens);
        ++lost_under_way_;
    }
    r.lost = index;
}

outcome requests::result() const
{
    outcome o = outcome_;
    o.wall_s = last_ns_ > begun_ns_ ? double(last_ns_ - begun_ns_) / 1e9 : 0;
    o.moving_s = double(covered(moving_)) / 1e9;
    o.interrupted = stopped_;
    for (const role r : {role::prefill, role::decode})
        for (std::uint32_t e = 0; e < engines(r); ++e) {
            const engine& it = all(r)[e];
            if (!it.came) continue;
            const bool lost = it.is == standing::lost;
            if (!lost) (r == role::prefill ? o.prefill_leaks : o.decode_leaks) += it.pages.taken();
            o.engines.push_back({place{r, e, 0}.engine_name(), it.served, e >= settings_.of(r).workers,
                                 lost ? outcome::engine::lost : it.is == standing::leaving ? outcome::engine::left : outcome::engine::stayed});
        }
    return o;
}

} // namespace pd
