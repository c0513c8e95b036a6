// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

namespace perf {

/// Two endpoints of libfabric, both driven by the caller's thread: plain code for what two agents of one runtime do.
class raw_fabric {
public:
    /// Memory at both ends. `at`: their address; null where a provider has its own. Throws std::runtime_error.
    raw_fabric(std::size_t bytes, const char* provider, const char* at);
    ~raw_fabric();

    /// Writes so often, each until it is delivered (FI_DELIVERY_COMPLETE), with `window` under way. `told`: the other end
    /// hears of each by immediate data. Returns seconds.
    double write(std::size_t bytes, unsigned window, std::size_t operations, bool told);

private:
    struct parts;
    std::unique_ptr<parts> parts_;
};

} // namespace perf
