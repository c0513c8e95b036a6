// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <wye/wye.hpp>

#include "oracle.hpp"
#include "scenario.hpp"

namespace wye::sweep {

/// A place that no two transfers share, of one tier.
struct area {
    bytes own;                ///< of memory
    bytes* content = nullptr; ///< `own`, or the file's
    bytes shadow;             ///< what it must be where nothing is under way
    std::size_t used = 0;
    wye::tier tier = wye::tier::dram;
};

/// Something that was written under `verify`, to be read back.
struct written {
    slice where{};            ///< of a file
    std::string key{};        ///< of an object
    bytes content;
    bool rotten = false;
};

/// An agent with memory, a file and a bucket, and what lies in them: where operations are made.
class tenant {
public:
    tenant(sim::world&, sim::host, const scenario&, std::size_t index);
    tenant(const tenant&) = delete;

    task<> open();
    /// Fills in a transfer that may be made; false when there is no room left.
    bool choose(plan&, bool verify, std::uint64_t length);
    /// Between the same two areas: `n` pages, in no order.
    std::deque<plan> pages(std::size_t n, std::uint64_t page_bytes);
    /// After its end: what is known of its targets from now on.
    void ended(const plan&, bool well, bool verify);
    void close();
    /// What nobody was to write; empty when all is well.
    std::string strays() const;

    wye::agent* agent = nullptr;
    std::deque<object> names; ///< objects of operations that have not begun
    slice at(tier, std::uint64_t offset, std::uint64_t length) const;

private:
    static constexpr std::size_t areas = 4, file_area = 3;
    static constexpr std::uint64_t gap = 16; ///< that nobody may write

    std::optional<slice> place(std::size_t area, std::uint64_t length);
    bool choose_source(plan&, bool verify, std::uint64_t length);
    bool choose_target(plan&, bool verify);
    void new_object(plan&, bool verify);
    bool old_one(plan&);
    bytes content(const slice&) const;
    const area& area_of(const slice&) const;
    std::string object_key(const std::string& key) const { return name_ + '/' + key; }

    sim::world& world_;
    sim::host host_;
    dice dice_;
    const std::string name_;
    area area_[areas];
    region regions_[file_area];
    file file_;
    bucket bucket_;
    std::vector<written> written_;
    std::size_t keys_ = 0;
    std::size_t area_bytes_;
};

} // namespace wye::sweep
