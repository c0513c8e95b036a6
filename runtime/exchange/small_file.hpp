// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "peers/wire.hpp"

/// Files that are small enough to be written and read whole. These calls block. They throw system_error.
namespace wye::detail {

/// Who looks sees what was there before, or all of this, also after a crash. Only the owner may read it.
void replace_file(const std::string& path, wire::view);
/// Nothing when there is none. `corrupt` if it is longer than `most`, or no file.
std::optional<wire::bytes> read_file(const std::string& path, std::size_t most);
void remove_file(const std::string& path);

/// "." for a path without one.
std::string folder_of(const std::string& path);

} // namespace wye::detail
