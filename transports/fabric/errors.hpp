// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <wye/error.hpp>

namespace wye::ofi {

/// What broke, when an operation ends in an error.
enum class blame : unsigned char {
    chunk, ///< it asked for something that cannot be had; others go on
    path,  ///< the way to this peer over this rail
    rail,  ///< the NIC, or its endpoint
};

/// By a provider's error, positive (fi_errno(3)). What is not known is the chunk's own.
blame blame_for(int error) noexcept;

/// As it is reported. Messages begin with "fabric: "; it compares equal to the standard conditions where it is an
/// errno.
error_code fabric_error(int error) noexcept;

/// Throws system_error when `result` is negative.
void must(int result, const char* what);

} // namespace wye::ofi
