// SPDX-License-Identifier: Apache-2.0
#include "tree.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <system_error>

namespace doctor {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t most_bytes = 256 * 1024; // of a file; /proc/modules is the longest
constexpr std::string_view blanks = " \t\r\n";

std::string_view trimmed(std::string_view s)
{
    const std::size_t begin = s.find_first_not_of(blanks);
    if (begin == s.npos) return {};
    return s.substr(begin, s.find_last_not_of(blanks) - begin + 1);
}

} // namespace

bool tree::has(const fs::path& p) const
{
    std::error_code none;
    return fs::exists(root_ / p, none);
}

std::string tree::text(const fs::path& p) const
{
    std::error_code none;
    if (!fs::is_regular_file(root_ / p, none)) return {};
    std::ifstream in{root_ / p, std::ios::binary};
    std::string all(most_bytes, '\0');
    in.read(all.data(), static_cast<std::streamsize>(all.size()));
    all.resize(static_cast<std::size_t>(in.gcount()));
    return all;
}

std::string tree::line(const fs::path& p) const
{
    const std::string all = text(p);
    return std::string{trimmed(std::string_view{all}.substr(0, all.find('\n')))};
}

std::optional<std::uint64_t> tree::number(const fs::path& p) const { return leading_number(line(p)); }

std::vector<std::string> tree::list(const fs::path& p) const
{
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at{root_ / p, error}, end; !error && at != end; at.increment(error))
        names.push_back(at->path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::string tree::target(const fs::path& p) const
{
    std::error_code error;
    const fs::path to = fs::read_symlink(root_ / p, error);
    return error ? std::string{} : to.filename().string();
}

bool tree::has_module(std::string_view name) const
{
    if (has(fs::path{"sys/module"} / name)) return true;
    const std::string all = text("proc/modules");
    return all.starts_with(std::string{name} + ' ') || all.find('\n' + std::string{name} + ' ') != all.npos;
}

std::string value_of(std::string_view text, std::string_view name)
{
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, end - at);
        at = end + 1;
        if (!line.starts_with(name)) continue;
        const std::string_view rest = line.substr(name.size());
        if (rest.empty() || (rest.front() != ':' && blanks.find(rest.front()) == blanks.npos)) continue;
        return std::string{trimmed(rest.substr(rest.front() == ':' ? 1 : 0))};
    }
    return {};
}

std::optional<std::uint64_t> leading_number(std::string_view s)
{
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
    return error == std::errc{} ? std::optional{n} : std::nullopt;
}

} // namespace doctor
