// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <wye/s3.hpp>

namespace wye::storage::s3 {

/// What a server answered, as an error; `not_found` for a missing object. `code` may be empty (an answer to HEAD).
error_code status_error(int status, std::string_view code) noexcept;

/// Whether asking again may help: overload, trouble of the server's own, a time-out.
bool worth_retrying(int status, std::string_view code) noexcept;
/// The same of what has no status.
bool worth_retrying(const error_code&) noexcept;

} // namespace wye::storage::s3
