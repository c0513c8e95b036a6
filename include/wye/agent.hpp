// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <wye/bucket.hpp>
#include <wye/driver.hpp>
#include <wye/file.hpp>
#include <wye/memory.hpp>
#include <wye/metrics.hpp>
#include <wye/peer.hpp>
#include <wye/prepared.hpp>
#include <wye/region.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>

namespace wye {

/// When a rail is given up, and what then. Of drivers that may lose rails (`driver::may_lose_rails`).
struct rail_options {
    double overdue = 10;                  ///< times its predicted time: a piece is missed, and sent again elsewhere
    duration overdue_least = std::chrono::microseconds{100}; ///< however short the prediction
    duration overdue_most = std::chrono::seconds{2}; ///< however long, short of twice the prediction
    duration quarantine = std::chrono::seconds{2}; ///< a rail that something is missing from is closed, at the latest
    duration probe = std::chrono::seconds{1};      ///< at most between attempts to open a closed one
    duration give_up = std::chrono::seconds{10};   ///< without any rail left a copy ends in `errc::rail_lost`
};

struct agent_options {
    bool default_drivers = true;          ///< host, file, directory; without: add your own
    std::size_t staging_bytes = 16_MiB;   ///< the bounded pool that two-hop routes go through; taken at first use
    std::size_t staging_piece = 512_KiB;  ///< what one hop hands to the next
    rail_options rails{};
    peer_options peers{};
};

/// One hop of a route.
struct hop {
    std::string driver;
    wye::tier from{}, to{};
    double bytes_per_second = 0; ///< measured, or nominal before that
    duration latency{};
    bool from_peer = false, to_peer = false; ///< that end is another agent's
};

/// How a copy would go, and how long it would take with nothing else under way.
struct route_plan {
    std::vector<hop> hops;
    duration estimate{};
    bool measured = false;      ///< every hop's rate comes from measurement
    std::string note;           ///< where there is another way, why it is this one: "cuFile: no nvidia-fs kernel module here"
    std::string to_string() const; ///< "VRAM -> DRAM (vram_standin) -> FILE (file/io_uring), 1.2 ms";
                                   ///< what is a peer's is "remote": "VRAM -> DRAM (vram_standin) -> remote FILE (served)";
                                   ///< with its note: "..., 1.2 ms, staged (cuFile: no nvidia-fs kernel module here)"
};

/// Delivered after the last byte of a copy with `copy_options::notify`, or by itself (`agent::notify`).
struct notification {
    std::string peer;   ///< name of the agent that sent it
    std::string key;
    std::vector<std::byte> payload;
    bool aborted = false; ///< the transfer failed or was cancelled after its first byte
};

/// What to wait for.
struct wanted {
    std::string_view key;             ///< exactly
    std::string_view peer{};          ///< only from the agent of this name: the wait ends if that is lost
    std::uint32_t count = 1;          ///< so many of them (all ranks of a peer, say)
    wye::duration deadline{};         ///< for all of them; zero is none
};
static_assert(std::is_trivially_destructible_v<wanted>); // as `copy_options`

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

    /// Waits for a notification with this key, from a certain peer if one is named, or for several: then the last one is
    /// given, `aborted` if any of them was. Throws system_error: `errc::deadline_missed`, and `errc::peer_lost` when the
    /// peer that is named was connected and is lost; nothing of its is under way then.
    task<notification> notified(const wanted&);
    template <std::convertible_to<std::string_view> Key>
    task<notification> notified(const Key& key, duration deadline = {})
    {
        return notified(wanted{.key = key, .deadline = deadline});
    }

    /// Lets peers that connect from now on reach this memory by that name. A name that is in use is published anew: its
    /// epoch grows, peers that had it are told, and this waits until none of them has anything under way by the old one
    /// (`peer_options::drain_within` at most). The region must not go before. Throws system_error (`bad_name`,
    /// `not_supported` without a fabric).
    task<> publish(std::string name, const region&, access = access::read_write);
    /// The same for a file, or all objects of a bucket. No fabric reaches those: this agent does what peers ask for, on its
    /// own drivers and within `peer_options::serves`, and so it does with VRAM that a fabric does not reach into. Unpublish
    /// the name before the file goes: one that is being served must not, as any that is in use.
    task<> publish(std::string name, const file&, access = access::read_write);
    task<> publish(std::string name, const bucket&, access = access::read_write);
    /// Lets nobody in by that name any more. Waits as `publish` does.
    task<> unpublish(std::string name);
    /// The same, for one peer, as long as it lives: an agent that is started again under its name is another, and may ask.
    /// Others go on. Returns when that peer has nothing under way there, or its way in is closed.
    task<> revoke(std::string name, std::string peer);

    /// What others need to connect: hand it to them by whatever way you trust. All that is published, or these names.
    std::vector<std::byte> metadata() const;
    std::vector<std::byte> metadata(std::span<const std::string_view> names) const;
    /// Connects to the agent that this is of. With one that is connected already, adds what is new in it. Throws
    /// system_error (`bad_metadata`, `stale_metadata`, `not_trusted`, `peer_lost`, `no_route` without a common fabric).
    task<peer> connect(std::vector<std::byte> metadata);
    /// Tells a peer, beside any copy. The payload may have 4 KiB. Returns when the peer has it.
    task<> notify(const peer&, std::string key, std::vector<std::byte> payload = {});

    /// Counters since the agent began. Cheap enough to call every second.
    metrics measure() const;

    detail::engine& engine() const noexcept { return *engine_; }

private:
    wye::runtime* runtime_;
    std::unique_ptr<detail::engine> engine_;
};

} // namespace wye
