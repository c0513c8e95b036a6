// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <algorithm>

#include <sys/resource.h>

namespace kv {

namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

double seconds(wye::duration d) { return std::chrono::duration<double>(d).count(); }

std::vector<summary::tier> tiers_of(const settings& s, const hierarchy& tiers, const replay_result& r)
{
    std::vector<summary::tier> out;
    const auto add = [&](level l, std::string what, std::uint64_t capacity) {
        if (!tiers.has(l)) return;
        const amount& hits = r.hits[static_cast<std::size_t>(l)];
        out.push_back(
            {l, std::move(what), capacity, hits, ratio(double(hits.blocks), double(r.asked.blocks))});
    };
    add(level::vram, s.vram == vram_kind::gpu ? tiers.gpu_name() : "stand-in: DRAM that plays it", s.vram_blocks);
    add(level::dram, "arena", s.dram_blocks);
    add(level::file, s.file.empty() ? "a temporary file" : s.file, s.file_blocks);
    add(level::object, s.object, 0);
    return out;
}

std::vector<summary::pair> pairs_of(const wye::metrics& m)
{
    std::vector<summary::pair> out;
    for (const wye::pair_metrics& p : m.pairs) {
        const double busy = seconds(p.busy);
        out.push_back({std::string{wye::name_of(p.from)}, std::string{wye::name_of(p.to)}, p.bytes,
                       p.operations, busy, ratio(double(p.bytes) / 1e9, busy),
                       seconds(p.latency.quantile(0.50)) * 1e3, seconds(p.latency.quantile(0.99)) * 1e3});
    }
    return out;
}

std::uint64_t peak_rss()
{
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
}

void fill_rates(summary& s)
{
    const amount asked = s.result.asked, hits = s.result.all_hits();
    const amount shared = s.result.shared_asked, found = s.result.shared_hits;
    s.hit_rate = s.result.hit_rate();
    s.token_hit_rate = ratio(double(hits.tokens), double(asked.tokens));
    s.hit_rate_without_shared =
        ratio(double(hits.blocks - found.blocks), double(asked.blocks - shared.blocks));
    s.token_hit_rate_without_shared =
        ratio(double(hits.tokens - found.tokens), double(asked.tokens - shared.tokens));
    const movement& moved = s.result.moved;
    const double computed_after_all = double(moved.late_loads + moved.failed_loads) * block_tokens;
    s.recompute_avoided_s =
        std::max(0.0, double(hits.tokens) - computed_after_all) / s.settings.prefill_tokens_per_s;
}

} // namespace

summary summarise(const settings& s, const std::optional<trace_survey>& survey, const hierarchy& tiers,
                  const replay_result& result, const wye::metrics& metrics)
{
    summary out;
    out.settings = s;
    out.survey = survey;
    out.result = result;
    out.tiers = tiers_of(s, tiers, result);
    out.pairs = pairs_of(metrics);
    for (const wye::driver_metrics& d : metrics.drivers)
        if (d.name.starts_with("file")) out.file_driver = d.name;
    fill_rates(out);
    out.ttft_ms = quantiles_of(result.ttft_ms);
    out.io_ms = quantiles_of(result.io_ms);
    out.lower_io_ms = quantiles_of(result.lower_io_ms);
    out.urgent_ms = quantiles_of(result.moved.urgent_ms);
    out.wasted_prefetch_bytes = result.moved.wasted_prefetches * s.block_bytes();
    out.spare_blocks = tiers.spare();
    out.peak_rss_bytes = peak_rss();
    return out;
}

std::string describe(const trace_survey& t)
{
    std::string text = grouped(t.requests) + " requests in " + fixed(t.span_ms / 60'000, 1) + " min, " +
                       grouped(t.requests ? t.tokens / t.requests : 0) + " tokens a prompt, " +
                       grouped(t.blocks) + " blocks, of which " +
                       fixed(100 * ratio(double(t.blocks - t.distinct), double(t.blocks)), 2) +
                       " % were asked for before (no cache hits more)";
    if (t.arrivals < t.requests)
        text += "; they arrive in bursts, " + grouped(t.arrivals) + " times, up to " +
                grouped(t.largest_burst) + " at once";
    return text;
}

} // namespace kv
