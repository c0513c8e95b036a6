// SPDX-License-Identifier: Apache-2.0
#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>

#include <figures.hpp>

#include "report.hpp"

namespace pd {

namespace {

using samples::fixed;
using samples::grouped;
using samples::in_bytes;

std::ostream& label(std::ostream& out, std::string_view name)
{
    return out << "  " << std::left << std::setw(11) << name << std::right;
}

std::string times(const std::vector<float>& ms)
{
    const samples::quantiles q = samples::quantiles_of(ms);
    return "p50 " + fixed(q.p50, 2) + "   p95 " + fixed(q.p95, 2) + "   p99 " + fixed(q.p99, 2) + " ms";
}

std::string workers(const engines& e, std::string_view name)
{
    return std::to_string(e.workers) + " " + std::string{name} + (e.workers == 1 ? "" : "s") + " of " + std::to_string(e.ranks) +
           (e.ranks == 1 ? " rank" : " ranks");
}

void print_moved(std::ostream& out, const summary& s)
{
    const outcome& o = s.outcome;
    label(out, "moved") << grouped(o.complete) << " requests, " << grouped(o.tokens) << " tokens, " << grouped(o.pages) << " pages, "
                       << in_bytes(double(o.bytes)) << " in " << fixed(o.wall_s, 2) << " s" << (o.interrupted ? "; INTERRUPTED\n" : "\n");
    label(out, "rate") << fixed(s.gb_per_s(), 3) << " GB/s, " << fixed(s.gb_per_s_moving(), 3)
                      << " while a transfer was under way\n";
    label(out, "transfer") << times(o.transfer_ms) << "   first copy's begin to last rank's word\n";
    label(out, "request") << times(o.request_ms) << "   begun to "
                         << (s.settings.verify ? "verified" : "arrived") << " at decode\n";
    if (s.settings.verify) label(out, "verified") << grouped(o.verified) << " ranks' pages, " << grouped(o.wrong) << " wrong\n";
    else label(out, "verified") << "nothing (--verify off)\n";
}

void print_overlap(std::ostream& out, const summary& s)
{
    if (!s.settings.layerwise) return;
    label(out, "layerwise") << fixed(100 * s.hidden(), 1) << " % of a transfer hidden behind "
                           << fixed(double(s.settings.layer_time.count()) / 1e3, 0) << " us of (simulated) compute a layer: "
                           << fixed(s.outcome.layerwise.ms(), 2) << " of " << fixed(s.outcome.plain.ms(), 2) << " ms are left\n";
}

void print_killing(std::ostream& out, const outcome::killing& k)
{
    const char* const other = k.of == role::prefill ? "decode" : "prefill";
    label(out, "lost") << k.who << " after " << grouped(k.after) << " requests, with " << grouped(k.requests) << " under way: "
                       << other << " freed " << grouped(k.pages) << " pages within " << fixed(k.longest_hold_s, 2) << " s\n";
    label(out, "") << "(ranks' holds: " << k.lost << " ended as the peer was lost, " << k.revoked << " by revoking, " << k.told
                  << " as told)\n";
}

void print_killed(std::ostream& out, const summary& s)
{
    for (const outcome::killing& k : s.outcome.killed) print_killing(out, k);
    if (s.settings.kill_decode != 0 && s.outcome.killed.empty()) label(out, "killed") << "nobody: it came to an end before\n";
    if (s.outcome.retried > 0) label(out, "retried") << grouped(s.outcome.retried) << " requests begun again elsewhere\n";
}

/// Who has served how much, when that was not the same engines all the time.
void print_engines(std::ostream& out, const summary& s)
{
    if (s.joined() == 0) return;
    label(out, "joined") << grouped(s.joined()) << " engines, " << grouped(s.left()) << " left, " << grouped(s.outcome.killed.size())
                        << " lost\n";
    for (const outcome::engine& e : s.outcome.engines)
        label(out, "") << std::left << std::setw(12) << e.name << std::right << grouped(e.requests) << " requests"
                       << (e.guest ? ", joined" : "") << (e.is == e.left ? ", left" : e.is == e.lost ? ", lost" : "") << '\n';
}

} // namespace

void print_head(std::ostream& out, const settings& s)
{
    out << "prefill_decode: " << s.model.name << ", " << (s.direction == direction::write ? "prefill writes, " : "decode reads, ")
        << workers(s.prefill, "prefill") << ", " << workers(s.decode, "decode") << '\n';
    label(out, "pages") << s.page_tokens << " tokens in " << s.model.layers << " layers, " << in_bytes(double(s.page_bytes()))
                        << " (heads 1/" << s.scale << " of the model's), pools of " << grouped(s.pages) << ", in "
                        << name_of(s.memory) << (s.memory == memory_kind::standin ? ": DRAM that plays it" : "") << '\n'
                        << std::flush;
}

void print_table(std::ostream& out, const summary& s)
{
    print_moved(out, s);
    print_overlap(out, s);
    print_killed(out, s);
    print_engines(out, s);
    label(out, "failed") << grouped(s.outcome.failed) << '\n';
    label(out, "leaks") << grouped(s.leaks()) << '\n';
}

} // namespace pd
