// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>

#include "generator.hpp"

namespace kv {

namespace {

std::string percent(double share) { return fixed(100 * share, 2) + " %"; }

/// Breaks a long text into lines that go on below its first word.
std::string wrapped(const std::string& text)
{
    constexpr std::size_t margin = 11, most = 110;
    std::istringstream words{text};
    std::string out, word;
    for (std::size_t column = margin; words >> word; column += word.size() + 1) {
        if (column + word.size() > most) out += '\n' + std::string(margin, ' '), column = margin;
        out += word + ' ';
    }
    return out;
}

std::string line_of(const quantiles& q)
{
    if (q.samples == 0) return "none";
    return "p50 " + fixed(q.p50, 2) + "   p95 " + fixed(q.p95, 2) + "   p99 " + fixed(q.p99, 2) + " ms   (" +
           grouped(q.samples) + ")";
}

void print_head(std::ostream& out, const summary& s)
{
    out << "kv_offload: " << name_of(s.settings.policy) << ", evict "
        << (s.settings.evict == eviction::lru ? "lru" : "turns") << ", blocks of " << block_tokens
        << " tokens, " << in_bytes(double(s.settings.block_bytes())) << " each";
    if (s.result.interrupted) out << "; INTERRUPTED";
    std::string trace = s.settings.trace.empty() ? "generated" : s.settings.trace;
    if (s.survey) trace += ": " + describe(*s.survey);
    if (s.settings.trace.empty()) trace += ". Model: " + std::string{generator::description};
    out << "\n  trace    " << wrapped(trace) << "\n  replayed " << grouped(s.result.requests) << " requests, "
        << grouped(s.result.asked.tokens) << " tokens, " << grouped(s.result.asked.blocks) << " blocks in "
        << fixed(s.result.wall_s, 2) << " s" << (s.settings.speedup == 0 ? ", back to back" : "") << "\n\n";
}

void print_tiers(std::ostream& out, const summary& s)
{
    out << "  tier   capacity            hits: blocks      tokens     share\n" << std::right;
    for (const auto& t : s.tiers) {
        const std::string bytes = in_bytes(double(t.capacity) * double(s.settings.block_bytes()));
        const std::string room = t.capacity ? grouped(t.capacity) + " (" + bytes + ")" : "unbounded";
        out << "  " << std::left << std::setw(7) << name_of(t.where) << std::setw(20) << room << std::right
            << std::setw(12) << grouped(t.hits.blocks) << std::setw(12) << grouped(t.hits.tokens)
            << std::setw(10) << percent(t.share) << "   " << t.what << '\n';
    }
    const amount all = s.result.all_hits();
    out << "  all" << std::setw(36) << grouped(all.blocks) << std::setw(12) << grouped(all.tokens)
        << std::setw(10) << percent(s.hit_rate) << "   " << percent(s.hit_rate_without_shared)
        << " without the block that every request shares\n\n";
}

void print_pairs(std::ostream& out, const summary& s)
{
    out << "  bytes moved          bytes       GB/s    busy s    p99 ms of a copy\n";
    for (const auto& p : s.pairs)
        out << "  " << std::left << std::setw(14) << p.from + " -> " + p.to << std::right << std::setw(14)
            << in_bytes(double(p.bytes)) << std::setw(9) << fixed(p.gb_per_s, 2) << std::setw(10)
            << fixed(p.busy_s, 2) << std::setw(10) << fixed(p.p99_ms, 2) << '\n';
    out << '\n';
}

void print_times(std::ostream& out, const summary& s)
{
    const auto line = [&out](std::string_view name) -> std::ostream& {
        return out << "  " << std::left << std::setw(22) << name << std::right;
    };
    const movement& m = s.result.moved;
    line("TTFT") << line_of(s.ttft_ms) << '\n';
    line("") << "measured I/O + modelled prefill, " << fixed(s.settings.prefill_tokens_per_s, 0) << " tokens/s\n";
    line("its I/O") << line_of(s.io_ms) << '\n';
    line("  hits in FILE, OBJ") << line_of(s.lower_io_ms) << '\n';
    line("urgent fetch") << line_of(s.urgent_ms) << '\n';
    line("stalled on I/O") << fixed(std::chrono::duration<double>(m.stall).count(), 2) << " s\n";
    line("prefill avoided") << grouped(static_cast<std::uint64_t>(s.recompute_avoided_s)) << " s\n";
    line("fetched ahead") << grouped(m.prefetched) << " blocks; for nothing "
                          << in_bytes(double(s.wasted_prefetch_bytes)) << '\n';
    line("computed after all") << grouped(m.late_loads) << " loads were late, " << grouped(m.failed_loads)
                               << " failed\n";
    line("stores failed") << grouped(m.failed_stores) << '\n';
    line("corruptions") << m.corruptions << '\n';
    line("leaked leases") << s.result.leaked_leases << '\n';
    line("peak RSS") << in_bytes(double(s.peak_rss_bytes)) << '\n';
}

} // namespace

void print_table(std::ostream& out, const summary& s)
{
    print_head(out, s);
    print_tiers(out, s);
    print_pairs(out, s);
    print_times(out, s);
}

} // namespace kv
