// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <wye/error.hpp>
#include <wye/gpu_order.hpp>
#include <wye/units.hpp>

namespace wye {

class progress;

enum class priority : std::uint8_t {
    urgent,     ///< someone waits for it: before everything else
    normal,
    background, ///< kept shallow in every queue so that it delays nobody, yet never starved (a sixteenth at least)
};
inline constexpr std::size_t priority_count = 3;

/// What a copy may be told. A value without ownership: what it views must live until the copy has ended.
struct copy_options {
    wye::priority priority = wye::priority::normal;
    /// From now, over all hops; zero is none. A copy that misses it ends with `errc::deadline_missed` as soon as
    /// no hardware touches its memory.
    wye::duration deadline{};
    /// Checksums (CRC32C) travel with the bytes into FILE and OBJ, and are checked when they are read back
    /// under `verify`: `errc::corrupt` on mismatch, `errc::unverified` for an extent nobody wrote under it.
    /// Between memory tiers it has nothing to compare with and does nothing.
    bool verify = false;
    /// Delivers a notification with exactly this key (1 KiB at most) after the last byte: at the peer that the bytes go to
    /// or come from, and only here if no peer has part in it. The copy ends when the peer has the notification. Up to
    /// 8 KiB of DRAM for a peer's DRAM, key and payload counted in, go with it in one message if there is no deadline:
    /// cancelled then it ends all the same as the peer says, and after `errc::peer_lost` both may arrive yet, or neither.
    /// See `agent::notified`.
    std::string_view notify{};
    /// Goes with it; 4 KiB at most.
    std::span<const std::byte> payload{};
    /// Updated as bytes land.
    wye::progress* progress = nullptr;
    /// Batches: one result for each transfer, by its index. At least as long as the batch.
    std::span<error_code> status{};
    /// The copy touches no memory of a GPU before the GPU has passed this point (`after_stream`, `after_event`), which is taken when
    /// the copy begins. No thread waits for it. Needs the driver of a GPU; of a stream that is being captured it fails.
    gpu_order after{};
    /// A stream that waits for this copy from when it begins (`hold_stream`), after the point above has been taken.
    gpu_wait before{};
};
// g++ 12 destroys the members of a braced temporary in a co_await statement twice.
static_assert(std::is_trivially_destructible_v<copy_options>);

} // namespace wye
