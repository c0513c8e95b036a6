// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace wye {

/// The customary CRC32C (RFC 3720) of what `so_far` is the sum of, followed by these bytes. Any thread.
std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t so_far = 0) noexcept;

} // namespace wye
