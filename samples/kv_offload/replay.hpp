// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <wye/wye.hpp>

#include "block_store.hpp"
#include "hierarchy.hpp"
#include "settings.hpp"
#include "tiered_index.hpp"
#include "trace.hpp"

namespace kv {

/// Blocks and their tokens.
struct amount {
    std::uint64_t blocks = 0, tokens = 0;
};

/// What a replay has done so far.
struct replay_result {
    std::uint64_t requests = 0;
    amount asked;                         ///< by all requests
    std::array<amount, level_count> hits; ///< found, by tier
    /// Hit blocks by the tier they were in when their turn came: touching the first blocks of a request may
    /// push its last ones down a tier.
    std::array<std::uint64_t, level_count> hits_when_touched{};
    amount shared_asked, shared_hits;     ///< of these, block 0, which all requests of Mooncake's traces share
    std::vector<float> ttft_ms;           ///< of each request: measured I/O and modelled prefill
    std::vector<float> io_ms;             ///< of each request: until its hits were at the top, and checked
    std::vector<float> lower_io_ms;       ///< the same, of the requests with hits in FILE or OBJ
    /// Hits by tier, and then blocks asked for, up to every hundredth request.
    std::vector<std::array<std::uint64_t, level_count + 1>> timeline;
    movement moved;
    double wall_s = 0;
    std::uint64_t leaked_leases = 0;
    bool interrupted = false;

    amount all_hits() const noexcept
    {
        amount sum;
        for (const amount& a : hits) sum.blocks += a.blocks, sum.tokens += a.tokens;
        return sum;
    }
    /// Of blocks.
    double hit_rate() const noexcept
    {
        return asked.blocks ? double(all_hits().blocks) / double(asked.blocks) : 0;
    }
};

/// Serves the requests of a source, one at a time and in order, from a tiered cache.
///
/// The index plans, and the store carries out. While a request is served, blocks that the next ones will hit
/// are fetched ahead, and what falls out of a tier is written to the one below.
class replay {
public:
    /// `told` is called after each request.
    replay(hierarchy&, const settings&, request_source&, std::function<void(const replay_result&)> told);

    /// Until the source ends or `stop`. Whatever happens, nothing is under way any more when it ends.
    wye::task<> run();
    /// After the request that is being served.
    void stop() noexcept { stopping_ = true; }

    const replay_result& result() const noexcept { return result_; }

private:
    using clock = std::chrono::steady_clock;

    wye::task<> serve_all();
    wye::task<> serve(const request&);
    wye::task<> touch(const request&, const prefix& found, std::size_t i, wye::duration deadline);
    void admit();
    void prefetch();
    bool has_arrived(const request&) const;
    wye::task<> sleep_until_arrival(const request&);
    wye::duration prefill_time(std::uint64_t tokens) const;
    wye::duration deadline_of(const prefix&) const;
    void count(const request&, const prefix&);
    void count_time(const request&, const prefix&, wye::duration io);

    const settings& settings_;
    request_source& source_;
    std::function<void(const replay_result&)> told_;
    wye::runtime& runtime_;
    hierarchy& tiers_;
    tiered_index index_;
    block_store store_;
    std::optional<request> next_;  ///< has not arrived yet
    std::deque<request> waiting_;  ///< have arrived
    std::size_t looked_ahead_ = 0; ///< how many of these have been prefetched for
    bool stopping_ = false;
    clock::time_point began_;
    replay_result result_;
};

} // namespace kv
