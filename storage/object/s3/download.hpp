// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "client.hpp"

namespace wye::storage::s3 {

/// One generation of an object.
struct generation {
    std::uint64_t size = 0;
    std::string etag;
    std::optional<std::uint32_t> sum; ///< CRC32C of all of it, if it was kept
    wall_time modified{};
};

/// What a request's fields say of the object.
std::optional<std::uint32_t> sum_of(const answer&);

/// Which bytes, and where they go.
struct wanted_range {
    std::uint64_t offset = 0;
    std::span<std::byte> into;
    bool whole = false; ///< they should be all of the object: `length_mismatch` when there are more
};

struct read_result {
    error_code error;
    std::size_t bytes = 0;     ///< fewer than wanted only where the object ends
    generation from;
};

/// HEAD.
flow<error_code> look_at(client&, std::string key, bool urgent, stop_signal&, generation&);

/// Reads a range with as many requests as it takes: each goes on where the one before ended, of the same generation.
/// `must`: the etag that it shall have; empty: of whichever is there, but of one.
flow<read_result> read_range(client&, std::string key, wanted_range, std::string must, bool urgent, stop_signal&);

} // namespace wye::storage::s3
