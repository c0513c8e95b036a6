// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include <rdma/fabric.h>

#include <wye/fabric.hpp>

#include "wire.hpp"

namespace wye::ofi {

using steady = std::chrono::steady_clock;

struct contact;
struct slot;

/// One of their rails, as it is known to one of ours.
struct entry {
    std::uint32_t mine = 0, theirs = 0;
    fi_addr_t at = FI_ADDR_UNSPEC;
    std::uint64_t barred = 0; ///< the latest number by which they asked us to bar it
    contact* of = nullptr;
    std::deque<wire::wants::want> wanted; ///< to be written there, for their reads
    bool serves = false;                  ///< something was, since they were told that it broke
};

/// The way from one of our rails to a peer: always to the same rail of its.
struct path {
    contact* to = nullptr;
    std::uint32_t mine = 0;
    std::size_t over = 0;      ///< its entry
    bool proven = false;       ///< something has come through since it was opened
    bool wants_ping = false;   ///< somebody waits to know whether anything does
    bool closing = false;
    std::uint32_t out = 0;     ///< posted, and not completed
    std::uint32_t reads = 0;   ///< of these, what its owner is to write
    std::vector<slot*> asks;   ///< of these, those that it has not been asked for yet
    /// Chunks that wait for the connection or for what follows. In errors once it is `patience_ends`.
    std::vector<chunk*> pending;
    steady::time_point patience_ends{};
    /// Writes that did not complete: they may land over there until the peer has barred them. Those that it was asked
    /// about, and those that came since.
    std::vector<chunk*> barring, lost;
    std::uint64_t bar = 0;     ///< the number of what was asked; 0: nothing
    std::uint32_t asked = 0;   ///< how often
    steady::time_point ask_at{}, bar_ends{};
    struct opening {
        std::function<void(error_code)> opened;
        steady::time_point ends;
    };
    std::vector<opening> openings;

    bool owes() const noexcept { return !barring.empty() || !lost.empty(); }
};

/// Another agent's driver. Several numbers may stand for the same: agents that connect to each other at once know each
/// other twice.
struct contact {
    wire::address known;
    std::uint32_t numbers = 0;  ///< that stand for it
    std::vector<entry> entries;
    std::vector<path> paths;    ///< by our rail

    entry& of(const path& p) noexcept { return entries[p.over]; }
    /// Where what their rail sends comes in; null if they have no such rail.
    entry* door_of(std::uint32_t theirs, std::uint32_t our_rails) noexcept
    {
        for (entry& e : entries)
            if (e.theirs == theirs && e.mine == theirs % our_rails) return &e;
        return nullptr;
    }
    std::uint32_t out() const noexcept
    {
        std::uint32_t n = 0;
        for (const path& p : paths) n += p.out;
        return n;
    }
};

/// Keys to a peer's memory, of one grant.
struct key_set {
    contact* of = nullptr;
    std::uint32_t number = 0;
    wire::description what;
    std::size_t out = 0; ///< chunks on loan by it
};

/// By which a chunk on loan goes.
inline key_set& keys_of(const chunk& c) noexcept { return *reinterpret_cast<key_set*>(c.scratch[0]); }

/// A peer's memory.
struct remote final : segment {
    remote(wye::tier t, std::shared_ptr<key_set> k) noexcept : segment{t}, keys{std::move(k)} {}
    std::string_view describe() const noexcept override { return "a peer's memory"; }

    std::shared_ptr<key_set> keys;
};

inline const remote* remote_of(const slice& s) noexcept
{
    return s.of->peer ? static_cast<const remote*>(s.of) : nullptr;
}

} // namespace wye::ofi
