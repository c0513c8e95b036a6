// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace wye::testing {

/// By memcmp, which a sanitizer checks once: a loop over megabytes of std::byte, once for each, takes it minutes.
inline bool same(std::span<const std::byte> a, std::span<const std::byte> b) noexcept
{
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Whether each of them is `b`.
inline bool all_are(std::byte b, std::span<const std::byte> s) noexcept
{
    return s.empty() || (s.front() == b && same(s.first(s.size() - 1), s.subspan(1)));
}

} // namespace wye::testing
