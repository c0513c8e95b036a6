// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include <wye/driver.hpp>

#include "meters.hpp"
#include "operation.hpp"

namespace wye::detail {

struct port;

inline constexpr std::size_t urgent = 0, background = 2; // as indices
/// A sixteenth of the bytes is background's, whatever else wants to go.
inline constexpr std::uint64_t background_share = 15;

/// What a rail's rate is learned from: bytes that landed while it had something to do, and how long that took.
struct pace {
    std::uint64_t since = 0;  ///< nanoseconds
    std::uint64_t bytes = 0;  ///< landed since
    std::uint64_t latest = 0; ///< when its rate was last learned, or let drift
    bool from_rest = false;   ///< nothing was under way at `since`: a latency is part of the time
    bool known = false;
};

/// Whether a rail can be relied on (failover.cpp).
enum class health : std::uint8_t {
    good,
    suspect, ///< something is missing: it gets nothing more
    fencing, ///< given up
    closed,  ///< fenced: nothing of it touches memory any more
    opening,
};

/// One rail of one driver: its window, and what it has in flight.
struct lane {
    driver* by = nullptr;
    port* of = nullptr;
    wye::limits limits;
    std::uint32_t rail = 0;
    bool one_of_many = false;
    bool refused = false;                ///< until the next reap, or as long as the driver has any
    std::uint32_t chunks = 0;            ///< admitted to the window
    std::uint32_t background_chunks = 0;
    std::size_t bytes = 0, background_bytes = 0;
    std::size_t shallow_bytes = 0;       ///< the most that a piece of background's has
    std::uint32_t out = 0;               ///< pieces that the driver has
    std::uint64_t posts = 0;
    fifo<piece> resumed;                 ///< in the window already, to be posted (again)
    driver_meter meter;
    pace paced;

    // Where it may be lost.
    std::uint64_t landed_since = 0;      ///< when that was posted which was posted last of what landed
    const link* landed_for = nullptr;    ///< whose that was; compared, never followed
    std::uint64_t landed_at = 0;         ///< of its port's time: when anything last did
    wye::detail::health health = health::good;
    double patience = 1;                 ///< grows with every suspicion that was wrong
    std::uint64_t since = 0;             ///< suspected; closed: when to open it
    std::uint64_t opened = 0;            ///< the last time
    std::uint64_t rest = 0;              ///< nanoseconds before it is opened again; grows with its troubles
    list<piece> order;                   ///< what is in the window, oldest first
    list<piece> lost;                    ///< that the driver gave back, and that may land until the fence
    list<piece> stuck;                   ///< that wait for peers that are silent everywhere

    std::uint64_t bit() const noexcept { return std::uint64_t{1} << rail; }
};

inline constexpr std::uint32_t most_rails = 64;

/// Rails that are out of the question, one word each, so that choosing is a loop without branches.
struct barrier {
    static constexpr std::int32_t closed = std::numeric_limits<std::int32_t>::max();
    alignas(64) std::array<std::int32_t, most_rails> words{};
    void set(std::uint32_t rail, bool yes) noexcept { words[rail] = yes ? closed : 0; }
};

/// What waits for a driver: for any of the rails that may carry it.
struct line {
    port* of = nullptr;
    lane* only = nullptr;                ///< of a driver with one rail
    wye::limits limits;
    std::uint32_t index = 0;             ///< in the agent's list
    std::uint8_t spread = 0;             ///< as a power of two: into how many pieces at least the rest is cut
    std::size_t straight_bytes = 0;      ///< up to which a transfer goes in one piece
    std::uint64_t rails = 1;             ///< bits of those that may carry it
    std::uint64_t near = 1;              ///< of these, those that do as long as any of them is usable
    barrier others, farther;             ///< all but `rails`; all but `near`
    std::uint64_t owed = 0;              ///< bytes that went before waiting background work
    std::uint64_t burst = 0;             ///< bytes since it last let other lines go first
    fifo<piece> ready[priority_count];   ///< second hops and sessions
    list<leg> legs[priority_count];      ///< operations to cut from
    fifo<piece> parked;                  ///< for peers that are silent, or that no rail leads to

    /// Bits of the priorities that something was queued for. A leg may leave its queue without a word, so a
    /// bit that is set is a hint, and one that is not is a fact.
    mutable std::uint8_t asked = 0;
    std::uint64_t stranded = 0;          ///< since when none of its rails is usable; 0 while one is

    void wait_first(piece& made, std::size_t p) noexcept
    {
        ready[p].push_front(made);
        asked |= static_cast<std::uint8_t>(1u << p);
    }
    void wait(leg& g, std::size_t p) noexcept
    {
        legs[p].push_back(g);
        asked |= static_cast<std::uint8_t>(1u << p);
    }
    void wait(piece& made, std::size_t p) noexcept
    {
        ready[p].push(made);
        asked |= static_cast<std::uint8_t>(1u << p);
    }
    bool waiting(std::size_t p) const noexcept
    {
        if (!(asked & (1u << p))) return false;
        if (!ready[p].empty() || !legs[p].empty()) return true;
        asked &= static_cast<std::uint8_t>(~(1u << p));
        return false;
    }
};

/// What a piece would take on one rail.
struct forecast {
    double bytes = 0;         ///< in flight
    double ns_per_byte = 0;
    double latency_ns = 0;
    double of(double more) const noexcept { return (bytes + more) * ns_per_byte + latency_ns; }
};

/// A way to a peer over a rail that carries nothing now (paths.cpp).
struct barred_path {
    std::uint64_t token = 0; ///< of the link, which may go meanwhile
    std::uint32_t rail = 0;
    std::uint64_t at = 0, rest = 0; ///< nanoseconds: when the driver is asked whether it is open again
    bool asking = false;
};

/// A driver as the scheduler sees it: its rails, and what waits for them.
struct port : timer {
    port(driver&, std::uint64_t now);

    /// Several rails, or one that may be lost: pieces are pulled (rails.cpp).
    bool many() const noexcept { return pulls; }
    bool holds_any() const noexcept { return many() ? working != 0 : lanes.front().chunks != 0; }
    /// The usable rail, but for these others, that would be done first with so many bytes more, or `most_rails` when there
    /// is none; of those with room, if that is asked for.
    template <bool with_room>
    std::uint32_t soonest(const barrier& others, double more) const noexcept;
    /// When all these rails would be done with so many bytes more, shared out well.
    double horizon(std::uint64_t rails, double more) const noexcept;
    /// The line of what these rails may carry, `near` if they can.
    line& line_of(std::uint64_t rails, std::uint64_t near, std::uint32_t index);
    std::uint64_t every_rail() const noexcept { return ~std::uint64_t{0} >> (most_rails - lanes.size()); }
    void use(std::uint32_t rail, bool yes) noexcept
    {
        const std::uint64_t bit = std::uint64_t{1} << rail;
        usable = yes ? usable | bit : usable & ~bit;
        unusable.set(rail, !yes);
    }
    /// The time that pieces are judged by: without what nobody could have looked in.
    std::uint64_t judged() const noexcept { return now - slip; }
    /// After its forecast has changed.
    void refresh(std::uint32_t rail) noexcept
    {
        busy_for[rail] = static_cast<float>(forecasts[rail].of(0) / 16);
        per_byte[rail] = static_cast<float>(forecasts[rail].ns_per_byte / 16);
    }
    /// What a byte costs on it was learned.
    void learn(std::uint32_t rail, double ns_per_byte) noexcept;
    /// One that was never measured may be as fast as the best of the others. If its driver promises less, it would be
    /// tried only when those are busy.
    void presume(const lane&) noexcept;
    /// Rates that were learned long ago may be wrong: without being tried again a rail would stay slow.
    void drift(std::uint64_t now) noexcept;

    driver* by;
    bool pulls = false;
    bool watched = false;                ///< its rails may be lost
    bool posted = false;                 ///< since the last flush
    bool again = false;                  ///< some lane may have something resumed
    std::uint64_t usable = 0;            ///< bits of rails that are not given up
    barrier unusable, full;              ///< full: the window is, or it refused the latest
    std::uint64_t working = 0;           ///< bits of rails with something in flight
    std::uint64_t now = 0;               ///< nanoseconds, of the latest look at the clock
    std::uint64_t drifted = 0;
    // Looks at what is overdue. Time in which nobody could have looked does not count.
    std::uint64_t look_at = 0, looked = 0, between = 0, slip = 0;
    std::uint32_t next_rail = 0;         ///< of equals, whose turn it is
    std::size_t next_line = 0;
    std::vector<forecast> forecasts;     ///< by rail
    /// The same for choosing, which looks at all of them: in units of 16 ns, what is in flight and what a
    /// byte takes.
    alignas(64) std::array<float, most_rails> busy_for{}, per_byte{};
    std::vector<lane> lanes;             ///< by rail
    std::vector<std::unique_ptr<line>> lines;
    std::vector<barred_path> barred;
};

template <bool with_room>
inline std::uint32_t port::soonest(const barrier& others, double more) const noexcept
{
    constexpr float longest = 33e6f; // half a second; what is longer is all the same
    const auto bytes = static_cast<float>(more);
    const auto first = static_cast<std::int32_t>(next_rail);
    const auto rails = static_cast<std::int32_t>((lanes.size() + 3) / 4 * 4);
    // A word for each rail, the time above and its number below: the least word is both. Of equals the
    // numbers decide, which are turned so that all have their turn.
    std::int32_t best = barrier::closed;
    for (std::int32_t r = 0; r < rails; ++r) {
        const auto at = static_cast<std::size_t>(r);
        const float end = busy_for[at] + bytes * per_byte[at];
        const auto time = static_cast<std::int32_t>(end < longest ? end : longest);
        std::int32_t word = ((time << 6) | (r ^ first)) | others.words[at] | unusable.words[at];
        if constexpr (with_room) word |= full.words[at];
        best = word < best ? word : best;
    }
    return best == barrier::closed ? most_rails : static_cast<std::uint32_t>((best & 63) ^ first);
}

} // namespace wye::detail
