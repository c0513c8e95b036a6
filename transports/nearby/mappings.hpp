// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <wye/gpu_sharing.hpp>

#include "box.hpp"

namespace wye::nearby {

/// An allocation of a peer's, opened for one of our GPUs.
struct mapping {
    export_name what;
    std::int32_t device = 0;
    std::byte* at = nullptr;
    std::uint64_t length = 0;
    std::uint32_t uses = 0;   ///< copies out of it
};

/// Those of one peer. They are kept until their owner takes them back, or the peer goes.
class mappings {
public:
    /// Opens it, if it is not. Null with the reason.
    mapping* find(gpu_sharing&, const box_header& theirs, export_name, std::int32_t device, status&) noexcept;
    /// Closes what its owner does not show any more, unless a device is at it.
    void drop_stale(gpu_sharing&, const box_header& theirs) noexcept;
    void drop_all(gpu_sharing&) noexcept; ///< no device is at any of them

private:
    std::vector<std::unique_ptr<mapping>> all_;
};

/// What stands there, if it is complete and has that serial; 0: whichever it has.
bool read_export(const exported&, std::uint64_t serial, gpu_sharing::handle&) noexcept;

/// Our allocations that others may open, as our box shows them.
class exports {
public:
    /// Puts it there, or counts one more use. A note of it; 0 when it stays ours, or there is no room.
    std::uintptr_t show(box_header&, const gpu_sharing::place&) noexcept;
    /// One use less. Whether that was the last, and nobody finds it any more.
    bool hide(box_header&, std::uintptr_t note) noexcept;

    export_name name_of(std::uintptr_t note) const noexcept;
    static std::uint64_t offset_of(std::uintptr_t note) noexcept { return note >> number_bits; }

private:
    static constexpr unsigned number_bits = 16;

    struct allocation {
        std::uint64_t id = 0, serial = 0;
        std::uint32_t uses = 0; ///< 0: free
    };
    std::vector<allocation> all_; ///< by number
    std::uint64_t last_serial_ = 0;
};

/// Shows a handle to others. It is 0 first: whoever reads meanwhile finds that it is not complete.
void write_export(exported&, const gpu_sharing::handle&, std::uint64_t serial) noexcept;

} // namespace wye::nearby
