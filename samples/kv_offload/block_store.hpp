// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include <event.hpp>
#include <wye/wye.hpp>

#include "hierarchy.hpp"
#include "trace.hpp"

namespace kv {

/// What became of the bytes.
struct movement {
    /// Hits counted in this tier but found above it, since they were still on their way down.
    std::array<std::uint64_t, level_count> served_early{};
    std::uint64_t prefetched = 0;        ///< blocks fetched ahead and then hit
    std::uint64_t wasted_prefetches = 0; ///< blocks fetched ahead for nothing
    std::uint64_t late_loads = 0;        ///< hits computed after all: the load missed its deadline
    std::uint64_t failed_loads = 0;      ///< hits computed after all: the load failed
    std::uint64_t failed_stores = 0;     ///< blocks that a lower tier did not take, and so were dropped
    std::uint64_t corruptions = 0;       ///< blocks whose bytes were not theirs
    std::string last_failure;            ///< of a load or store, in words
    wye::duration stall{};               ///< the engine waited for I/O
    std::vector<float> urgent_ms;        ///< of loads from FILE and OBJ: from wanted by a request to there
};

/// The bytes of the blocks: carries out what the index plans, one coroutine a copy.
///
/// A block has one copy under way at most, and keeps its slots until it has landed. So planning a further
/// move of such a block waits, and everything else goes on. A block is where the plan wants it only after its
/// copy has succeeded; one that a tier did not take is dropped, and `on_lost` told.
///
/// One caller at a time waits in its tasks: the one that serves requests.
class block_store {
public:
    using clock = std::chrono::steady_clock;

    block_store(hierarchy&, const settings&, std::function<void(block_id)> on_lost);

    /// A hit goes to the top, urgently; `settled` says when it is there and checked. When loading it from
    /// FILE or OBJ takes longer than `deadline`, it is computed instead.
    wye::task<> promote(block_id, wye::duration deadline);
    /// A new block is computed at the top.
    wye::task<> compute(block_id);
    /// A block that is not worth keeping is computed too.
    wye::task<> compute_only(block_id);
    /// Begins to move a block down; to `nowhere`, drops it.
    wye::task<> demote(block_id, level to);
    /// Begins to fetch a block of FILE or OBJ that will be hit. False: there is no room to spare.
    bool prefetch(block_id, wye::duration deadline);

    /// When no copy of the block is under way.
    wye::task<> settled(block_id);
    /// When write-back is no further behind than it may be without being in the way of loads.
    wye::task<> caught_up();
    /// When nothing is under way.
    wye::task<> drained();
    /// Lets go of all blocks; only when drained.
    void clear();

    const movement& measured() const noexcept { return measured_; }

private:
    struct block {
        block_id id = 0;
        level goal = level::nowhere; ///< where the plan wants it
        place at;                    ///< its bytes
        place bound;                 ///< where a copy of them goes; or is already, if it was fetched ahead
        bool moving = false;         ///< a copy is under way
        bool in_object = false;      ///< the bucket has it; what never changes need not be written twice
        clock::time_point wanted{};  ///< since when somebody waits for it
    };

    void begin_fetch(block&, wye::priority, wye::duration deadline);
    wye::task<> fetch(block&, wye::copy_options);
    wye::task<> write_back(block&);
    void fetched(block&, wye::error_code);
    void written(block&, wye::error_code);
    wye::task<> computed(const place&, block_id);
    void count(const block&, wye::error_code);
    wye::task<> check(const block&, const place&);
    void forgo_prefetch(block&);

    block* find(block_id);
    bool fetched_ahead(const block& b) const noexcept { return b.bound.where == top_ && b.goal != top_; }
    wye::task<place> slot(level);
    template <class Condition>
    wye::task<> until(Condition);
    wye::copy_options options(wye::priority) const noexcept;

    hierarchy& tiers_;
    level top_;
    bool synchronous_, prioritised_, verify_;
    std::function<void(block_id)> on_lost_;
    std::unordered_map<block_id, block> blocks_;
    std::uint32_t fetching_ = 0, writing_ = 0; ///< copies under way
    std::uint32_t ahead_ = 0;                  ///< blocks fetched ahead that nobody has asked for yet
    samples::event landed_;
    movement measured_;
};

} // namespace kv
