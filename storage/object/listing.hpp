// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "key_path.hpp"
#include "object_tree.hpp"

namespace wye::storage {

/// What is known of the object `key`.
object_info describe(std::string key, const struct ::stat&);

/// A walk over the keys of a tree in byte order, a page at a time. It reads a directory when it gets there
/// and goes on with what was there then. Descends only where a key may match. Calls block; one thread at a
/// time.
class listing {
public:
    /// Keys that begin with `prefix` and come after `after`.
    listing(const object_tree&, std::string prefix, std::string after);

    /// The next keys, at most `most`; `more` when there may be others.
    error_code next(std::size_t most, object_page&);
    /// Whether it goes on exactly where a listing with these arguments would begin.
    bool continues(const std::string& prefix, const std::string& after) const noexcept
    {
        return prefix == prefix_ && after == last_;
    }

private:
    /// One directory: `base` is what its keys begin with, entries are what follows, directories with a '/'.
    struct level {
        std::string base;
        std::vector<std::string> entries;
        std::size_t next = 0;
    };

    bool may_match(std::string_view key, entry) const noexcept;
    int enter(std::string base);
    int read(const std::string& path, const std::string& text, level&);

    const object_tree& tree_;
    const std::string prefix_;
    std::string last_; // the last key given, or the one to begin after
    std::vector<level> levels_;
    bool begun_ = false;
};

} // namespace wye::storage
