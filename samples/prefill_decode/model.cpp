// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <array>

namespace pd {

namespace {

constexpr std::uint32_t bf16 = 2;
constexpr std::array<model, 3> known{{{"llama-3-8b", 32, 2, 8, 128 * bf16, false},
                                      {"llama-3-70b", 80, 2, 8, 128 * bf16, false},
                                      {"deepseek-mla", 61, 1, 1, (512 + 64) * bf16, true}}};

} // namespace

std::span<const model> models() noexcept { return known; }

std::vector<std::uint32_t> layout::select(std::span<const std::uint32_t> which, std::uint32_t part) const
{
    std::vector<std::uint32_t> blocks;
    blocks.reserve(std::size_t{layers} * halves * which.size());
    for (std::uint32_t tensor = 0; tensor < layers * halves; ++tensor)
        for (const std::uint32_t page : which) blocks.push_back((tensor * pages + page) * parts + part);
    return blocks;
}

sharding::sharding(const model& m, std::uint32_t page_tokens, std::uint32_t prefill_ranks, std::uint32_t decode_ranks)
    : model_{m}, page_tokens_{page_tokens}, prefill_ranks_{prefill_ranks}, decode_ranks_{decode_ranks}
{
    const std::uint32_t shares = m.replicated ? decode_ranks : std::max(prefill_ranks, decode_ranks);
    for (std::uint32_t s = 0; s < shares; ++s) {
        link l{s * prefill_ranks / shares, s * decode_ranks / shares, 0, 0};
        if (!m.replicated) {
            l.prefill_part = s % (shares / prefill_ranks);
            l.decode_part = s % (shares / decode_ranks);
        }
        links_.push_back(l);
    }
}

std::string_view sharding::objection(const model& m, std::uint32_t prefill_ranks, std::uint32_t decode_ranks) noexcept
{
    const auto [fewer, more] = std::minmax(prefill_ranks, decode_ranks);
    if (m.replicated) return {};
    if (m.heads % fewer != 0 || m.heads % more != 0) return "as many ranks as divide its heads";
    return more % fewer != 0 ? "one number of ranks to be a multiple of the other" : std::string_view{};
}

layout sharding::side(std::uint32_t ranks, std::uint32_t pages) const noexcept
{
    layout l{model_.layers, model_.halves, model_.heads, page_tokens_, model_.head_bytes, pages, 1};
    if (model_.replicated) return l;
    l.heads /= ranks;
    l.parts = std::max(prefill_ranks_, decode_ranks_) / ranks;
    return l;
}

} // namespace pd
