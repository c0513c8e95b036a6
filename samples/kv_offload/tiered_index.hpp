// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trace.hpp"

namespace kv {

/// The tiers of the cache, fastest first; `nowhere` is below the last.
enum class level : std::uint8_t { vram, dram, file, object, nowhere };
inline constexpr std::size_t level_count = 4;
std::string_view name_of(level) noexcept; ///< "VRAM", "DRAM", "FILE", "OBJ", "nowhere"

/// Which block falls first when a tier is full.
enum class eviction : std::uint8_t {
    lru,   ///< the one touched longest ago
    turns, ///< a touch lasts the longer the more turns its conversation had, heads of prefixes outlast their
           ///< leaves, and partial tails, which hardly ever come back, are not kept at all
};

/// A block changes tier: down when it overflows, up when it is touched; from `nowhere` when it is new.
struct move {
    block_id id;
    level from, to;
};

/// What a request would find.
struct prefix {
    std::size_t blocks = 0;                          ///< the longest resident prefix
    std::array<std::size_t, level_count> in{};       ///< blocks of it in each tier
    std::array<std::uint64_t, level_count> tokens{}; ///< and their tokens
    std::uint32_t turn = 1; ///< of the conversation, as far as its resident blocks tell
};

/// Which block belongs in which tier: the plan, without any bytes. Tiers are exclusive.
///
/// Under `eviction::lru` it is exactly this: a touched block moves to the top as its most recent, each tier's
/// least recent overflow falls to the next, the last one's is dropped.
class tiered_index {
public:
    static constexpr std::size_t boundless = std::numeric_limits<std::size_t>::max();
    struct tier_size {
        level where;
        std::size_t blocks;
    };

    /// `tiers` from the top to the bottom; none at all is a cache that keeps nothing.
    tiered_index(std::vector<tier_size> tiers, eviction);

    level find(block_id) const noexcept;
    /// How much of a request is where, before anything moves.
    prefix look_up(const request&) const;
    /// Whether the policy wants the `i`th block kept.
    bool keeps(const request&, std::size_t i) const noexcept;
    /// Touches the `i`th block of a request that found `found`; a request's blocks are touched first to last.
    /// The moves that follow, in order: the block's own, then one overflow per tier.
    std::vector<move> touch(const request&, const prefix& found, std::size_t i);
    /// Forgets a block, for one whose bytes were lost.
    void erase(block_id);

    std::size_t size(level) const noexcept;

private:
    // What falls first is first. Ranks are ticks of the clock, one for each block touched, plus the credit.
    using rank = std::int64_t;
    struct tier {
        level where;
        std::size_t most;
        std::set<std::pair<rank, block_id>> blocks;
    };
    struct entry {
        std::size_t in; ///< index into `tiers_`
        rank order;
        std::uint32_t turn;
    };

    rank rank_of(const request&, const prefix&, std::size_t i) const noexcept;
    void overflow(std::vector<move>&);

    std::vector<tier> tiers_;
    eviction policy_;
    rank credit_ = 0; ///< of a conversation of many turns
    rank clock_ = 0;
    std::unordered_map<block_id, entry> entries_;
};

} // namespace kv
