// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cassert>

#include "peers/wire.hpp"

namespace wye::detail {

/// Of bytes whose number has been checked.
template <class Array>
Array array_from(wire::view from)
{
    Array to{};
    assert(from.size() == to.size());
    std::copy_n(from.begin(), to.size(), to.begin());
    return to;
}

} // namespace wye::detail
