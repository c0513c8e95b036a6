// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <wye/units.hpp>

namespace wye::detail {

/// As the loop's stamps count; what is negative is none.
constexpr std::uint64_t ns(duration d) noexcept
{
    return static_cast<std::uint64_t>(std::max<duration::rep>(0, d.count()));
}

} // namespace wye::detail
