// SPDX-License-Identifier: Apache-2.0
#include "ledger.hpp"

#include <iterator>

#include "crc32c.hpp"

namespace wye::detail {

void ledger::record(std::uint64_t offset, std::uint64_t length, std::uint32_t sum)
{
    forget(offset, length);
    if (length) extents_.insert_or_assign(offset, entry{length, sum});
}

void ledger::forget(std::uint64_t offset, std::uint64_t length)
{
    if (length == 0) return;
    auto at = extents_.lower_bound(offset);
    if (at != extents_.begin())
        if (const auto before = std::prev(at); before->first + before->second.length > offset) at = before;
    while (at != extents_.end() && at->first < offset + length) at = extents_.erase(at);
}

std::optional<std::uint32_t> ledger::find(std::uint64_t offset, std::uint64_t length) const
{
    const std::uint64_t end = offset + length;
    std::uint32_t sum = 0;
    auto at = extents_.find(offset);
    while (offset != end) {
        if (at == extents_.end() || at->first != offset || at->second.length > end - offset) return std::nullopt;
        sum = crc32c_shift(sum, at->second.length) ^ at->second.sum;
        offset += at->second.length;
        ++at;
    }
    return sum;
}

} // namespace wye::detail
