// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <wye/fabric.hpp>

#include "errands.hpp"
#include "eventual.hpp"
#include "operation.hpp"
#include "proof.hpp"
#include "serving.hpp"
#include "stream.hpp"

namespace wye::detail {

class peers;

/// Where a connection is in its life.
enum class link_state : std::uint8_t {
    calling,   ///< it said hello, and waits for the challenge
    proving,   ///< it answered that, and waits to be welcome
    answering, ///< somebody said hello, and has to answer the challenge
    open,
    lost,      ///< silent for too long, refused, or another life has come
    parting,   ///< nobody here holds it any more: it goes when what is said has been heard
    over,      ///< for good; kept while somebody holds it, or something of it is under way
};

/// What a peer has published, as it is reached from here.
struct reached {
    std::unique_ptr<segment> now; ///< null when nothing is there
    std::uint64_t epoch = 0, edition = 0;
    std::vector<std::unique_ptr<segment>> before; ///< of earlier epochs: slices of them fail by name, and never dangle
    bool older_than(const wire::publication& p) const noexcept
    {
        return epoch < p.epoch || (epoch == p.epoch && edition < p.edition);
    }
};

/// That nothing is under way by older keys, said when it is so.
struct drain {
    std::string name;
    std::uint64_t epoch = 0, edition = 0;
    bool renewed = true; ///< no chunk that was posted by an older key is out
};

/// What a peer knows of what is published here.
struct held {
    std::uint64_t epoch = 0, edition = 0;
};

/// How another agent may be reached.
struct way {
    fabric* by;
    wire::bytes address;
};

/// A connection to another agent by one fabric.
struct link {
    link(peers& p, fabric& f) noexcept : of{&p}, by{&f} {}

    peers* of; ///< null when the agent is gone, and only a handle is left
    fabric* by;
    link_state state = link_state::calling;
    std::uint32_t number = 0; ///< the fabric's; 0 until it is admitted
    std::uint64_t token = 0, their_token = 0;

    std::string name;
    wire::incarnation life;
    std::uint64_t longest_gap = 0;
    wire::nonce nonce{}, their_nonce{};
    std::uint64_t began = 0;     ///< nanoseconds
    std::uint64_t say_again = 0; ///< hello, or the challenge: when, 0 for never
    std::uint32_t said = 0;
    std::vector<std::shared_ptr<eventual<error_code>>> waiting; ///< in `connect`
    std::size_t unsettled = 0;   ///< names whose present state the peer has not told
    std::vector<wire::publication> offered;     ///< of the metadata, until it is open
    std::vector<way> others;     ///< to try should this one lead nowhere, the last first
    std::uint64_t way_ends = 0;  ///< nanoseconds: when the next is tried if nothing has come by this one

    stream talk;
    bool dirty = false;         ///< in the list of those with something to say
    bool owes_answer = false;   ///< what came has not been acknowledged
    bool takes_puts = false;    ///< the other side does
    bool heard = false;         ///< anything, since the last tick
    std::uint32_t silent = 0;   ///< ticks in which something was expected, and nothing came

    std::uint32_t handles = 0;  ///< `peer`s of this side
    bool held_there = false;    ///< the other side has any
    bool said_goodbye = false;  ///< that we have none: the other side may end it at any time
    bool admitting = false, severing = false, severed = false;
    std::uint32_t closing = 0;  ///< of what is published here: ways in for it that are being closed
    std::uint64_t free_at = 0;  ///< parting: until then what it says once more is answered
    error_code why;             ///< lost

    std::map<std::string, reached, std::less<>> theirs;
    std::map<std::string, wire::publication, std::less<>> asked; ///< of new metadata, until the peer says how it is
    std::map<std::string, held, std::less<>> ours;
    std::vector<drain> drains;

    // Of what no fabric reaches.
    std::unique_ptr<errand_book> errands;   ///< what the peer is asked to do
    std::unique_ptr<service_book> services; ///< and what it asks for
    list<far_segment> objects;              ///< of its, below buckets, that are named here

    // As the rails see it (failover.cpp).
    std::uint64_t latest = 0;   ///< nanoseconds: when anything of it arrived, or landed there
    bool quiet = false;         ///< something is overdue, and nothing came meanwhile
    list<leg> parked;           ///< what waits until it is heard again, or lost
    std::uint64_t barred = 0;   ///< bits of rails that do not lead to it (paths.cpp)
    std::uint64_t cut_off = 0;  ///< nanoseconds: since when none does that something waits for; 0 otherwise

    bool alive() const noexcept { return state == link_state::open; }
    bool in_use() const noexcept; ///< by copies of ours
    bool serves() const noexcept; ///< the peer, here and now
};

} // namespace wye::detail
