// SPDX-License-Identifier: Apache-2.0
#include "tiered_index.hpp"

#include <algorithm>

namespace kv {

namespace {

// The turn from which on a conversation is as likely as any to go on.
constexpr std::uint32_t settled_turn = 6;

} // namespace

std::string_view name_of(level l) noexcept
{
    constexpr std::array<std::string_view, level_count + 1> names{"VRAM", "DRAM", "FILE", "OBJ", "nowhere"};
    return names[static_cast<std::size_t>(l)];
}

tiered_index::tiered_index(std::vector<tier_size> tiers, eviction policy) : policy_{policy}
{
    for (const tier_size& t : tiers) tiers_.push_back({t.where, t.blocks, {}});
    // A long conversation's blocks outlast a full turnover of the memory tiers, so that they are still there
    // when the user has read the answer; more would crowd out everybody else.
    for (const tier_size& t : tiers)
        if (t.where <= level::dram) credit_ += static_cast<rank>(t.blocks + t.blocks / 2);
}

level tiered_index::find(block_id id) const noexcept
{
    const auto found = entries_.find(id);
    return found == entries_.end() ? level::nowhere : tiers_[found->second.in].where;
}

prefix tiered_index::look_up(const request& r) const
{
    prefix p;
    for (const block_id id : r.blocks) {
        const auto found = entries_.find(id);
        if (found == entries_.end()) break;
        const auto where = static_cast<std::size_t>(tiers_[found->second.in].where);
        ++p.in[where];
        p.tokens[where] += r.tokens(p.blocks);
        ++p.blocks;
        // Everybody shares the first block, so it tells nothing.
        if (p.blocks > 1) p.turn = found->second.turn + 1;
    }
    return p;
}

bool tiered_index::keeps(const request& r, std::size_t i) const noexcept
{
    if (tiers_.empty()) return false;
    return policy_ == eviction::lru || r.tokens(i) == block_tokens;
}

tiered_index::rank tiered_index::rank_of(const request& r, const prefix& found, std::size_t i) const noexcept
{
    if (policy_ == eviction::lru) return clock_;
    const auto turns = std::min(found.turn, settled_turn) - 1;
    // Seen from the request's last tick, so that its first block outranks its last.
    const auto from_end = static_cast<rank>(r.blocks.size() - i);
    return clock_ + 2 * from_end + credit_ * turns / (settled_turn - 1);
}

std::vector<move> tiered_index::touch(const request& r, const prefix& found, std::size_t i)
{
    const block_id id = r.blocks[i];
    ++clock_;
    const rank order = rank_of(r, found, i);
    auto [at, fresh] = entries_.try_emplace(id, entry{0, order, found.turn});
    entry& e = at->second;
    std::vector<move> moves{{id, fresh ? level::nowhere : tiers_[e.in].where, tiers_.front().where}};
    if (!fresh) tiers_[e.in].blocks.erase({e.order, id});
    e = {0, order, std::max(e.turn, found.turn)};
    tiers_.front().blocks.insert({order, id});
    overflow(moves);
    return moves;
}

void tiered_index::overflow(std::vector<move>& moves)
{
    for (std::size_t t = 0; t < tiers_.size() && tiers_[t].blocks.size() > tiers_[t].most; ++t) {
        auto falling = tiers_[t].blocks.extract(tiers_[t].blocks.begin());
        const block_id id = falling.value().second;
        const bool last = t + 1 == tiers_.size();
        moves.push_back({id, tiers_[t].where, last ? level::nowhere : tiers_[t + 1].where});
        if (last) {
            entries_.erase(id);
        } else {
            ++entries_.find(id)->second.in;
            tiers_[t + 1].blocks.insert(std::move(falling));
        }
    }
}

void tiered_index::erase(block_id id)
{
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    tiers_[found->second.in].blocks.erase({found->second.order, id});
    entries_.erase(found);
}

std::size_t tiered_index::size(level l) const noexcept
{
    for (const tier& t : tiers_)
        if (t.where == l) return t.blocks.size();
    return 0;
}

} // namespace kv
