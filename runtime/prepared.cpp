// SPDX-License-Identifier: Apache-2.0
#include <wye/prepared.hpp>

namespace wye {

std::vector<slice> blocks_of(const slice& s, std::uint64_t bytes)
{
    std::vector<slice> blocks;
    if (bytes == 0) return blocks;
    blocks.reserve(s.length / bytes);
    for (std::uint64_t i = 0; i < s.length / bytes; ++i) blocks.push_back(s.block(i, bytes));
    return blocks;
}

std::vector<slice> blocks_of(std::span<const region> regions, std::uint64_t bytes)
{
    std::vector<slice> blocks;
    for (const region& r : regions) {
        const std::vector<slice> some = blocks_of(static_cast<slice>(r), bytes);
        blocks.insert(blocks.end(), some.begin(), some.end());
    }
    return blocks;
}

} // namespace wye
