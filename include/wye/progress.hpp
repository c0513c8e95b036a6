// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace wye {

/// How far a transfer is, read at any time on the runtime's thread. The caller's object; it must outlive the
/// transfer whose `copy_options::progress` points at it.
class progress {
public:
    std::uint64_t landed() const noexcept { return landed_; } ///< bytes at their target
    std::uint64_t total() const noexcept { return total_; }
    double fraction() const noexcept { return total_ ? double(landed_) / double(total_) : 1.0; }

    void begin(std::uint64_t total) noexcept { landed_ = 0, total_ = total; }
    void add(std::uint64_t bytes) noexcept { landed_ += bytes; }

private:
    std::uint64_t landed_ = 0, total_ = 0;
};

} // namespace wye
