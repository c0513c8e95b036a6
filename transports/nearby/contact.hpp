// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <wye/driver.hpp>

#include "box.hpp"
#include "mappings.hpp"
#include "process.hpp"
#include "wire.hpp"

namespace wye::nearby {

/// Keys to a peer's memory, as its grant described them.
struct key {
    description is;
    std::uint32_t out = 0; ///< chunks on loan that were submitted by it
};

/// A peer's memory.
struct remote final : segment {
    using segment::segment;
    std::shared_ptr<key> by;
};

inline remote& remote_of(const slice& s) noexcept { return static_cast<remote&>(*s.of); }

/// Chunks in line.
class chunk_line {
public:
    bool empty() const noexcept { return !first_; }
    chunk* front() const noexcept { return first_; }
    void push(chunk& c) noexcept
    {
        c.next = nullptr;
        (first_ ? last_->next : first_) = &c;
        last_ = &c;
    }
    chunk* pop() noexcept
    {
        chunk* const c = first_;
        if (c) first_ = c->next;
        return c;
    }
    /// The first one went elsewhere, where its `next` is another by now.
    void take_front(chunk* next) noexcept { first_ = next; }

private:
    chunk* first_ = nullptr;
    chunk* last_ = nullptr;
};

/// What a chunk remembers in `chunk::scratch`.
struct notes {
    explicit notes(chunk& c) noexcept : by{c.scratch[0]}, first{c.scratch[1]}, at{c.scratch[2]} {}
    nearby::key& key() const noexcept { return *reinterpret_cast<nearby::key*>(by); }
    std::uint64_t& by;    ///< a `key`
    std::uint64_t& first; ///< puts: where in the ring its first record begins
    std::uint64_t& at;    ///< bytes that were posted, or taken; of a put in the ring, where its last record ends
};

/// Copies to where another processor reads next. `to` begins a `unit`, and all of the last one may be written.
void copy_out(std::byte* to, const std::byte* from, std::size_t n) noexcept;

/// The claimant's end of a ring in somebody else's box.
class ring_end {
public:
    ring_end() = default;
    ring_end(slot& s, std::byte* ring, std::size_t bytes) noexcept : slot_{&s}, ring_{ring}, units_{bytes / unit} {}

    /// Room for a record and that many bytes behind it, all in one, and so much left; null when there is none now.
    record* reserve(std::size_t bytes, std::size_t left) noexcept;
    /// What was reserved last is written. Seen by its owner when it looks, or was told.
    void publish() noexcept;
    /// Has a look at how far the owner is. False when that makes no sense.
    bool look() noexcept;
    /// Up to there room may be used again: what the owner said of it was read.
    void free(std::uint64_t up_to) noexcept { freed_ = up_to; }
    std::uint64_t tail() const noexcept { return tail_; }
    std::uint64_t head() const noexcept { return head_; } ///< at the last look
    /// Of a put that the owner is through with: all records of it. `status::fine`, or the first other.
    status outcome(std::uint64_t first, std::uint64_t last) const noexcept;

private:
    record& at(std::uint64_t position) const noexcept
    {
        return *reinterpret_cast<record*>(ring_ + position % units_ * unit);
    }

    slot* slot_ = nullptr;
    std::byte* ring_ = nullptr;
    std::uint64_t units_ = 0;
    std::uint64_t tail_ = 0, head_ = 0, freed_ = 0, reserved_ = 0;
};

/// What a peer was asked to take, in that order.
struct request_line {
    std::array<chunk*, most_pulls> chunks{}; ///< by count; null: nobody waits for it any more
    std::uint64_t asked = 0, taken = 0;      ///< counts of them
    bool any() const noexcept { return asked != taken; }
    bool full() const noexcept { return asked - taken == most_pulls; }
};

/// What its owner says of them, and we.
struct answer_line {
    std::atomic<std::uint64_t>& done;
    std::array<std::atomic<std::uint8_t>, most_pulls>& outcomes;
    std::array<std::atomic<std::uint8_t>, most_pulls>& cancelled;
};
inline answer_line pulls_of(slot& s) noexcept { return {s.pulled, s.outcomes, s.cancelled}; }
inline answer_line gpu_pulls_of(slot& s) noexcept { return {s.gpu_pulled, s.gpu_outcomes, s.gpu_cancelled}; }

/// Another agent of this machine, and what is under way to and from it.
struct contact {
    identity who;
    pid_t pid = 0;
    descriptor ended;   ///< readable when its process has ended
    descriptor bell;    ///< an eventfd that wakes it; until it is admitted a pipe
    box theirs;
    std::uint32_t alive = 0;    ///< what its `box_header::alive` is while it lives
    std::uint32_t place = 0;    ///< our slot in its box
    ring_end ring;
    std::vector<std::uint32_t> numbers; ///< that it is known by
    bool lost = false;          ///< nothing leads there any more
    bool told = false;          ///< and the runtime knows
    bool rings = false;         ///< something was published since it was told

    chunk_line waiting;         ///< writes that the ring has no room for
    chunk_line puts;            ///< in the ring, in its order
    request_line pulls, gpu_pulls;
    chunk_line reads;
    chunk_line gpu_reads;       ///< that no device has yet
    mappings mapped;            ///< its memory on GPUs
    std::array<std::uint32_t, most_gpus> reaches{}; ///< bits of our GPUs that reach memory of each of its

    nearby::slot& slot() const noexcept { return theirs.slot(place); }
    bool has_posted() const noexcept { return !puts.empty() || pulls.any() || gpu_pulls.any() || !waiting.empty(); }
    bool lives() const noexcept { return theirs.header().alive.load(std::memory_order_acquire) == alive; }
    bool refused() const noexcept { return slot().shut.load(std::memory_order_acquire) != 0; }
    /// Whether anything that was posted is over.
    bool has_news() const noexcept;
    /// Lets the ring use again what nobody asks about any more.
    void free_room() noexcept;
    /// Wakes it, if it sleeps.
    void wake() const noexcept;
    /// Tells it that something is in our ring.
    void ring_bell() noexcept;
    /// The last touch of our slot over there.
    void release() noexcept;
};

} // namespace wye::nearby
