// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <ostream>
#include <string>
#include <utility>

#include <boost/json.hpp>

#include <figures.hpp>

#include "report.hpp"

namespace pd {

namespace {

namespace json = boost::json;

json::object of(const engines& e) { return {{"workers", e.workers}, {"ranks", e.ranks}}; }

json::object times(const std::vector<float>& ms)
{
    const samples::quantiles q = samples::quantiles_of(ms);
    return {{"p50", q.p50}, {"p95", q.p95}, {"p99", q.p99}, {"samples", q.samples}};
}

json::array of(const std::vector<std::string>& all)
{
    json::array out;
    for (const std::string& one : all) out.emplace_back(one);
    return out;
}

json::object settings_of(const summary& s)
{
    const settings& set = s.settings;
    return {{"model", set.model.name},
            {"direction", set.direction == direction::write ? "write" : "read"},
            {"prefill", of(set.prefill)},
            {"decode", of(set.decode)},
            {"layers", set.model.layers},
            {"page_tokens", set.page_tokens},
            {"page_bytes", set.page_bytes()},
            {"scale", set.scale},
            {"pages", set.pages},
            {"requests", set.requests},
            {"concurrency", set.concurrency},
            {"max_tokens", set.max_tokens},
            {"seed", set.seed},
            {"layerwise", set.layerwise},
            {"layer_us", double(set.layer_time.count()) / 1e3},
            {"lease_s", double(set.lease.count()) / 1e9},
            {"verify", set.verify},
            {"memory", name_of(set.memory)},
            {"found_by", set.directory.empty() ? "side channels" : "directory"},
            {"rails", of(set.rails)}};
}

json::value overlap_of(const summary& s)
{
    if (!s.settings.layerwise) return nullptr;
    return {{"plain_ms", s.outcome.plain.ms()}, {"layerwise_ms", s.outcome.layerwise.ms()}, {"hidden", s.hidden()}};
}

/// The first one.
json::value killing_of(const summary& s)
{
    if (s.outcome.killed.empty()) return nullptr;
    const outcome::killing& k = s.outcome.killed.front();
    return {{"who", k.who},
            {"after_requests", k.after},
            {"requests_with_it", k.requests},
            {"pages_held_for_it", k.pages},
            {"holds_ended", {{"lost", k.lost}, {"revoked", k.revoked}, {"told", k.told}}},
            {"freed_within_s", k.longest_hold_s}};
}

json::array engines_of(const summary& s)
{
    json::array out;
    for (const outcome::engine& e : s.outcome.engines)
        out.push_back({{"name", e.name},
                       {"requests", e.requests},
                       {"joined", e.guest},
                       {"end", e.is == e.lost ? "lost" : e.is == e.left ? "left" : "stayed"}});
    return out;
}

json::array ranks_of(const summary& s)
{
    json::array out;
    for (const rank_report& r : s.ranks)
        out.push_back({{"name", r.name}, {"bytes", r.bytes}, {"peak_rss_bytes", r.peak_rss}});
    return out;
}

json::object document(const summary& s)
{
    const outcome& o = s.outcome;
    return {{"settings", settings_of(s)},
            {"requests", {{"complete", o.complete}, {"failed", o.failed}, {"retried", o.retried}}},
            {"tokens", o.tokens},
            {"pages", {{"moved", o.pages}, {"verified", o.verified}, {"wrong", o.wrong}}},
            {"bytes", o.bytes},
            {"wall_s", o.wall_s},
            {"moving_s", o.moving_s},
            {"gb_per_s", s.gb_per_s()},
            {"gb_per_s_moving", s.gb_per_s_moving()},
            {"transfer_ms", times(o.transfer_ms)},
            {"request_ms", times(o.request_ms)},
            {"overlap", overlap_of(s)},
            {"killed", killing_of(s)},
            {"leaks", {{"total", s.leaks()}, {"prefill_pages", o.prefill_leaks}, {"decode_pages", o.decode_leaks}}},
            {"engines", engines_of(s)},
            {"joined", s.joined()},
            {"left", s.left()},
            {"lost", s.outcome.killed.size()},
            {"ranks", ranks_of(s)},
            {"interrupted", o.interrupted}};
}

} // namespace

void write_json(std::ostream& out, const summary& s) { out << json::serialize(document(s)) << '\n'; }

} // namespace pd
