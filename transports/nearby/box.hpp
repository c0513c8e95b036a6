// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <wye/gpu_sharing.hpp>

#include "process.hpp"

/// What processes share: one box for each driver, a memfd that its owner made and whoever may reads and writes. Nothing
/// in it is believed by its owner before it was copied and checked, nor by others.
namespace wye::nearby {

struct identity {
    std::uint64_t high = 0, low = 0;
    friend bool operator==(const identity&, const identity&) = default;
};

inline constexpr std::uint64_t box_magic = 0x32'78'6f'62'65'79'77; // "wyebox2"
inline constexpr std::uint32_t most_slots = 256, most_grants = 1u << 16, most_pulls = 256, most_exports = 4096;
inline constexpr std::uint32_t most_gpus = gpu_sharing::most_devices;
inline constexpr std::size_t most_message = 8192;
inline constexpr std::size_t unit = 64; ///< what rings are counted in: a cache line

enum class record_kind : std::uint16_t {
    filler = 1, ///< up to the end of the ring
    message,
    put,        ///< bytes to write; part of a chunk
    pull,       ///< bytes to take, from where they lie
    gpu_pull,   ///< the same from memory of a GPU into memory of a GPU
};

enum class status : std::uint32_t { fine = 1, withdrawn, read_only, out_of_range, fault, not_known };
error_code error_of(status) noexcept;

/// Which of a process's allocations on GPUs, and which one of those that had this number.
struct export_name {
    std::uint64_t serial = 0; ///< not 0
    std::uint32_t number = 0;
};

/// What stands in front of each record in a ring.
struct record {
    std::uint32_t bytes = 0;             ///< that follow
    record_kind kind{};
    std::uint16_t unused = 0;
    std::uint64_t token = 0;             ///< of the grant
    std::uint64_t offset = 0;            ///< in what was granted
    std::uint64_t source = 0;            ///< an address in its sender; of a GPU: in what is exported
    std::uint64_t length = 0;            ///< bytes from there
    std::uint32_t outcome = 0;           ///< the owner's `status`, once it is through with it
    std::uint32_t number = 0;            ///< of a GPU: `export_name`
    std::uint64_t serial = 0;
    std::uint64_t unused_too = 0;
};
static_assert(sizeof(record) == unit);

/// Whose a slot is, and what it may do with it: the number of a process above, below it one of these.
enum class phase : std::uint8_t {
    free,
    claiming, ///< by who will say in it who it is
    open,
    released, ///< whoever had it touches nothing of it any more
};
inline constexpr std::uint64_t slot_state(pid_t pid, phase p) noexcept
{
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(pid)) << 8 | static_cast<std::uint64_t>(p);
}
inline constexpr phase phase_of(std::uint64_t state) noexcept { return static_cast<phase>(state & 0xff); }
inline constexpr pid_t pid_of(std::uint64_t state) noexcept { return static_cast<pid_t>(state >> 8); }

/// Who claimed it.
struct claim {
    identity who;            ///< of the claimant's own box
    identity door;           ///< out of the owner's address: whoever does not know that has no business here
    std::uint64_t began = 0; ///< the claimant's process
};

/// A ring from one process to the owner of the box. It lies behind this.
struct slot {
    std::atomic<std::uint64_t> state;
    claim by;
    std::atomic<std::uint32_t> shut;                     ///< owner's: nothing in it is looked at
    alignas(unit) std::atomic<std::uint64_t> tail;       ///< claimant's: units written
    alignas(unit) std::atomic<std::uint64_t> head;       ///< owner's: units done with
    std::atomic<std::uint64_t> pulled;                   ///< owner's: pulls done with, in their order
    std::array<std::atomic<std::uint8_t>, most_pulls> outcomes;  ///< owner's: of each
    alignas(unit) std::array<std::atomic<std::uint8_t>, most_pulls> cancelled; ///< claimant's: not to be taken any more

    // The same of pulls between GPUs, which are counted by themselves: a device does them meanwhile.
    alignas(unit) std::atomic<std::uint64_t> gpu_pulled;
    std::array<std::atomic<std::uint8_t>, most_pulls> gpu_outcomes;
    alignas(unit) std::array<std::atomic<std::uint8_t>, most_pulls> gpu_cancelled;
    /// The claimant's: bits of its GPUs that reach memory of each of the owner's.
    std::array<std::atomic<std::uint32_t>, most_gpus> reaches;
};

/// An allocation on a GPU that others may open: its owner's, and good while `serial` is what was told of it.
struct exported {
    alignas(unit) std::atomic<std::uint64_t> serial; ///< 0: none
    gpu_sharing::handle handle;
};

struct box_header {
    std::uint64_t magic;
    std::atomic<std::uint64_t> slots, ring_bytes;
    identity who;
    alignas(unit) std::atomic<std::uint32_t> alive;    ///< see `keeper`
    alignas(unit) std::atomic<std::uint32_t> sleeping; ///< the owner wants its bell rung
    alignas(unit) std::array<std::atomic<std::uint64_t>, most_slots / 64> rang; ///< bits of slots with something new
    std::atomic<std::uint32_t> crowded;                ///< somebody found no slot
    alignas(unit) std::array<std::atomic<std::uint64_t>, most_grants> grants; ///< each one's `seal` while it is good
    std::array<exported, most_exports> exports;
    std::array<exported, most_gpus> samples; ///< of each of its GPUs, for others to try
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint8_t>::is_always_lock_free);

/// A box, mapped.
class box {
public:
    box() = default;
    box(box&& o) noexcept : at_{std::exchange(o.at_, nullptr)}, bytes_{o.bytes_}, slots_{o.slots_}, ring_bytes_{o.ring_bytes_} {}
    box& operator=(box&& o) noexcept;
    ~box();

    /// Makes one; the descriptor is what others open. Throws boost::system::system_error.
    static std::pair<box, descriptor> make(std::uint32_t slots, std::size_t ring_bytes, identity);
    /// Somebody else's. None unless it is one, of that agent, and can neither shrink nor grow.
    static box open(const descriptor&, identity);

    explicit operator bool() const noexcept { return at_ != nullptr; }
    box_header& header() const noexcept { return *reinterpret_cast<box_header*>(at_); }
    std::uint32_t slots() const noexcept { return slots_; }
    std::size_t ring_bytes() const noexcept { return ring_bytes_; }
    nearby::slot& slot(std::uint32_t) const noexcept;
    std::byte* ring(std::uint32_t) const noexcept;

private:
    box(std::byte* at, std::size_t bytes, std::uint32_t slots, std::size_t ring_bytes) noexcept
        : at_{at}, bytes_{bytes}, slots_{slots}, ring_bytes_{ring_bytes}
    {
    }

    std::byte* at_ = nullptr;
    std::size_t bytes_ = 0;
    std::uint32_t slots_ = 0;    ///< our own copy, as are all that bounds depend on
    std::size_t ring_bytes_ = 0;
};

} // namespace wye::nearby
