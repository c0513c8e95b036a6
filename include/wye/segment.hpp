// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>

namespace wye {

class driver;

namespace detail {
class engine;
class ledger;
struct link;

/// Whether a peer's memory may be reached.
enum class standing : std::uint8_t { good, stale, withdrawn, lost };
} // namespace detail

/// Where bytes live.
enum class tier : std::uint8_t { dram, vram, file, block, object };
inline constexpr std::size_t tier_count = 5;

/// "DRAM", "VRAM", "FILE", "BLOCK", "OBJ".
std::string_view name_of(tier) noexcept;

/// What a handle may do with what it names.
enum class access : std::uint8_t { read_only, read_write };

/// One registered stretch of one tier: a buffer, an open file, an object. The runtime owns it through a
/// `region`, `file` or `object`; a driver that opens things of its own derives from it.
///
/// Used on the runtime's thread only. `engine` and what follows it are the
/// runtime's.
class segment {
public:
    static constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::size_t most_drivers = 12;

    explicit segment(wye::tier t) noexcept;
    segment(const segment&) = delete;
    segment& operator=(const segment&) = delete;
    virtual ~segment();

    /// What stands in messages: a path, a key, "DRAM 0x7f… +64 MiB".
    virtual std::string_view describe() const noexcept { return {}; }
    /// Of a file that is open past the page cache (O_DIRECT, in blocks of 4096), for drivers that move what others have opened:
    /// its descriptor, which closes with the segment; who keeps it longer makes one of its own. -1: there is none.
    virtual int descriptor() const noexcept { return -1; }

    const wye::tier tier;
    wye::access access = wye::access::read_write;
    std::int32_t device = 0;            ///< GPU ordinal; 0 elsewhere
    std::uint32_t peer = 0;             ///< whose memory it is, by its driver's count of them; 0: ours
    std::uint32_t reach = 0;            ///< what this differs of may go other ways, or over other rails: a fabric sets it of
                                        ///< memory where it imports, and any driver may where it enlists; 0: nothing is known
    std::uint32_t open_to = 0;          ///< two bits for each driver, by `driver::id()`, that it sets where it enlists if it
                                        ///< reaches some memory of a kind, and not all
    std::byte* base = nullptr;          ///< first byte, for tiers with addresses (DRAM, VRAM)
    std::uint64_t length = 0;           ///< bytes; `unbounded` where only the tier knows (a growing file, an object)
    driver* home = nullptr;             ///< the driver that opened it; null for memory, and when the driver has gone first
    std::array<std::uintptr_t, most_drivers> notes{}; ///< one word for each driver, by `driver::id()`

    detail::engine* engine = nullptr;   ///< the agent it is registered with; null once that is gone
    std::uint32_t kind = 0;             ///< routes are looked up by this
    std::uint32_t place = 0;            ///< in the agent's list
    std::uint32_t in_flight = 0;        ///< transfers that hold it
    bool released = false;              ///< its handle is gone; the last transfer frees it
    detail::standing standing{};        ///< of a peer's memory
    bool shown = false;                 ///< published, or lent to a peer: who knows of it is told when it goes
    bool served = false;                ///< the peer's agent does what is asked of it there: no fabric reaches it by itself
    detail::link* via = nullptr;        ///< the connection to the peer whose memory it is
    std::uint64_t epoch = 0;            ///< of what the peer published
    std::unique_ptr<detail::ledger> sums; ///< checksums of what was written under `verify`
};

/// A view of part of a segment. A value: copy it freely. It borrows: the region, file or object that it
/// was taken from must outlive every transfer that uses it (an object may go as soon as the transfer
/// has started).
struct slice {
    static constexpr std::uint64_t whole = std::numeric_limits<std::uint64_t>::max();

    segment* of = nullptr;
    std::uint64_t offset = 0; ///< bytes from the segment's start
    std::uint64_t length = 0; ///< bytes; `whole` for an object whose length the other side decides

    /// The part `[at, at + bytes)` of this slice. Checked when it is used, not here.
    constexpr slice sub(std::uint64_t at, std::uint64_t bytes) const noexcept { return {of, offset + at, bytes}; }
    /// The `index`th block of `bytes` bytes.
    constexpr slice block(std::uint64_t index, std::uint64_t bytes) const noexcept { return sub(index * bytes, bytes); }
    wye::tier tier() const noexcept { return of->tier; }
    /// Its address, for tiers that have one.
    std::byte* data() const noexcept { return of->base + offset; }
    friend constexpr bool operator==(const slice&, const slice&) = default;
};

/// One piece of a batch: bytes of `from` go to `to`.
struct transfer {
    slice from, to;
};

} // namespace wye
