// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE kv_index
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "generator.hpp"
#include "tiered_index.hpp"
#include "trace.hpp"

using kv::level;

namespace {

/// The exclusive LRU of the sample's interface, written down again as plainly as can be: one list, most recent
/// first, of which each tier is a stretch.
class plain_lru {
public:
    explicit plain_lru(std::vector<std::size_t> sizes) : sizes_{std::move(sizes)} {}

    /// Which tier a block is in, or how many tiers there are.
    std::size_t find(kv::block_id id) const
    {
        const auto at = std::find(order_.begin(), order_.end(), id);
        if (at == order_.end()) return sizes_.size();
        auto position = static_cast<std::size_t>(at - order_.begin());
        std::size_t tier = 0;
        while (position >= sizes_[tier]) position -= sizes_[tier++];
        return tier;
    }
    void touch(kv::block_id id)
    {
        std::erase(order_, id);
        order_.insert(order_.begin(), id);
        std::size_t room = 0;
        for (const std::size_t size : sizes_) room += size;
        if (order_.size() > room) order_.pop_back();
    }

private:
    std::vector<std::size_t> sizes_;
    std::vector<kv::block_id> order_;
};

kv::tiered_index three_tiers(std::size_t vram, std::size_t dram, std::size_t file, kv::eviction how)
{
    return {{{level::vram, vram}, {level::dram, dram}, {level::file, file}}, how};
}

/// Touches all blocks of a request as a replay does; how much was hit in each tier.
std::array<std::size_t, kv::level_count> serve(kv::tiered_index& index, const kv::request& r)
{
    const kv::prefix found = index.look_up(r);
    for (std::size_t i = 0; i < r.blocks.size(); ++i)
        if (index.keeps(r, i)) index.touch(r, found, i);
    return found.in;
}

kv::request asks_for(std::vector<kv::block_id> blocks)
{
    const std::uint64_t tokens = blocks.size() * kv::block_tokens;
    return {0, tokens, 1, std::move(blocks)};
}

} // namespace

// A touched block moves to the top, and each tier's least recent falls one further.
BOOST_AUTO_TEST_CASE(overflow_falls_tier_by_tier)
{
    auto index = three_tiers(1, 1, 1, kv::eviction::lru);
    serve(index, asks_for({1, 2, 3}));
    BOOST_TEST((index.find(3) == level::vram && index.find(2) == level::dram && index.find(1) == level::file));

    const kv::request r = asks_for({1});
    const auto moves = index.touch(r, index.look_up(r), 0);
    BOOST_REQUIRE(moves.size() == 3u);
    BOOST_TEST((moves[0].id == 1 && moves[0].from == level::file && moves[0].to == level::vram));
    BOOST_TEST((moves[1].id == 3 && moves[1].from == level::vram && moves[1].to == level::dram));
    BOOST_TEST((moves[2].id == 2 && moves[2].from == level::dram && moves[2].to == level::file));

    const kv::request fresh = asks_for({9});
    const auto last = index.touch(fresh, index.look_up(fresh), 0).back();
    BOOST_TEST((last.id == 2 && last.from == level::file && last.to == level::nowhere));
    BOOST_TEST((index.find(2) == level::nowhere));
}

// A hit is the longest prefix resident before the request ran; what is resident after a gap is none.
BOOST_AUTO_TEST_CASE(hits_are_a_prefix)
{
    auto index = three_tiers(2, 2, 2, kv::eviction::lru);
    serve(index, asks_for({1, 2, 3, 4}));
    index.erase(3);
    const kv::prefix found = index.look_up(asks_for({1, 2, 3, 4}));
    BOOST_TEST(found.blocks == 2u);
    BOOST_TEST(found.in[std::size_t(level::dram)] == 2u);
    BOOST_TEST(found.tokens[std::size_t(level::dram)] == 1024u);
}

// The index plans what an independent model of the same words plans, for whole replays and odd sizes.
BOOST_AUTO_TEST_CASE(lru_is_exact)
{
    for (const auto& sizes : {std::vector<std::size_t>{1, 1, 1}, {3, 50, 200}, {40, 7, 300}, {200, 200, 200}}) {
        auto index = three_tiers(sizes[0], sizes[1], sizes[2], kv::eviction::lru);
        plain_lru model{sizes};
        kv::generator source{sizes[0]};
        for (int n = 0; n < 150; ++n) {
            const kv::request r = *source.next();
            std::array<std::size_t, kv::level_count> expected{};
            for (const kv::block_id id : r.blocks) {
                const std::size_t tier = model.find(id);
                if (tier == sizes.size()) break;
                ++expected[tier];
            }
            for (const kv::block_id id : r.blocks) model.touch(id);
            BOOST_REQUIRE(serve(index, r) == expected);
        }
        for (const level l : {level::vram, level::dram, level::file})
            BOOST_TEST(index.size(l) <= sizes[std::size_t(l)]);
    }
}

// Under every policy a tier never holds more than it may, and every block is in one tier.
BOOST_AUTO_TEST_CASE(tiers_are_bounded_and_exclusive)
{
    for (const auto how : {kv::eviction::lru, kv::eviction::turns}) {
        auto index = three_tiers(30, 100, 400, how);
        kv::generator source{3};
        std::map<kv::block_id, level> where;
        for (int n = 0; n < 300; ++n) {
            const kv::request r = *source.next();
            const kv::prefix found = index.look_up(r);
            for (std::size_t i = 0; i < r.blocks.size(); ++i) {
                if (!index.keeps(r, i)) continue;
                for (const kv::move& m : index.touch(r, found, i)) {
                    BOOST_REQUIRE((where.contains(m.id) ? where[m.id] : level::nowhere) == m.from);
                    where[m.id] = m.to;
                    if (m.to == level::nowhere) where.erase(m.id);
                }
            }
            BOOST_REQUIRE(index.size(level::vram) <= 30u);
            BOOST_REQUIRE(index.size(level::dram) <= 100u);
            BOOST_REQUIRE(index.size(level::file) <= 400u);
        }
        for (const auto& [id, at] : where) BOOST_REQUIRE(index.find(id) == at);
    }
}

// With an unbounded tier below, nothing that was stored is ever lost.
BOOST_AUTO_TEST_CASE(an_unbounded_tier_keeps_all)
{
    kv::tiered_index index{{{level::dram, 10}, {level::object, kv::tiered_index::boundless}}, kv::eviction::lru};
    kv::generator source{5};
    std::set<kv::block_id> seen;
    for (int n = 0; n < 200; ++n) {
        const kv::request r = *source.next();
        const kv::prefix found = index.look_up(r);
        for (std::size_t i = 0; i < r.blocks.size(); ++i) {
            BOOST_REQUIRE(seen.contains(r.blocks[i]) == (index.find(r.blocks[i]) != level::nowhere));
            seen.insert(r.blocks[i]);
            index.touch(r, found, i);
        }
    }
}

// The default keeps more of what is asked for again in memory than LRU does, and hits no less altogether.
BOOST_AUTO_TEST_CASE(turns_beats_lru)
{
    std::array<std::size_t, 2> in_memory{}, all{};
    for (const auto how : {kv::eviction::lru, kv::eviction::turns}) {
        auto index = three_tiers(500, 2000, 8000, how);
        kv::generator source;
        for (int n = 0; n < 3000; ++n) {
            const auto hits = serve(index, *source.next());
            in_memory[std::size_t(how)] += hits[0] + hits[1];
            all[std::size_t(how)] += hits[0] + hits[1] + hits[2];
        }
    }
    BOOST_TEST(in_memory[1] > in_memory[0]);
    BOOST_TEST(all[1] >= all[0]);
}

// A cache without tiers keeps nothing.
BOOST_AUTO_TEST_CASE(no_tiers_keep_nothing)
{
    const kv::tiered_index index{{}, kv::eviction::lru};
    const kv::request r = asks_for({1, 2});
    BOOST_TEST(!index.keeps(r, 0));
    BOOST_TEST(index.look_up(r).blocks == 0u);
}

// The hour of a production service that the sample's interface is defined by, where it is at hand: the shares
// that an independent model gives.
BOOST_AUTO_TEST_CASE(reference_shares)
{
    const char* const path = std::getenv("WYE_MOONCAKE_TRACE");
    if (!path) {
        BOOST_TEST_MESSAGE("skipped: WYE_MOONCAKE_TRACE does not name Mooncake's conversation_trace.jsonl");
        return;
    }
    auto index = three_tiers(1000, 7000, 32000, kv::eviction::lru);
    kv::trace_reader trace{path};
    std::array<double, kv::level_count> hits{};
    double blocks = 0;
    while (const auto r = trace.next()) {
        blocks += double(r->blocks.size());
        const auto found = serve(index, *r);
        for (std::size_t l = 0; l < kv::level_count; ++l) hits[l] += double(found[l]);
    }
    BOOST_TEST(blocks == 288'500);
    BOOST_TEST(100 * hits[0] / blocks == 4.452, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(100 * hits[1] / blocks == 13.347, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(100 * hits[2] / blocks == 17.342, boost::test_tools::tolerance(1e-3));
}
