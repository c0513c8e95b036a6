// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace wye::detail {

/// The checksums of what was written to a file under `verify`, by extent. Kept in memory, with the open file.
class ledger {
public:
    /// The extent now holds this, and nothing that overlapped it holds any more.
    void record(std::uint64_t offset, std::uint64_t length, std::uint32_t sum);
    /// Something unknown is about to be written there.
    void forget(std::uint64_t offset, std::uint64_t length);
    /// The linear sum (see crc32c.hpp) of exactly this extent, if recorded extents tile it.
    std::optional<std::uint32_t> find(std::uint64_t offset, std::uint64_t length) const;

private:
    struct entry {
        std::uint64_t length;
        std::uint32_t sum;
    };
    std::map<std::uint64_t, entry> extents_;
};

} // namespace wye::detail
