// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace wye {

/// A point in what a GPU does for others: all that a stream was given by now, or an event. CUDA's handles
/// (`cudaStream_t`, `CUstream`, `cudaEvent_t`), untyped, so that no vendor header is needed here. Make it with `after_stream`
/// or `after_event`. A value; the stream or event must live until the copy has ended, and an event must not be recorded
/// again before.
struct gpu_order {
    enum class point : std::uint8_t { none, stream, event };
    point at = point::none;
    void* handle = nullptr; ///< a null stream is the default one of the device that the copy touches
};

/// All that the stream was given before the copy began.
inline gpu_order after_stream(void* stream) noexcept { return {gpu_order::point::stream, stream}; }
/// What an event was recorded after.
inline gpu_order after_event(void* event) noexcept { return {gpu_order::point::event, event}; }

/// What a kernel finds in `gpu_wait::status`.
enum class gpu_status : std::uint32_t { pending = 0, landed = 1, failed = 2 };

/// A stream that is to wait for a copy. Make it with `hold_stream`.
struct gpu_wait {
    bool asked = false;
    void* stream = nullptr;
    /// Set to a `gpu_status` by the processor: `pending` when the copy begins, what became of it before the stream goes on.
    /// In memory that the device can read: pinned, or registered as DRAM. May be null. Must live as long as the kernel
    /// that looks at it.
    std::uint32_t* status = nullptr;
};

/// What the stream is given after the copy has begun runs when the copy is over, whether it landed, failed or was cancelled:
/// the stream never hangs, and `status` says which it was. A copy that is refused when it begins does not hold the stream,
/// and leaves `failed`.
inline gpu_wait hold_stream(void* stream, std::uint32_t* status = nullptr) noexcept { return {true, stream, status}; }

} // namespace wye
