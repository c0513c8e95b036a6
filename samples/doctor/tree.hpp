// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace doctor {

/// /proc, /sys and /dev: of this machine, or as somebody has saved them, or made them up, under another folder. What is
/// not there, or cannot be read, is nothing. Only regular files are opened, and little of them is read.
class tree {
public:
    explicit tree(std::filesystem::path root) : root_{std::move(root)} {}

    bool is_this_machine() const { return root_ == "/"; }
    const std::filesystem::path& root() const noexcept { return root_; }

    /// Paths are relative to the root: "sys/class/infiniband".
    bool has(const std::filesystem::path&) const;
    std::string text(const std::filesystem::path&) const;
    std::string line(const std::filesystem::path&) const; ///< the first, without spaces around it
    std::optional<std::uint64_t> number(const std::filesystem::path&) const;
    std::vector<std::string> list(const std::filesystem::path&) const; ///< names, sorted
    std::string target(const std::filesystem::path&) const;            ///< the last name of where a link leads

    /// By /proc/modules, or its folder: what is built in has one, too. Dashes and underscores are the same.
    bool has_module(std::string_view name) const;

private:
    std::filesystem::path root_;
};

/// The value behind "name" and a colon or spaces, up to the end of its line.
std::string value_of(std::string_view text, std::string_view name);
/// Leading digits; nothing without.
std::optional<std::uint64_t> leading_number(std::string_view);

} // namespace doctor
