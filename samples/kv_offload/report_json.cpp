// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <array>
#include <ostream>

#include <boost/json.hpp>

#include "generator.hpp"

namespace kv {

namespace {

namespace json = boost::json;

json::value of(std::uint64_t n) { return n; }

json::value of(const amount& a) { return {{"blocks", a.blocks}, {"tokens", a.tokens}}; }

json::value of(const quantiles& q)
{
    return {{"p50", q.p50}, {"p95", q.p95}, {"p99", q.p99}, {"samples", q.samples}};
}

json::value of(const summary::pair& p)
{
    return {{"from", p.from},         {"to", p.to},         {"bytes", p.bytes},
            {"gb_per_s", p.gb_per_s}, {"busy_s", p.busy_s}, {"operations", p.operations},
            {"p50_ms", p.p50_ms},     {"p99_ms", p.p99_ms}};
}

json::object trace_of(const summary& s)
{
    json::object trace{{"source", s.settings.trace.empty() ? "generated" : s.settings.trace}};
    if (s.settings.trace.empty()) trace["statistics"] = generator::description;
    if (!s.survey) return trace;
    trace["requests"] = s.survey->requests;
    trace["tokens"] = s.survey->tokens;
    trace["blocks"] = s.survey->blocks;
    trace["distinct_blocks"] = s.survey->distinct;
    trace["arrivals"] = s.survey->arrivals;
    trace["largest_burst"] = s.survey->largest_burst;
    trace["span_s"] = s.survey->span_ms / 1e3;
    return trace;
}

json::object settings_of(const summary& s)
{
    const settings& set = s.settings;
    return {{"policy", name_of(set.policy)},
            {"evict", set.evict == eviction::lru ? "lru" : "turns"},
            {"block_bytes", set.block_bytes()},
            {"vram", name_of(set.vram)},
            {"vram_blocks", set.vram_blocks},
            {"dram_blocks", set.dram_blocks},
            {"file_blocks", set.file_blocks},
            {"spare_blocks", s.spare_blocks},
            {"object", set.object.empty() ? "none" : set.object},
            {"verify", set.verify},
            {"speedup", set.speedup == 0 ? json::value("max") : json::value(set.speedup)},
            {"prefill_tokens_per_s", set.prefill_tokens_per_s},
            {"file_driver", s.file_driver}};
}

template <class T>
json::object by_tier(const std::array<T, level_count>& values)
{
    constexpr std::array<const char*, level_count> keys{"vram", "dram", "file", "object"};
    json::object out;
    for (std::size_t l = 0; l < level_count; ++l) out[keys[l]] = of(values[l]);
    return out;
}

json::object document(const summary& s)
{
    const replay_result& r = s.result;
    const movement& m = r.moved;
    json::array pairs;
    for (const auto& p : s.pairs) pairs.push_back(of(p));
    return {{"settings", settings_of(s)},
            {"trace", trace_of(s)},
            {"requests", r.requests},
            {"tokens", r.asked.tokens},
            {"blocks", r.asked.blocks},
            {"hits", by_tier(r.hits)},
            {"hits_when_touched_blocks", by_tier(r.hits_when_touched)},
            {"hit_rate",
             {{"total", s.hit_rate},
              {"without_shared_block", s.hit_rate_without_shared},
              {"tokens", s.token_hit_rate},
              {"tokens_without_shared_block", s.token_hit_rate_without_shared}}},
            {"pairs", std::move(pairs)},
            {"ttft_ms", of(s.ttft_ms)},
            {"ttft_is_modelled", true},
            {"ttft_io_ms", of(s.lower_io_ms)}, // of requests with hits in FILE or OBJ
            {"ttft_io_all_ms", of(s.io_ms)},
            {"urgent_fetch_ms", of(s.urgent_ms)},
            {"stall_s", std::chrono::duration<double>(m.stall).count()},
            {"recompute_avoided_s", s.recompute_avoided_s},
            {"prefetched_blocks", m.prefetched},
            {"wasted_prefetch_bytes", s.wasted_prefetch_bytes},
            {"served_early_blocks", by_tier(m.served_early)},
            {"late_loads", m.late_loads},
            {"failed_loads", m.failed_loads},
            {"failed_stores", m.failed_stores},
            {"leaked_leases", r.leaked_leases},
            {"corruptions", m.corruptions},
            {"interrupted", r.interrupted},
            {"wall_s", r.wall_s},
            {"peak_rss_bytes", s.peak_rss_bytes}};
}

} // namespace

void write_json(std::ostream& out, const summary& s) { out << json::serialize(document(s)) << '\n'; }

} // namespace kv
