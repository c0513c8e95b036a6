// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "track.hpp"

namespace wye::cu {

/// One direction of one device. Large copies and lists of pages go on two streams in turn, so that one begins while the other
/// comes to its end and writes its word; urgent work overtakes both.
class way {
public:
    static constexpr std::size_t tracks = 3;

    track& operator[](std::size_t i) noexcept { return tracks_[i]; }
    const track& operator[](std::size_t i) const noexcept { return tracks_[i]; }
    bool copy(chunk& c) noexcept
    {
        if (c.urgent) return tracks_[2].copy(c);
        if (c.from.length >= track::told_at_once) turn_ ^= 1;
        return tracks_[turn_].copy(c);
    }
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
    shop& parts() noexcept { return shop_; }
    bool by_batch() const noexcept { return shop_.gather == gather_by::batch; }
    bool by_kernel() const noexcept { return shop_.gather == gather_by::kernel; }

    way up, down, across; ///< DRAM to VRAM, VRAM to DRAM, VRAM to VRAM
    std::array<track, sides> side;
    unsigned side_used = 0; ///< bits of those that somebody waits on

    void flush() noexcept;
    std::size_t reap(turn) noexcept;
    bool due() const noexcept;

private:
    CUresult open_tracks() noexcept;
    void load_kernel() noexcept;
    void close() noexcept;
    template <class Self, class F>
    static void each(Self& g, F f) noexcept
    {
        for (auto* w : {&g.up, &g.down, &g.across})
            for (std::size_t i = 0; i < way::tracks; ++i) f((*w)[i]);
        for (auto& t : g.side) f(t);
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
