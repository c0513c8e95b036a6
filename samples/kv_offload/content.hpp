// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kv {

/// The bytes of a block follow from its hash id alone, as a real block's follow from its tokens. So "prefill"
/// is to write them, and a block can be checked wherever and whenever it turns up. Blocks are whole words.
void prefill(std::uint64_t id, std::span<std::byte> block) noexcept;

/// Whether these are the bytes of block `id`, every one of them.
bool holds(std::uint64_t id, std::span<const std::byte> block) noexcept;

} // namespace kv
