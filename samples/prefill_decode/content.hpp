// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model.hpp"

namespace pd {

/// Which page of a request this is, of which layer and half, and which heads of the model it has.
struct page_id {
    std::uint32_t request = 0, layer = 0, half = 0;
    std::uint32_t first_head = 0;
    std::uint32_t first_token = 0; ///< its position in the request
};

/// What prefill computes: bytes that follow from request, layer, half, head and the token's position alone, so that ranks
/// that have other heads in their pages agree on them. Pages are whole words.
void compute(const layout&, const page_id&, std::span<std::byte> page) noexcept;
/// Whether the page is that, every byte of it.
bool holds(const layout&, const page_id&, std::span<const std::byte> page) noexcept;
/// Marks a page that was given back, in each head of each token: who relies on it yet is found out.
void spoil(const layout&, std::span<std::byte> page) noexcept;

} // namespace pd
