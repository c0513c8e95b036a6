// SPDX-License-Identifier: Apache-2.0
#include "xml.hpp"

#include <charconv>
#include <cstdint>
#include <vector>

namespace wye::storage::s3 {

namespace {

constexpr std::size_t deepest = 16;

void append_utf8(std::string& to, std::uint32_t c)
{
    if (c < 0x80) {
        to += static_cast<char>(c);
    } else if (c < 0x800) {
        to += static_cast<char>(0xc0 | c >> 6);
        to += static_cast<char>(0x80 | (c & 63));
    } else if (c < 0x10000) {
        to += static_cast<char>(0xe0 | c >> 12);
        to += static_cast<char>(0x80 | (c >> 6 & 63));
        to += static_cast<char>(0x80 | (c & 63));
    } else {
        to += static_cast<char>(0xf0 | c >> 18);
        to += static_cast<char>(0x80 | (c >> 12 & 63));
        to += static_cast<char>(0x80 | (c >> 6 & 63));
        to += static_cast<char>(0x80 | (c & 63));
    }
}

/// What stands between '&' and ';'.
bool append_entity(std::string& to, std::string_view name)
{
    if (name == "amp") to += '&';
    else if (name == "lt") to += '<';
    else if (name == "gt") to += '>';
    else if (name == "quot") to += '"';
    else if (name == "apos") to += '\'';
    else if (name.starts_with("#")) {
        const bool hex = name.starts_with("#x");
        name.remove_prefix(hex ? 2 : 1);
        std::uint32_t c = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), c, hex ? 16 : 10);
        if (error != std::errc{} || end != name.data() + name.size() || c > 0x10ffff) return false;
        append_utf8(to, c);
    } else {
        return false;
    }
    return true;
}

bool append_text(std::string& to, std::string_view text)
{
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '&') {
            to += text[i];
            continue;
        }
        const auto end = text.find(';', i);
        if (end == text.npos || end - i > 12 || !append_entity(to, text.substr(i + 1, end - i - 1))) return false;
        i = end;
    }
    return true;
}

/// Past what is neither text nor an element; 0 when it is no such thing, npos when it does not end.
std::size_t skip(std::string_view from) noexcept
{
    const auto past = [&](std::string_view end) {
        const auto at = from.find(end);
        return at == from.npos ? from.npos : at + end.size();
    };
    if (from.starts_with("<?")) return past("?>");
    if (from.starts_with("<!--")) return past("-->");
    return 0;
}

} // namespace

bool read_xml(std::string_view in, const std::function<void(std::string_view, std::string)>& leaf,
              const std::function<void(std::string_view)>& close)
{
    std::string path, text;
    std::vector<std::size_t> open; // lengths of the path before each
    bool holds_none = false, any = false;
    while (!in.empty()) {
        if (in[0] != '<') {
            const auto end = in.find('<');
            const std::string_view piece = in.substr(0, end);
            if (open.empty() && piece.find_first_not_of(" \t\r\n\xef\xbb\xbf") != piece.npos) return false;
            if (!open.empty() && !append_text(text, piece)) return false;
            in.remove_prefix(piece.size());
            continue;
        }
        if (const auto n = skip(in)) {
            if (n == in.npos) return false;
            in.remove_prefix(n);
            continue;
        }
        const auto end = in.find('>');
        if (end == in.npos || end < 2 || in[1] == '!') return false;
        std::string_view tag = in.substr(1, end - 1);
        in.remove_prefix(end + 1);
        const bool closes = tag[0] == '/';
        const bool empty = !closes && tag.back() == '/';
        if (!closes) {
            if (empty) tag.remove_suffix(1);
            if (open.size() == deepest || (open.empty() && any)) return false;
            open.push_back(path.size());
            if (!path.empty()) path += '/';
            path += tag.substr(0, tag.find_first_of(" \t\r\n"));
            text.clear();
            holds_none = any = true;
            if (!empty) continue;
        } else if (open.empty() || path.substr(open.back() ? open.back() + 1 : 0) != tag.substr(1, tag.find_last_not_of(" \t\r\n"))) {
            return false;
        }
        if (holds_none) leaf(path, std::move(text));
        else if (close) close(path);
        text.clear();
        holds_none = false;
        path.resize(open.back());
        open.pop_back();
    }
    return any && open.empty();
}

std::string text_of(std::string_view document, std::string_view path)
{
    std::string found;
    bool seen = false;
    read_xml(document, [&](std::string_view at, std::string text) {
        if (seen || at != path) return;
        found = std::move(text);
        seen = true;
    });
    return found;
}

std::string escaped(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (c == '&') out += "&amp;";
        else if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (static_cast<unsigned char>(c) < 32) out.append("&#").append(std::to_string(int{c})).append(";");
        else out += c;
    }
    return out;
}

} // namespace wye::storage::s3
