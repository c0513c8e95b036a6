// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <wye/error.hpp>

namespace wye::detail {

inline constexpr std::size_t most_entry_name = 128;

inline bool is_entry_letter(char c) noexcept
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/// Of an agent, or of a label: nothing that leads out of a folder or a prefix.
inline bool is_entry_word(std::string_view w) noexcept
{
    return !w.empty() && w.size() <= most_entry_name && w.front() != '.' && std::all_of(w.begin(), w.end(), is_entry_letter);
}

/// "agent" or "agent/label".
inline bool is_entry_name(std::string_view name) noexcept
{
    const std::size_t slash = name.find('/');
    return is_entry_word(name.substr(0, slash)) && (slash == name.npos || is_entry_word(name.substr(slash + 1)));
}

/// Throws `bad_name`.
inline void check_entry_name(const std::string& name)
{
    if (!is_entry_name(name)) throw system_error(errc::bad_name, name);
}
/// What names may begin with; also nothing, which is all of them.
inline void check_entry_prefix(const std::string& prefix)
{
    if (!prefix.empty() && !is_entry_name(prefix) && !is_entry_name(prefix + '0')) throw system_error(errc::bad_name, prefix);
}

} // namespace wye::detail
