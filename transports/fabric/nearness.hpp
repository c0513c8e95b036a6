// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <wye/libfabric.hpp>

#include "rail.hpp"

namespace wye::ofi {

/// Which of our rails are near what memory, as bits. What is near nothing in particular, or of which nothing is known, is
/// near none.
class nearness {
public:
    nearness() = default;
    /// By what the options say, else by what this machine says of itself, if it has NICs of which that can be known.
    nearness(const std::vector<std::unique_ptr<rail>>&, const libfabric_options&);

    /// Memory of ours. Of DRAM the first page decides, which is touched for that.
    std::uint64_t of(const segment&) const noexcept;

private:
    std::vector<std::uint64_t> gpus_, nodes_; // by ordinal; by node
};

} // namespace wye::ofi
