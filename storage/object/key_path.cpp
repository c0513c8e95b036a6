// SPDX-License-Identifier: Apache-2.0
#include "key_path.hpp"

namespace wye::storage {

namespace {

constexpr std::size_t longest_name = 240; // of the 255 that filesystems hold, with room for a mark
constexpr std::string_view hex = "0123456789ABCDEF";

bool escaped(char c, bool first) noexcept
{
    const auto byte = static_cast<unsigned char>(c);
    return c == '%' || byte < 0x20 || byte == 0x7f || (first && c == '.');
}

/// Appends a component, cut into directories where it is too long for one name.
void append_component(std::string& path, std::string_view component)
{
    std::size_t begin = path.size();
    for (const char c : component) {
        const std::size_t width = escaped(c, path.size() == begin) ? 3 : 1;
        if (path.size() + width > begin + longest_name) {
            path += "%~/";
            begin = path.size();
        }
        if (escaped(c, path.size() == begin)) {
            path += '%';
            path += hex[static_cast<unsigned char>(c) >> 4];
            path += hex[static_cast<unsigned char>(c) & 15];
        } else {
            path += c;
        }
    }
}

/// Takes the mark off the end of a name and says what it marks.
entry unmark(std::string_view& name) noexcept
{
    if (name == "%_") {
        name = {};
        return entry::object;
    }
    if (name.ends_with("%~")) {
        name.remove_suffix(2);
        return name.empty() ? entry::foreign : entry::continued;
    }
    if (name.ends_with('%')) {
        name.remove_suffix(1);
        return entry::directory;
    }
    return entry::object;
}

/// The byte that "%XX" at the front of `name` spells, if a byte that must be spelt so; else -1.
int unescape(std::string_view name, bool first) noexcept
{
    if (name.size() < 3) return -1;
    const std::size_t high = hex.find(name[1]), low = hex.find(name[2]);
    if (high == hex.npos || low == hex.npos) return -1;
    const auto byte = static_cast<unsigned char>(high << 4 | low);
    return byte != 0 && escaped(static_cast<char>(byte), first) ? byte : -1;
}

} // namespace

bool valid_key(std::string_view key) noexcept
{
    return !key.empty() && key.size() <= longest_key && key.find('\0') == key.npos;
}

std::string path_of(std::string_view key)
{
    const std::size_t last = key.rfind('/') + 1; // 0 without a '/'
    std::string path = last ? directory_of(key.substr(0, last)) : std::string{};
    key.remove_prefix(last);
    append_component(path, key);
    if (key.empty()) path += "%_";
    return path;
}

std::string directory_of(std::string_view prefix)
{
    std::string path;
    path.reserve(prefix.size() * 2 + 2);
    while (!prefix.empty()) {
        const std::size_t end = prefix.find('/');
        append_component(path, prefix.substr(0, end));
        path += "%/";
        prefix.remove_prefix(end + 1);
    }
    if (path.empty()) path = "./";
    return path;
}

entry read_name(std::string_view name, std::string& text)
{
    const std::size_t before = text.size();
    const entry kind = unmark(name);
    while (!name.empty()) {
        const bool first = text.size() == before;
        if (!escaped(name.front(), first)) {
            text += name.front();
            name.remove_prefix(1);
            continue;
        }
        const int byte = unescape(name, first);
        if (byte < 0) {
            text.resize(before);
            return entry::foreign;
        }
        text += static_cast<char>(byte);
        name.remove_prefix(3);
    }
    return kind;
}

} // namespace wye::storage
