// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <wye/bucket.hpp>
#include <wye/driver.hpp>
#include <wye/file.hpp>
#include <wye/memory.hpp>
#include <wye/metrics.hpp>
#include <wye/prepared.hpp>
#include <wye/region.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>

namespace wye {

/// When a rail is given up, and what then. Of drivers that may lose rails (`driver::may_lose_rails`).
struct rail_options {
    double overdue = 10;                  ///< times its predicted time: a piece is missed, and sent again elsewhere
    duration overdue_least = std::chrono::microseconds{100}; ///< however short the prediction
    duration quarantine = std::chrono::seconds{2}; ///< a rail that something is missing from is closed, at the latest
    duration probe = std::chrono::seconds{1};      ///< at most between attempts to open a closed one
    duration give_up = std::chrono::seconds{10};   ///< without any rail left a copy ends in `errc::rail_lost`
};

struct agent_options {
    bool default_drivers = true;          ///< host, file, directory; without: add your own
    std::size_t staging_bytes = 16_MiB;   ///< the bounded pool that two-hop routes go through; taken at first use
    std::size_t staging_piece = 512_KiB;  ///< what one hop hands to the next
    rail_options rails{};
};

/// One hop of a route.
struct hop {
    std::string driver;
    wye::tier from{}, to{};
    double bytes_per_second = 0; ///< measured, or nominal before that
    duration latency{};
};

/// How a copy would go, and how long it would take with nothing else under way.
struct route_plan {
    std::vector<hop> hops;
    duration estimate{};
    bool measured = false;      ///< every hop's rate comes from measurement
    std::string to_string() const; ///< "VRAM -> DRAM (vram_standin) -> FILE (file/io_uring), 1.2 ms"
};

/// Delivered after the last byte of a copy with `copy_options::notify`.
struct notification {
    std::string peer;   ///< name of the agent that sent it
    std::string key;
    bool aborted = false; ///< the transfer failed or was cancelled after its first byte
};

/// A party to transfers: a name, drivers, registered memory, open files and buckets. Several may share a
/// runtime. Not movable; on the runtime's thread; must outlive nothing but be outlived by its runtime.
///
/// Its destructor cancels and drains what is in flight. Regions and files that are still there are left
/// without an agent: copies from or to them end in `errc::invalid_slice`.
class agent {
public:
    explicit agent(wye::runtime&, std::string name = {}, const agent_options& = {});
    agent(const agent&) = delete;
    agent& operator=(const agent&) = delete;
    ~agent();

    const std::string& name() const noexcept;
    wye::runtime& runtime() const noexcept { return *runtime_; }

    /// Adds a driver, at any time. Where several carry the same pair of tiers the fastest is taken, and the
    /// latest added among equals. Returns it.
    driver& add(std::unique_ptr<driver>);
    /// For drivers that you keep a typed hold on.
    template <class D>
        requires std::derived_from<D, driver>
    D& add(std::unique_ptr<D> d)
    {
        D& it = *d;
        add(std::unique_ptr<driver>{std::move(d)});
        return it;
    }

    /// Makes memory known to the drivers that want to know. Throws system_error. May take seconds with real
    /// NICs; runs beside the loop.
    task<region> register_memory(memory);
    /// Opens or creates a file, or opens a block device. Throws system_error.
    task<file> open_file(std::string path, file_options = {});
    /// Opens a store of objects by URL ("dir:/var/cache/kv"); makes the directory if it may write. Throws
    /// system_error (`not_supported` when no driver serves the URL).
    task<bucket> open_bucket(std::string url, access = access::read_write);

    /// Checks blocks once, for `prepared::select`. Throws system_error (`out_of_range`, `invalid_slice`).
    wye::prepared prepare(std::vector<slice> blocks) const;

    /// The route a copy would take and its estimate. Throws system_error (`no_route`).
    route_plan explain(const slice& from, const slice& to) const;

    /// Waits for a notification with exactly this key. Zero deadline waits for ever; missing it throws
    /// `errc::deadline_missed`.
    task<notification> notified(std::string key, duration deadline = {});

    /// Counters since the agent began. Cheap enough to call every second.
    metrics measure() const;

    detail::engine& engine() const noexcept { return *engine_; }

private:
    wye::runtime* runtime_;
    std::unique_ptr<detail::engine> engine_;
};

} // namespace wye
