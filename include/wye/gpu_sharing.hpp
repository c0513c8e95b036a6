// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <wye/error.hpp>
#include <wye/segment.hpp>

namespace wye {

/// A copy into memory of a GPU of this process. Whoever starts it keeps it in place until `gpu_sharing::next_over` gives it
/// back.
struct gpu_copy {
    std::byte* to = nullptr;
    const std::byte* from = nullptr; ///< ours, or what `gpu_sharing::open` gave for that device
    std::uint64_t bytes = 0;
    std::int32_t device = 0;         ///< whose memory `to` is
    error_code error;                ///< once it is over
    gpu_copy* next = nullptr;        ///< for whoever holds it
    std::uint32_t word = 0;          ///< of who does it
};

/// Memory of GPUs that processes of one machine open to each other, and copies out of what was opened: all that
/// `make_same_host` asks of a GPU's driver. `drivers::cuda_sharing` makes one.
///
/// Used on the thread of the runtime that its fabric belongs to. No call but `settle` waits for a device.
class gpu_sharing {
public:
    /// Devices with a higher ordinal are not shared.
    static constexpr std::size_t most_devices = 16;

    /// By which another process opens an allocation. Opaque; its size is CUDA's.
    using handle = std::array<std::byte, 64>;

    /// Where a segment lies, as others see it.
    struct place {
        std::uint64_t allocation = 0; ///< a number that no other allocation of this process has, ever; 0: it stays ours
        std::uint64_t offset = 0;     ///< of the segment in it
        gpu_sharing::handle handle{};
    };

    virtual ~gpu_sharing() = default;

    /// Finds out whether others may open the memory that a segment is in. Not all is such: what was mapped by hand and what
    /// comes out of a pool is only copied to. An error: it is no memory of that device.
    virtual error_code share(const segment&, place&) noexcept = 0;
    /// Memory of that device which others may try whether they can open anything of it. It lives as long as this.
    virtual error_code sample(std::int32_t device, gpu_sharing::handle&) noexcept = 0;

    /// Another process's allocation, for copies by that device, and its length. Null where that cannot be: no such
    /// allocation, no way between the devices, our own process. The handle may be anything.
    virtual std::byte* open(const gpu_sharing::handle&, std::int32_t device, std::uint64_t& length) noexcept = 0;
    /// No copy out of it is under way.
    virtual void close(std::byte* opened, std::int32_t device) noexcept = 0;

    /// Begins a copy, or does not for now. Copies by one device are done in the order in which they were started.
    virtual bool start(gpu_copy&) noexcept = 0;
    /// The end of a round of `start`s: the device is told now.
    virtual void flush() noexcept = 0;
    /// One that is over; null: none is.
    virtual gpu_copy* next_over() noexcept = 0;
    /// Waits for all that were started. That takes as long as they do, and `next_over` gives them all then.
    virtual void settle() noexcept = 0;
};

} // namespace wye
