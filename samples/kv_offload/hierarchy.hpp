// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <wye/wye.hpp>

#include "settings.hpp"

namespace kv {

/// Where a block's bytes are: a slot on loan from a bounded tier, or an object, which is bound by nothing.
/// Letting go of it gives the slot back.
struct place {
    level where = level::nowhere;
    wye::pool::lease slot;
};

/// One side of a copy. An object is named for as long as the copy needs it.
struct side {
    std::optional<wye::object> object;
    wye::slice bytes;
};

/// The tiers as wye sees them: two arenas or a GPU's memory and one, a file, a bucket.
///
/// A bounded tier has `spare` slots more than the blocks that it may keep. A block that leaves holds its slot
/// until its copy has landed below, so this is how far write-back may lag, and how many blocks can arrive
/// before one has to wait for it.
class hierarchy {
public:
    explicit hierarchy(wye::agent& agent) noexcept : agent_{&agent} {}

    /// Opens the tiers that the settings call for. Throws a line that says which of them failed.
    wye::task<> open(const settings&);

    bool has(level) const noexcept;
    level top() const noexcept { return has(level::vram) ? level::vram : level::dram; }
    std::uint32_t spare() const noexcept { return spare_; }
    std::size_t block_bytes() const noexcept { return block_bytes_; }
    wye::agent& agent() const noexcept { return *agent_; }
    const std::string& file_path() const noexcept { return file_path_; }

    /// A slot, at once if there is one.
    std::optional<place> try_take(level);
    /// A slot, as soon as there is one.
    wye::task<place> take(level);
    /// Copies a block. Ends with what went wrong, if anything did.
    wye::task<wye::error_code> copy(const place& from, const place& to, block_id, wye::copy_options);
    /// Computes a block in VRAM or DRAM. Only a GPU may fail in that.
    wye::task<wye::error_code> fill(const place&, block_id);
    /// Whether it is there, every byte of it.
    wye::task<bool> holds(const place&, block_id);
    std::string gpu_name() const { return gpu_name_; }

    /// Slots on loan.
    std::uint64_t leases() const;

private:
    wye::task<> open_memory(level, std::uint32_t blocks);
    wye::task<> open_gpu(const settings&);
    bool paged(const place& p) const noexcept { return p.where == level::vram && gpu_.size() != 0; }
    wye::task<wye::error_code> copy_pages(const place& vram, wye::slice dram, bool up, wye::copy_options);
    wye::task<wye::error_code> copy_plain(const place& from, const place& to, block_id, wye::copy_options);
    side side_of(const place&, block_id) const;
    std::span<std::byte> memory_of(const place&) const noexcept;
    wye::task<> open_file(const settings&);
    wye::pool& pool(level l) const noexcept { return *pools_[static_cast<std::size_t>(l)]; }

    wye::agent* agent_;
    std::size_t block_bytes_ = 0;
    std::uint32_t spare_ = 0;
    std::string file_path_;
    std::array<std::unique_ptr<wye::pool>, level_count> pools_; ///< of bounded tiers

    // With a GPU: a block is a page of K and one of V in each layer, all of them far apart. FILE and OBJ have it in one piece,
    // and so have the buffers that it goes through.
    wye::gpu_memory gpu_;
    std::string gpu_name_;
    std::size_t pages_ = 0;                    ///< of a block
    wye::prepared vram_pages_;                 ///< by layer, K or V, slot
    std::unique_ptr<wye::pool> scratch_;
    wye::region scratch_memory_;

    std::array<wye::region, 2> memories_;                       ///< VRAM, DRAM
    wye::file file_;
    wye::bucket bucket_;
};

} // namespace kv
