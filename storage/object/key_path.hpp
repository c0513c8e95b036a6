// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace wye::storage {

/// How keys become paths below the root of a directory store, and names in it become keys again.
///
/// '/' separates directories, and most names look as in the key: "kv/7/a b" is the file "kv%/7%/a b".
///
///   directory    its component and "%", so that the objects "a" and "a/b" live side by side
///   object       its component; "%_" when that is empty (the key "a/")
///   sum          the object's name and "%c": its checksum, where there are no extended attributes
///   long         a component that no name can hold: pieces, each but the last a directory ending in "%~"
///
/// '%', control characters and a leading '.' are written %XX; so no key is ".", "..", or one of our own
/// dot-files, and '%' before anything but two hex digits can only be one of the marks above.
inline constexpr std::size_t longest_key = 1024;
inline constexpr std::string_view sum_suffix = "%c";

/// 1 to `longest_key` bytes without NUL.
bool valid_key(std::string_view key) noexcept;

/// Of an object, below the root. Shorter than PATH_MAX for every valid key.
std::string path_of(std::string_view key);

/// Of the directory that holds the keys that begin with `prefix`, which is empty or ends in '/'. Ends in '/';
/// "./" for the root.
std::string directory_of(std::string_view prefix);

enum class entry : unsigned char { object, directory, continued, foreign };

/// What a name in a directory stands for; appends the part of the key that it spells to `text`. Names that
/// `path_of` would never make are `foreign`, and add nothing.
entry read_name(std::string_view name, std::string& text);

} // namespace wye::storage
