// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>

namespace pd {

/// Of a coroutine that nobody awaits: what it throws goes out of `run`.
inline void rethrow(std::exception_ptr e)
{
    if (e) std::rethrow_exception(e);
}

} // namespace pd
