// SPDX-License-Identifier: Apache-2.0
#include "hierarchy.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <stdexcept>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>

#include <unistd.h>

#include "content.hpp"

namespace kv {

using namespace wye::literals;
namespace asio = boost::asio;

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
    if (s.vram == vram_kind::gpu) co_await open_gpu(s);
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

wye::task<> hierarchy::open_gpu(const settings& s)
{
    constexpr std::uint32_t buffers = 16;
    const std::size_t slots = s.vram_blocks + spare_;
    agent_->add(wye::drivers::cuda());
    gpu_name_ = wye::read_cuda().devices.front().name;
    gpu_ = wye::gpu_memory{slots * block_bytes_};
    wye::region known = co_await agent_->register_memory(gpu_.memory());
    memories_[static_cast<std::size_t>(level::vram)] = std::move(known);
    pages_ = std::size_t{2} * s.layers;
    vram_pages_ = agent_->prepare(wye::blocks_of(memories_[static_cast<std::size_t>(level::vram)], block_bytes_ / pages_));
    pools_[static_cast<std::size_t>(level::vram)] = std::make_unique<wye::pool>("gpu", block_bytes_, static_cast<std::uint32_t>(slots));
    scratch_ = std::make_unique<wye::pool>(block_bytes_, buffers);
    wye::region scratch = co_await agent_->register_memory(scratch_->memory());
    scratch_memory_ = std::move(scratch);
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

/// A block in one piece of DRAM, and its pages in VRAM.
wye::task<wye::error_code> hierarchy::copy_pages(const place& vram, wye::slice dram, bool up, wye::copy_options how)
{
    const std::size_t slots = vram_pages_.size() / pages_, page = block_bytes_ / pages_;
    how.verify = false; // nothing to compare with between memories
    std::vector<wye::transfer> pages;
    pages.reserve(pages_);
    for (std::size_t i = 0; i < pages_; ++i) {
        const wye::slice here = dram.block(i, page), there = vram_pages_[i * slots + vram.slot.index()];
        if (up) pages.push_back({here, there});
        else pages.push_back({there, here});
    }
    const auto [error, bytes] = co_await wye::copy(pages, how, asio::as_tuple(asio::deferred));
    co_return error;
}

wye::task<wye::error_code> hierarchy::copy_plain(const place& from, const place& to, block_id id, wye::copy_options how)
{
    const side a = side_of(from, id), b = side_of(to, id);
    const auto [error, bytes] = co_await wye::copy(a.bytes, b.bytes, how, asio::as_tuple(asio::deferred));
    co_return error;
}

wye::task<wye::error_code> hierarchy::copy(const place& from, const place& to, block_id id, wye::copy_options how)
{
    if (!paged(from) && !paged(to)) co_return co_await copy_plain(from, to, id, how);
    const bool up = paged(to);
    const place& other = up ? from : to;
    if (other.where == level::dram) {
        const side s = side_of(other, id);
        co_return co_await copy_pages(up ? to : from, s.bytes, up, how);
    }
    const wye::pool::lease buffer = co_await scratch_->acquire();
    const wye::slice whole = scratch_memory_.block(buffer.index(), block_bytes_);
    const side s = side_of(other, id);
    if (!up) {
        const wye::error_code failed = co_await copy_pages(from, whole, false, how);
        if (failed) co_return failed;
    }
    const auto [error, bytes] = co_await wye::copy(up ? s.bytes : whole, up ? whole : s.bytes, how, asio::as_tuple(asio::deferred));
    if (error || !up) co_return error;
    co_return co_await copy_pages(to, whole, true, how);
}

wye::task<wye::error_code> hierarchy::fill(const place& p, block_id id)
{
    if (!paged(p)) {
        prefill(id, memory_of(p));
        co_return wye::error_code{};
    }
    const wye::pool::lease buffer = co_await scratch_->acquire();
    const wye::slice whole = scratch_memory_.block(buffer.index(), block_bytes_);
    prefill(id, {whole.data(), block_bytes_});
    const wye::copy_options how;
    co_return co_await copy_pages(p, whole, true, how);
}

wye::task<bool> hierarchy::holds(const place& p, block_id id)
{
    if (!paged(p)) co_return kv::holds(id, memory_of(p));
    const wye::pool::lease buffer = co_await scratch_->acquire();
    const wye::slice whole = scratch_memory_.block(buffer.index(), block_bytes_);
    const wye::copy_options how;
    const wye::error_code failed = co_await copy_pages(p, whole, false, how);
    co_return !failed && kv::holds(id, {whole.data(), block_bytes_});
}

std::uint64_t hierarchy::leases() const
{
    std::uint64_t out = scratch_ ? scratch_->blocks() - scratch_->free_blocks() : 0;
    for (const auto& p : pools_)
        if (p) out += p->blocks() - p->free_blocks();
    return out;
}

} // namespace kv
