// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <figures.hpp>
#include <wye/metrics.hpp>

#include "replay.hpp"
#include "settings.hpp"

namespace kv {

using samples::fixed;
using samples::grouped;
using samples::in_bytes;
using samples::quantiles;
using samples::quantiles_of;

/// What to report, in every form.
struct summary {
    struct tier {
        level where;
        std::string what;             ///< "stand-in", the file's path, the URL
        std::uint64_t capacity = 0;   ///< blocks; 0: without bound
        amount hits;
        double share = 0;             ///< hits of all blocks asked for
    };
    struct pair {
        std::string from, to;
        std::uint64_t bytes = 0, operations = 0;
        double busy_s = 0, gb_per_s = 0; ///< while busy
        double p50_ms = 0, p99_ms = 0;   ///< of a copy
    };

    kv::settings settings;
    std::optional<trace_survey> survey; ///< of the source, where it could be read twice
    std::vector<tier> tiers;
    std::vector<pair> pairs;
    std::string file_driver;            ///< how the FILE tier is reached
    replay_result result;
    double hit_rate = 0, hit_rate_without_shared = 0;               ///< of blocks
    double token_hit_rate = 0, token_hit_rate_without_shared = 0;
    quantiles ttft_ms, io_ms, lower_io_ms, urgent_ms;
    double recompute_avoided_s = 0;     ///< by the modelled prefill
    std::uint64_t wasted_prefetch_bytes = 0;
    std::uint64_t spare_blocks = 0;     ///< of each bounded tier
    std::uint64_t peak_rss_bytes = 0;
};

summary summarise(const settings&, const std::optional<trace_survey>&, const hierarchy&, const replay_result&,
                  const wye::metrics&);

void print_table(std::ostream&, const summary&);
void write_json(std::ostream&, const summary&);
/// One page that needs nothing else.
void write_html(std::ostream&, const summary&);

/// The arrivals of the trace, in words.
std::string describe(const trace_survey&);

} // namespace kv
