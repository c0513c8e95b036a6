// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include <peers/wire.hpp>

namespace wire = wye::detail::wire;

/// What decodes can be said again, and then means the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const auto decoded = wire::decode_metadata(std::as_bytes(std::span{data, size}));
    if (!decoded) return 0;
    if (wire::decode_metadata(wire::encode(*decoded)) != decoded) std::abort();
    return 0;
}
