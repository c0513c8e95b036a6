// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <unistd.h>

#include <options.hpp>

namespace samples {

/// The value of `--option`, within bounds. Throws `bad_usage`.
template <class Number>
Number number(std::string_view option, const std::string& text, Number least, Number most)
{
    Number value{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || !(value >= least && value <= most)) {
        std::ostringstream line;
        line << "--" << option << " needs a " << (std::is_integral_v<Number> ? "whole number" : "number")
             << " from " << least << " to " << most << ", not '" << text << "'";
        throw bad_usage{line.str()};
    }
    return value;
}

/// What the word stands for. Throws `bad_usage`.
template <class T, std::size_t N>
T one_of(std::string_view option, std::string_view word,
         const std::array<std::pair<std::string_view, T>, N>& known)
{
    std::string choices;
    for (const auto& [name, value] : known) {
        if (name == word) return value;
        choices += choices.empty() ? "" : ", ";
        choices += name;
    }
    throw bad_usage{"--" + std::string{option} + " is one of " + choices + ", not '" + std::string{word} +
                    "'"};
}

/// Finds out before the work rather than after it that a report cannot be written. Throws `bad_usage`.
inline void check_output(std::string_view option, const std::string& path)
{
    if (path.empty()) return;
    std::error_code ignored;
    const auto refuse = [&] {
        throw bad_usage{"--" + std::string{option} + " " + path + ": " +
                        std::generic_category().message(errno)};
    };
    if (std::filesystem::exists(path, ignored)) {
        if (errno = EISDIR; std::filesystem::is_directory(path, ignored)) refuse();
        if (::access(path.c_str(), W_OK) != 0) refuse();
    } else {
        if (!std::ofstream{path}) refuse();
        std::filesystem::remove(path, ignored);
    }
}

/// Leaves the old report alone if the new one cannot be written. Throws std::runtime_error.
template <class Summary>
void write_report(const std::string& path, const Summary& s, void (*write)(std::ostream&, const Summary&))
{
    if (path.empty()) return;
    const bool replace = !std::filesystem::exists(path) || std::filesystem::is_regular_file(path);
    const std::string target = replace ? path + ".part" : path;
    std::ofstream out{target};
    write(out, s);
    out.close();
    if (!out) {
        const std::string why = std::generic_category().message(errno);
        if (replace) std::filesystem::remove(target);
        throw std::runtime_error{"report " + path + ": " + why};
    }
    if (replace) std::filesystem::rename(target, path);
}

} // namespace samples
