// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "track.hpp"

namespace wye::cu {

/// One direction of one device. The copy engines have a queue each way, so large copies go on one stream; lists of pages
/// go on two in turn, so that one begins while the blocks of the one before it run out; urgent work overtakes both.
class way {
public:
    static constexpr std::size_t tracks = 3;

    track& operator[](std::size_t i) noexcept { return tracks_[i]; }
    bool copy(chunk& c) noexcept { return (c.urgent ? tracks_[2] : tracks_[0]).copy(c); }
    bool gather(chunk& c) noexcept
    {
        if (c.urgent) return tracks_[2].gather(c, tracks_[2].pages_out());
        track& t = tracks_[turn_];
        if (!t.gather(c, tracks_[0].pages_out() + tracks_[1].pages_out())) return false;
        if (!t.building()) turn_ ^= 1; // a list has gone
        return true;
    }

private:
    std::array<track, tracks> tracks_;
    std::size_t turn_ = 0;
};

/// A GPU: its primary context, streams and kernel. Made of nothing until `open`.
///
/// Copies that come after something else the device does wait for it on streams of their own, `sides`, so that they keep
/// nobody else waiting.
class gpu {
public:
    static constexpr std::size_t sides = 4;

    gpu(const api&, int ordinal, CUdevice, const cuda_options&) noexcept;
    gpu(const gpu&) = delete;
    ~gpu();

    CUresult open() noexcept; ///< once; a context may be made
    bool is_open() const noexcept { return memory_ != nullptr; }
    int ordinal() const noexcept { return ordinal_; }
    CUdevice handle() const noexcept { return handle_; }
    CUcontext context() const noexcept { return shop_.context; }
    CUresult lost() const noexcept { return shop_.lost; }
    bool by_batch() const noexcept { return shop_.gather == gather_by::batch; }
    bool by_kernel() const noexcept { return shop_.gather == gather_by::kernel; }

    way up, down, across; ///< DRAM to VRAM, VRAM to DRAM, VRAM to VRAM
    std::array<track, sides> side;
    unsigned side_used = 0; ///< bits of those that somebody waits on

    void flush() noexcept;
    std::size_t reap(turn) noexcept;

private:
    CUresult open_tracks() noexcept;
    void load_kernel() noexcept;
    void close() noexcept;
    template <class F>
    void each(F f) noexcept
    {
        for (way* w : {&up, &down, &across})
            for (std::size_t i = 0; i < way::tracks; ++i) f((*w)[i]);
        for (track& t : side) f(t);
    }

    static constexpr std::size_t track_count = 3 * way::tracks + sides;

    const api& api_;
    int ordinal_;
    CUdevice handle_;
    shop shop_;
    CUmodule module_ = nullptr;
    track_memory* memory_ = nullptr;
};

/// The copy kernel as nvcc made it for all its devices; null where there was no nvcc.
const void* page_kernel() noexcept;

} // namespace wye::cu
