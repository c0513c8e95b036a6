// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace pd {

/// What a model keeps of each token: in each layer K and V of so many heads, or one latent (MLA).
struct model {
    std::string_view name;
    std::uint32_t layers = 0;
    std::uint32_t halves = 2;     ///< K and V; 1 for a latent
    std::uint32_t heads = 0;      ///< for K and V; a latent has one
    std::uint32_t head_bytes = 0; ///< of one token and head
    bool replicated = false;      ///< each rank has all of it, rather than its share of the heads
};
/// Llama-3-8B, Llama-3-70B, DeepSeek with MLA, in bf16.
std::span<const model> models() noexcept;

/// How an engine of some ranks keeps pages: in each layer one tensor [halves][pages][page], and in a page [heads][tokens],
/// which is vLLM's HND: a share of the heads is one piece.
struct layout {
    std::uint32_t layers = 0, halves = 0;
    std::uint32_t heads = 0;       ///< of this rank
    std::uint32_t page_tokens = 0, head_bytes = 0;
    std::uint32_t pages = 0;       ///< in each tensor
    std::uint32_t parts = 0;       ///< a page is cut into, so that a part belongs to one rank of the other engine

    std::size_t run_bytes() const noexcept { return std::size_t{page_tokens} * head_bytes; } ///< one head of a page
    std::size_t page_bytes() const noexcept { return heads * run_bytes(); }
    std::size_t part_bytes() const noexcept { return page_bytes() / parts; }
    std::size_t layer_bytes() const noexcept { return halves * pages * page_bytes(); }
    /// Of a page in all layers.
    std::size_t bytes_of_page() const noexcept { return std::size_t{layers} * halves * page_bytes(); }
    /// Where in its layer.
    std::size_t offset(std::uint32_t half, std::uint32_t page) const noexcept
    {
        return (std::size_t{half} * pages + page) * page_bytes();
    }
    /// Of blocks of `part_bytes`, one layer after the other: the parts of these pages, in each half of each layer.
    std::vector<std::uint32_t> select(std::span<const std::uint32_t> pages, std::uint32_t part) const;
};

/// Between a rank of a prefill engine and one of a decode engine: which part of the one's page is which of the other's.
struct link {
    std::uint32_t prefill = 0, decode = 0; ///< ranks
    std::uint32_t prefill_part = 0, decode_part = 0;
};

/// How pages go from an engine of some ranks to one of as many or another number.
class sharding {
public:
    /// Both numbers divide the heads, and one the other, unless the model is replicated.
    sharding(const model&, std::uint32_t page_tokens, std::uint32_t prefill_ranks, std::uint32_t decode_ranks);

    layout prefill(std::uint32_t pages) const noexcept { return side(prefill_ranks_, pages); }
    layout decode(std::uint32_t pages) const noexcept { return side(decode_ranks_, pages); }
    const std::vector<link>& links() const noexcept { return links_; }
    /// That so many ranks cannot share the model's heads; empty if they can.
    static std::string_view objection(const model&, std::uint32_t prefill_ranks, std::uint32_t decode_ranks) noexcept;

private:
    layout side(std::uint32_t ranks, std::uint32_t pages) const noexcept;

    model model_;
    std::uint32_t page_tokens_, prefill_ranks_, decode_ranks_;
    std::vector<link> links_;
};

} // namespace pd
