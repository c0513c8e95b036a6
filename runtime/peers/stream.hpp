// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <utility>
#include <vector>

#include <wye/error.hpp>

#include "wire.hpp"

namespace wye::detail {

/// What must reach one peer, once and in any order, over messages that may be lost, doubled and overtaken. Records are
/// gathered into numbered frames, frames are sent until they are acknowledged. Knows nothing of fabrics or clocks: times
/// are nanoseconds of the caller's.
class stream {
public:
    /// Frames that may be under way. What more there is waits.
    static constexpr std::size_t window = 64;
    /// Numbers that are kept apart beyond those all of which came.
    static constexpr std::uint64_t span = 64;

    /// Called when the peer has what it belongs to (none), never will (`peer_lost`), or has rejected it.
    using told = std::function<void(errc)>;

    /// One message.
    struct frame {
        std::uint64_t number = 0;
        wire::bytes bytes;
        std::uint64_t due = 0;    ///< when it is to be sent (again)
        std::uint64_t sent = 0;   ///< the first time
        std::uint32_t attempts = 0;
        bool over = false;        ///< the peer has it
        std::uint16_t records = 0;
        std::vector<std::pair<std::uint16_t, told>> tell; ///< by record
    };

    // Outwards.
    void push(const wire::record&, told = {});
    /// The next frame that is due, its header up to date; null when there is none now.
    frame* next_due(std::uint64_t now, std::uint64_t token);
    void sent(frame&, std::uint64_t now) noexcept;
    void not_now(frame&, std::uint64_t now) noexcept; ///< the fabric would not take it
    /// When `next_due` will have something; 0: never.
    std::uint64_t due() const noexcept;
    bool idle() const noexcept { return frames_.empty(); }
    /// What is said now waits for what was said before.
    bool crowded() const noexcept { return frames_.size() >= window; }
    /// What is under way never arrives.
    void give_up();

    // Inwards.
    /// What the peer says that it has; calls `told`s.
    void heard(const wire::frame_header&, std::uint64_t now);
    /// The peer has taken that frame, and this record of it came to nothing; calls its `told`.
    void rejected(std::uint64_t frame, std::uint16_t record, errc why);
    /// Whether a numbered frame came for the first time, and is to be taken.
    bool fresh(std::uint64_t number) noexcept;
    /// The peer is not to hear that this frame came, until it has heard something else. As often released as withheld.
    void withhold(std::uint64_t number);
    void release(std::uint64_t number) noexcept;
    /// A header that says what came.
    wire::frame_header header(std::uint64_t token, std::uint64_t number, bool answer_please) const noexcept;

private:
    frame& next_frame();
    template <class Frames, class Do>
    static void each_under_way(Frames&, Do);
    bool came(std::uint64_t number) const noexcept;
    std::uint64_t patience(std::uint32_t attempts) const noexcept;
    void close(frame&, std::uint64_t now);

    static constexpr std::size_t most_spare = 16;

    std::list<frame> frames_;       // by number: under way, then waiting
    std::list<frame> spare_;        // that are over, and filled again
    std::uint64_t last_ = 0;        // number
    std::uint64_t all_ = 0, some_ = 0; // that came: all up to, and bits beyond
    std::vector<std::uint64_t> withheld_; // in order; seldom any
    double round_trip_ = 0;         // nanoseconds, smoothed; 0 before the first
};

} // namespace wye::detail
