// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <boost/asio/error.hpp>
#include <boost/intrusive/list.hpp>

#include <wye/detail/pending.hpp>
#include <wye/driver.hpp>
#include <wye/options.hpp>

#include "peers/wire.hpp"
#include "timer_heap.hpp"

namespace wye::detail {

class engine;
struct link;
struct lane;
struct operation;
struct route;
struct pair_meter;

namespace intrusive = boost::intrusive;
using hook = intrusive::list_base_hook<intrusive::link_mode<intrusive::auto_unlink>>;
template <class T>
using list = intrusive::list<T, intrusive::constant_time_size<false>>;

inline bool is_object(const segment& s) noexcept { return s.tier == tier::object; }
inline bool is_storage(tier t) noexcept { return t == tier::file || t == tier::block || t == tier::object; }

/// Where a transfer of a batch is. Objects that need more than one piece are opened before and closed after.
enum class phase : std::uint8_t { fresh, opening_source, opening_target, moving, closing_target, closing_source, over };

/// One step of a session of an object, whose others are taken by other operations (sessions.cpp), and what it gave.
struct session_step {
    wye::step what{};             ///< not `move`
    bool of_source = false;
    std::uintptr_t session = 0;   ///< opened, or to be ended
    std::uint64_t total = 0;      ///< bytes of the object
    std::uint64_t checksum = 0;   ///< as in `chunk`
    bool has_checksum = false;
    bool taken = false;           ///< by the driver, and it went well
};

/// What the drivers of objects gave for the two sides, where they are opened at all.
struct sessions {
    std::uintptr_t source = 0, target = 0;
    bool source_open = false, target_open = false;
    bool joined = false;          ///< opened and ended by others
    std::uint64_t total = 0;      ///< joined: bytes of the object
    session_step* step = nullptr; ///< this operation is one
};

/// One transfer of an operation. A batch has an array of them, so they are kept small.
struct extent {
    segment* from = nullptr;
    segment* to = nullptr;
    std::uint64_t from_offset = 0, to_offset = 0, length = 0;
    std::uint64_t cut = 0;        ///< bytes that pieces were made for
    sessions* opened = nullptr;
    const detail::route* route = nullptr;
    std::uint32_t out = 0;        ///< pieces that have not ended
    std::uint32_t index = 0;      ///< in the caller's list
    phase at = phase::fresh;
    bool failed : 1 = false;
    bool held : 1 = false;        ///< counted in its segments and in the pair's meter
    bool judged : 1 = false;      ///< its checksum has been looked at
    bool on_trial : 1 = false;    ///< goes one of two ways, to find out which is faster (choice.cpp)
    bool whole : 1 = false;       ///< the source is an object named without a length

    /// It takes part in a session that others open and end.
    bool joined() const noexcept { return opened && opened->joined; }
    slice source() const noexcept { return {from, from_offset, length}; }
    slice target() const noexcept { return {to, to_offset, length}; }
};
static_assert(sizeof(extent) <= 80);

/// Inside segments of these lengths.
inline bool within(const extent& x, std::uint64_t from_length, std::uint64_t to_length) noexcept
{
    return x.from_offset <= from_length && x.length <= from_length - x.from_offset && //
           x.to_offset <= to_length && x.length <= to_length - x.to_offset;
}
/// The connection to the peer that has part in it; null when it is all ours.
inline link* via(const extent& x) noexcept { return x.from->via ? x.from->via : x.to->via; }

/// Why a peer's memory cannot be reached any more.
inline errc out_of_reach(const extent& x) noexcept
{
    for (const segment* s : {x.from, x.to}) {
        switch (s->standing) {
        case standing::good: break;
        case standing::stale: return errc::stale_epoch;
        case standing::withdrawn: return errc::withdrawn;
        case standing::lost: return errc::peer_lost;
        }
    }
    return {};
}
inline bool touches(const extent& x, const link& l) noexcept { return x.from->via == &l || x.to->via == &l; }
inline bool within(const extent& x) noexcept { return within(x, x.from->length, x.to->length); }

/// A file of a peer's: what is known of its content is known over there.
inline bool is_served_file(const segment& s) noexcept
{
    return s.served && (s.tier == tier::file || s.tier == tier::block);
}

/// The running checksum of an extent under `verify`.
struct check {
    std::uint32_t sum = 0;      ///< of the pieces seen, each shifted to its place
    std::uint32_t expected = 0;
    bool known = false;         ///< `expected` is
};

/// What is told when an operation is over, and to whom.
struct note : wire::notify {
    std::vector<std::uint64_t> to; ///< peers that have part in it: tokens of links, which may go meanwhile
};

/// How an operation is ordered with what a GPU does for others.
struct ordering {
    gpu_order after;
    gpu_wait before;
    device_order* by = nullptr;
    std::uintptr_t mark = 0;          ///< what its pieces come after
    std::uintptr_t held = 0;          ///< the stream that waits for it
    device_order::waiting waiting{};
    bool waits = false;               ///< it is in the engine's list of those whose point has not come
};

/// The extents of an operation that queue together for one driver.
struct leg : hook {
    operation* op = nullptr;
    std::uint32_t cursor = 0, end = 0; ///< extents not yet cut to the end
    std::uint32_t burst = 0;           ///< bytes since it last let others go first
    bool simple = false;               ///< straight over one hop, with nothing to open and nothing to sum
    bool woken = false;                ///< for a staging buffer, which it has not come for
};

/// A copy under way. Its memory is the loop's, and its last moments (completion queued, handler called) need
/// the loop alone: the engine may be gone by then. The timer is its deadline.
struct operation final : pending, hook, timer {
    explicit operation(loop& l) noexcept;

    extent* extents = nullptr;
    check* checks = nullptr;     ///< beside `extents`, under `verify`
    leg* legs = nullptr;
    error_code* status = nullptr;
    class wye::progress* progress = nullptr;
    note* notify = nullptr;
    ordering* ordered = nullptr;
    engine* by = nullptr;
    std::uint64_t began = 0;     ///< steady nanoseconds; 0 when this one is not sampled
    std::uint32_t count = 0, left = 0; ///< extents, and those not over
    std::uint32_t leg_count = 0;
    errc why{};                  ///< it was stopped; none when it was cancelled
    wye::priority priority = wye::priority::normal;
    bool verify = false;
    bool stopping = false;       ///< no more pieces
    bool over = false;
    bool moved = false;          ///< a byte may have landed
    bool alike = false;          ///< all extents lie between the same two segments, and need nothing special
    bool express = false;        ///< went the short way to the end, and so may be used again by `renew`
    bool served = false;         ///< it is a peer's, done for it here: nobody waits, its end is told to `serving`
    extent one;                  ///< most copies have no more than this
    leg only;

    /// What the short way has changed is as it was, but for what `engine::make` and `fill` set anyway.
    void renew() noexcept
    {
        bytes = 0;
        began = 0;
        over = moved = express = served = false;
    }
};
static_assert(sizeof(operation) <= 368);

/// What its pieces come after; 0: nothing.
inline std::uintptr_t mark_of(const operation& op) noexcept { return op.ordered ? op.ordered->mark : 0; }

/// What those of its transfers end with that had not ended by themselves when it was stopped.
inline error_code stop_error(const operation& op) noexcept
{
    if (!op.status) return op.error; // of the transfer that failed, if one did
    return op.why == errc{} ? error_code{boost::asio::error::operation_aborted} : make_error_code(op.why);
}

/// What a piece does next.
enum class stage : std::uint8_t { session, sum_before, hop, sum_between, last_hop, sum_after };

/// A chunk and what the runtime knows of it.
struct piece final : chunk, hook {
    operation* op = nullptr;
    extent* of = nullptr;
    leg* from_leg = nullptr;     ///< to resume when a session has opened
    lane* at = nullptr;          ///< whose window it is in; null outside
    std::uint64_t began = 0;
    std::uint64_t place = 0;     ///< offset within the extent
    std::uint64_t bytes = 0;     ///< its length when it was cut
    std::uint64_t summed = 0;
    std::uint32_t crc = 0;
    std::int32_t buffer = -1;    ///< staging buffer
    wye::detail::stage stage = stage::hop;
    bool simple = false;         ///< of a simple leg

    // Where rails may be lost (failover.cpp). The hook is for the lane's order.
    bool ghost = false;            ///< overdue, and sent again
    bool landed_elsewhere = false; ///< another of its ring did
    bool probes = false;           ///< goes though its peer is silent
    piece* sibling = nullptr;      ///< the next of the ring that carries the same bytes; null when alone
    bool stuck = false;            ///< overdue because its peer is silent: it is in no window any more
    std::uint64_t due = 0;         ///< when it is missed, in nanoseconds of its port's time
    std::uint64_t since = 0;       ///< in the window, or asked for again
};

/// The connection that it goes over, where it is; null when it stays here.
inline link* via(const piece& p) noexcept
{
    if (p.buffer < 0) return via(*p.of);
    return p.stage == stage::last_hop ? p.of->to->via : p.of->from->via;
}

} // namespace wye::detail
