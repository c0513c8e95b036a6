// SPDX-License-Identifier: Apache-2.0
#include "hierarchy.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <stdexcept>
#include <utility>

#include <unistd.h>

namespace kv {

using namespace wye::literals;

namespace {

/// Opening a tier fails with a line that says which.
template <class T>
wye::task<T> named(std::string what, wye::task<T> opening)
{
    try {
        co_return co_await std::move(opening);
    } catch (const wye::system_error& e) {
        if (e.code() == wye::errc::not_supported)
            throw std::runtime_error{what + ": nothing in this build serves it; dir:/some/folder is served"};
        throw std::runtime_error{what + ": " + e.code().message()};
    }
}

} // namespace

wye::task<> hierarchy::open(const settings& s)
{
    block_bytes_ = s.block_bytes();
    // Enough for the blocks of several requests; little beside the tiers themselves.
    spare_ = static_cast<std::uint32_t>(std::clamp<std::size_t>(16_MiB / block_bytes_, 8, 256));
    if (s.vram == vram_kind::standin) {
        agent_->add(wye::drivers::vram_standin());
        co_await open_memory(level::vram, s.vram_blocks);
    }
    if (s.policy == policy::recompute) {
        if (s.vram == vram_kind::none) co_await open_memory(level::dram, s.dram_blocks);
        co_return;
    }
    co_await open_memory(level::dram, s.dram_blocks);
    if (s.policy == policy::dram_only) co_return;
    if (s.file_blocks > 0) co_await open_file(s);
    if (!s.object.empty()) bucket_ = co_await named("OBJ tier " + s.object, agent_->open_bucket(s.object));
}

wye::task<> hierarchy::open_memory(level l, std::uint32_t blocks)
{
    auto& slots = pools_[static_cast<std::size_t>(l)];
    slots = std::make_unique<wye::pool>(block_bytes_, blocks + spare_);
    wye::memory memory = slots->memory();
    if (l == level::vram) memory = wye::vram(memory.base, memory.bytes);
    wye::region known = co_await agent_->register_memory(memory);
    memories_[static_cast<std::size_t>(l)] = std::move(known);
}

wye::task<> hierarchy::open_file(const settings& s)
{
    const std::uint32_t slots = s.file_blocks + spare_;
    file_path_ = s.file.empty() ? "kv_offload." + std::to_string(::getpid()) + ".cache" : s.file;
    wye::file_options options;
    options.temporary = s.file.empty();
    options.preallocate = std::uint64_t{slots} * block_bytes_; // a full disk is said now, not in mid-replay
    pools_[static_cast<std::size_t>(level::file)] =
        std::make_unique<wye::pool>(file_path_, block_bytes_, slots);
    file_ = co_await named("FILE tier " + file_path_, agent_->open_file(file_path_, options));
}

bool hierarchy::has(level l) const noexcept
{
    return l == level::object ? bool{bucket_} : l != level::nowhere && pools_[static_cast<std::size_t>(l)];
}

std::optional<place> hierarchy::try_take(level l)
{
    if (l == level::object) return place{l, {}};
    auto slot = pool(l).try_acquire();
    if (!slot) return std::nullopt;
    return place{l, std::move(*slot)};
}

wye::task<place> hierarchy::take(level l)
{
    place taken{l, {}};
    if (l != level::object) taken.slot = co_await pool(l).acquire();
    co_return taken;
}

side hierarchy::side_of(const place& p, block_id id) const
{
    if (p.where != level::object) {
        const std::uint32_t i = p.slot.index();
        if (p.where == level::file) return {std::nullopt, file_.block(i, block_bytes_)};
        return {std::nullopt, memories_[static_cast<std::size_t>(p.where)].block(i, block_bytes_)};
    }
    char key[32];
    std::snprintf(key, sizeof key, "kv/%02x/%016" PRIx64, static_cast<unsigned>(id & 0xff), id);
    side named{bucket_.object(key), {}};
    named.bytes = *named.object;
    return named;
}

std::span<std::byte> hierarchy::memory_of(const place& p) const noexcept
{
    return {pool(p.where).memory().base + p.slot.index() * block_bytes_, block_bytes_};
}

std::uint64_t hierarchy::leases() const
{
    std::uint64_t out = 0;
    for (const auto& p : pools_)
        if (p) out += p->blocks() - p->free_blocks();
    return out;
}

} // namespace kv
