// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <wye/segment.hpp>

#include "io_engine.hpp"
#include "open_file.hpp"

namespace wye::storage {

/// An open file or block device.
class file_segment final : public segment {
public:
    file_segment(std::string path, opened file, wye::access a, driver& by, io_engine& e)
        : segment{file.block_device ? wye::tier::block : wye::tier::file}, file_{std::move(file)},
          path_{std::move(path)}, engine_{e}, cached_slot_{e.add_file(file_.cached.get())},
          direct_slot_{file_.direct ? e.add_file(file_.direct.get()) : -1}
    {
        access = a;
        home = &by;
        // Only the file knows where it ends: others may write to it too.
        length = file_.block_device ? file_.length : unbounded;
    }
    ~file_segment() override
    {
        if (!home) return; // the driver went first, and its engine with it
        engine_.remove_file(cached_slot_);
        engine_.remove_file(direct_slot_);
    }

    std::string_view describe() const noexcept override { return path_; }
    int descriptor() const noexcept override { return direct() && file_.align.granule <= 4096 ? file_.direct.get() : -1; }

    bool direct() const noexcept { return bool{file_.direct} && !refused_; }
    /// The filesystem takes O_DIRECT at open, and no I/O: from now on everything goes through the page cache.
    void refuse_direct() noexcept { refused_ = true; }
    bool in_memory() const noexcept { return file_.in_memory; }
    alignment align() const noexcept { return file_.align; }

    int cached() const noexcept { return file_.cached.get(); }
    int cached_slot() const noexcept { return cached_slot_; }
    int direct_descriptor() const noexcept { return file_.direct.get(); }
    int direct_slot() const noexcept { return direct_slot_; }

    /// Whether to look in the page cache before asking the device. The more often in a row that was in vain,
    /// the rarer.
    bool try_cache() noexcept { return !blind_ && (skip_ == 0 || --skip_ == 0); }
    void cache_hit() noexcept { misses_ = 0; }
    void cache_missed() noexcept
    {
        if (misses_ < 5) ++misses_;
        skip_ = static_cast<std::uint8_t>(1u << misses_);
    }
    /// The filesystem cannot say what is cached.
    void cache_unknown() noexcept { blind_ = true; }

    /// Whether writes to the cache that would wait can be told from those that would not.
    bool writes_say_so = true;

private:
    opened file_;
    const std::string path_;
    io_engine& engine_;
    const int cached_slot_, direct_slot_;
    std::uint8_t misses_ = 0, skip_ = 0;
    bool blind_ = false;
    bool refused_ = false;
};

} // namespace wye::storage
