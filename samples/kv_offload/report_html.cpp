// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <ostream>
#include <string_view>

#include "generator.hpp"

namespace kv {

namespace {

// VRAM, DRAM, FILE, OBJ, and what had to be computed.
constexpr std::array<std::string_view, level_count + 1> colours{"#0b7285", "#2f9e44", "#e8a100", "#ae3ec9",
                                                                "#adb5bd"};
constexpr double width = 860;

constexpr std::string_view head = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>kv_offload</title><style>
:root { color-scheme: light dark; --ink: #212529; --soft: #6c757d; --line: #dee2e6; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9ecef; --soft: #adb5bd; --line: #495057; --paper: #16191d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 900px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.facts div { border: 1px solid var(--line); border-radius: 8px; padding: .5rem .9rem; }
.facts b { display: block; font-size: 1.25rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: right; padding: .2rem .6rem;
       border-bottom: 1px solid var(--line); } td:first-child, th:first-child { text-align: left; }
</style></head><body>
)";

std::string escaped(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '&') out += "&amp;";
        else if (c == '"') out += "&quot;";
        else out += c;
    }
    return out;
}

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

void open_svg(std::ostream& out, double height) { out << "<svg viewBox=\"0 0 900 " << height << "\">\n"; }

void text(std::ostream& out, double x, double y, std::string_view words, std::string_view more = {})
{
    out << "<text x=\"" << x << "\" y=\"" << y << "\" " << more << '>' << escaped(words) << "</text>\n";
}

void box(std::ostream& out, double x, double y, double w, double h, std::string_view colour,
         std::string_view tip)
{
    out << "<rect x=\"" << fixed(x, 1) << "\" y=\"" << y << "\" width=\"" << fixed(w, 1) << "\" height=\""
        << h << "\" fill=\"" << colour << "\"><title>" << escaped(tip) << "</title></rect>\n";
}

void facts(std::ostream& out, const summary& s)
{
    const auto fact = [&](std::string_view name, const std::string& value) {
        out << "<div><b>" << value << "</b>" << name << "</div>\n";
    };
    out << "<div class=\"facts\">\n";
    fact("of blocks hit", percent(s.hit_rate));
    fact("without the shared block", percent(s.hit_rate_without_shared));
    fact("p95 of TTFT's I/O, FILE and OBJ hits", fixed(s.lower_io_ms.p95, 2) + " ms");
    fact("p99 of an urgent fetch", fixed(s.urgent_ms.p99, 2) + " ms");
    fact("stalled on I/O", fixed(std::chrono::duration<double>(s.result.moved.stall).count(), 2) + " s");
    fact("of prefill not recomputed", grouped(static_cast<std::uint64_t>(s.recompute_avoided_s)) + " s");
    fact("corruptions", grouped(s.result.moved.corruptions));
    fact("leaked leases", grouped(s.result.leaked_leases));
    out << "</div>\n";
}

void tier_bar(std::ostream& out, const summary& s)
{
    out << "<h2>Where the blocks were</h2>\n";
    open_svg(out, 76);
    double x = 20, legend = 20, rest = 1;
    const auto part = [&](std::string_view name, double share, std::string_view colour) {
        const std::string words = std::string{name} + " " + percent(share);
        box(out, x, 6, share * width, 34, colour, words);
        box(out, legend, 54, 12, 12, colour, words);
        text(out, legend + 18, 64, words);
        x += share * width, legend += 140;
    };
    for (const auto& t : s.tiers) {
        part(name_of(t.where), t.share, colours[static_cast<std::size_t>(t.where)]);
        rest -= t.share;
    }
    part("computed", std::max(0.0, rest), colours.back());
    out << "</svg>\n";
}

/// Hit shares over the replay: each tier's band on top of the one before.
void timeline(std::ostream& out, const summary& s)
{
    const auto& samples = s.result.timeline;
    if (samples.size() < 3) return;
    const std::size_t step = std::max<std::size_t>(1, samples.size() / 120);
    out << "<h2>Hits over the replay</h2>\n";
    open_svg(out, 200);
    std::array<std::string, level_count> above, below;
    for (std::size_t i = step; i < samples.size(); i += step) {
        const double asked = double(samples[i][level_count] - samples[i - step][level_count]);
        const std::string x = fixed(40 + (width - 20) * double(i) / double(samples.size()), 1);
        double sum = 0;
        for (std::size_t l = 0; l < level_count; ++l) {
            below[l] = x + ',' + fixed(170 - 150 * sum, 1) + ' ' + below[l];
            sum += asked > 0 ? double(samples[i][l] - samples[i - step][l]) / asked : 0;
            above[l] += x + ',' + fixed(170 - 150 * sum, 1) + ' ';
        }
    }
    for (const int share : {0, 50, 100}) {
        const double y = 170 - 1.5 * share;
        out << "<line class=\"grid\" x1=\"46\" x2=\"880\" y1=\"" << y << "\" y2=\"" << y << "\"/>\n";
        text(out, 2, y + 4, std::to_string(share) + " %", "class=\"soft\"");
    }
    for (std::size_t l = 0; l < level_count; ++l)
        out << "<polygon points=\"" << above[l] << below[l] << "\" fill=\"" << colours[l] << "\"/>\n";
    text(out, 40, 192, "first request", "class=\"soft\"");
    text(out, 880, 192, grouped(s.result.requests) + " requests", "class=\"soft\" text-anchor=\"end\"");
    out << "</svg>\n";
}

void pair_bars(std::ostream& out, const summary& s)
{
    if (s.pairs.empty()) return;
    double most = 0;
    for (const auto& p : s.pairs) most = std::max(most, double(p.bytes));
    out << "<h2>Bytes moved between tiers</h2>\n";
    open_svg(out, 30 * double(s.pairs.size()) + 4);
    double y = 4;
    for (const auto& p : s.pairs) {
        const std::string words = in_bytes(double(p.bytes)) + " at " + fixed(p.gb_per_s, 2) +
                                  " GB/s while busy (" + fixed(p.busy_s, 1) + " s)";
        text(out, 20, y + 16, p.from + " \u2192 " + p.to);
        const double length = most > 0 ? 440 * double(p.bytes) / most : 0;
        box(out, 140, y, length, 22, colours[0], words);
        text(out, 150 + length, y + 16, words, "class=\"soft\"");
        y += 30;
    }
    out << "</svg>\n";
}

/// The share of samples at or below each time, times on a logarithmic axis from 10 us to 1 s.
void distribution(std::ostream& out, std::vector<float> values, std::string_view name, int line,
                  std::string_view colour)
{
    text(out, 560, 130 + 18 * line, std::string{name} + " (" + grouped(values.size()) + ")",
         "style=\"fill:" + std::string{colour} + "\"");
    if (values.empty()) return;
    std::sort(values.begin(), values.end());
    out << "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" << colour << "\" points=\"";
    for (int i = 0; i <= 200; ++i) {
        const auto at = static_cast<std::size_t>(double(i) / 200 * double(values.size() - 1));
        const double decades = std::log10(std::clamp(double(values[at]), 1e-2, 1e3)) + 2;
        out << fixed(40 + (width - 20) / 5 * decades, 1) << ',' << fixed(190 - 0.85 * i, 1) << ' ';
    }
    out << "\"/>\n";
}

void distributions(std::ostream& out, const summary& s)
{
    out << "<h2>Time waited for blocks</h2><p>Share of requests (or fetches) whose blocks were there within "
           "a time. The prefill that follows is modelled, and not in here.</p>\n";
    open_svg(out, 220);
    constexpr std::array<std::string_view, 6> ticks{"10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"};
    for (std::size_t i = 0; i < ticks.size(); ++i) {
        const double x = 40 + (width - 20) / 5 * double(i);
        out << "<line class=\"grid\" y1=\"20\" y2=\"190\" x1=\"" << x << "\" x2=\"" << x << "\"/>\n";
        text(out, x, 208, ticks[i], "class=\"soft\" text-anchor=\"middle\"");
    }
    distribution(out, s.result.io_ms, "all requests", 0, colours[0]);
    distribution(out, s.result.lower_io_ms, "requests with hits in FILE or OBJ", 1, colours[2]);
    distribution(out, s.result.moved.urgent_ms, "urgent fetches", 2, colours[3]);
    out << "</svg>\n";
}

void tables(std::ostream& out, const summary& s)
{
    out << "<h2>Tiers</h2><table><tr><th>tier</th><th>capacity, blocks</th><th>hits, blocks</th><th>hits, "
           "tokens</th><th>share</th></tr>\n";
    for (const auto& t : s.tiers)
        out << "<tr><td>" << name_of(t.where) << " (" << escaped(t.what) << ")</td><td>"
            << (t.capacity ? grouped(t.capacity) : "unbounded") << "</td><td>" << grouped(t.hits.blocks)
            << "</td><td>" << grouped(t.hits.tokens) << "</td><td>" << percent(t.share) << "</td></tr>\n";
    out << "</table>\n<h2>Times</h2><table><tr><th>ms</th><th>p50</th><th>p95</th><th>p99</th>"
           "<th>samples</th></tr>\n";
    const auto row = [&](std::string_view name, const quantiles& q) {
        out << "<tr><td>" << name << "</td><td>" << fixed(q.p50, 2) << "</td><td>" << fixed(q.p95, 2)
            << "</td><td>" << fixed(q.p99, 2) << "</td><td>" << grouped(q.samples) << "</td></tr>\n";
    };
    row("TTFT: measured I/O and modelled prefill", s.ttft_ms);
    row("its I/O", s.io_ms);
    row("its I/O, hits in FILE or OBJ", s.lower_io_ms);
    row("urgent fetch", s.urgent_ms);
    out << "</table>\n";
}

} // namespace

void write_html(std::ostream& out, const summary& s)
{
    const settings& set = s.settings;
    out << head << "<h1>kv_offload</h1>\n<p>policy " << name_of(set.policy) << ", evict "
        << (set.evict == eviction::lru ? "lru" : "turns") << ", blocks of "
        << in_bytes(double(set.block_bytes())) << "; " << grouped(s.result.requests) << " requests, "
        << grouped(s.result.asked.tokens) << " tokens in " << fixed(s.result.wall_s, 1) << " s"
        << (s.result.interrupted ? "; interrupted" : "") << ". VRAM is DRAM that "
        << "plays it. Prefill is modelled at " << fixed(set.prefill_tokens_per_s, 0) << " tokens/s.</p>\n<p>"
        << escaped(set.trace.empty() ? "Generated: " + std::string{generator::description}
                                     : "Trace " + set.trace);
    if (s.survey) out << ". " << escaped(describe(*s.survey));
    out << ".</p>\n";
    facts(out, s);
    tier_bar(out, s);
    timeline(out, s);
    pair_bars(out, s);
    distributions(out, s);
    tables(out, s);
    out << "</body></html>\n";
}

} // namespace kv
