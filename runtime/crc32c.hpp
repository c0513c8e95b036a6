// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace wye::detail {

// CRC32C (Castagnoli) in its linear form, without the customary inversions, so that sums of pieces combine in
// any order: the sum of A followed by B is shift(sum(A), |B|) ^ sum(B), and a whole is the exclusive or of its
// pieces, each shifted by what follows it.

/// Continues `sum` over `bytes` bytes.
std::uint32_t crc32c_extend(std::uint32_t sum, const void* data, std::size_t bytes) noexcept;

/// The sum after `bytes` zero bytes.
std::uint32_t crc32c_shift(std::uint32_t sum, std::uint64_t bytes) noexcept;

/// The customary CRC32C of `bytes` bytes whose linear sum this is (RFC 3720, appendix B.4).
std::uint32_t crc32c_finish(std::uint32_t sum, std::uint64_t bytes) noexcept;

} // namespace wye::detail
