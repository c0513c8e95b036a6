// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace perf {

/// Plain code on CUDA's driver API for memory of another process's GPU: mapped by its IPC handle, copied by one
/// cuMemcpyAsync each, and ended by a word that the stream writes.
class raw_ipc {
public:
    using handle = std::array<std::byte, 64>;

    raw_ipc(); ///< of the first device, whose context is current on this thread as long as this is
    raw_ipc(const raw_ipc&) = delete;
    ~raw_ipc();

    handle handle_of(const std::byte* allocation) const;
    std::byte* map(const handle&); ///< until this goes

    struct copy {
        std::byte* to;
        const std::byte* from;
    };
    /// Returns when the last has ended.
    void run(std::span<const copy>, std::size_t bytes);

private:
    struct parts;
    std::unique_ptr<parts> parts_;
};

} // namespace perf
