// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <wye/error.hpp>

#include "descriptor.hpp"

namespace wye::storage {

/// Where a store keeps what is not an object yet: a directory of its own in ".wye" below the root, locked
/// while the store is open. The kernel drops the lock however the process ends, so whoever opens the store
/// next sees which of them are left over from a crash, and removes those. All calls block.
class scratch {
public:
    scratch() = default;
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    /// Removes it, and ".wye" if that was the last. `root` must still be open.
    ~scratch();

    /// Removes what crashed processes left below `root`, and makes a directory.
    error_code open(int root);
    int get() const noexcept { return directory_.get(); }

private:
    int claim();

    int root_ = -1;
    std::string path_;
    descriptor directory_;
};

} // namespace wye::storage
