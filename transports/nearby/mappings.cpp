// SPDX-License-Identifier: Apache-2.0
#include "mappings.hpp"

#include <algorithm>

namespace wye::nearby {

bool read_export(const exported& there, std::uint64_t serial, gpu_sharing::handle& h) noexcept
{
    const std::uint64_t before = there.serial.load(std::memory_order_acquire);
    if (before == 0 || (serial != 0 && before != serial)) return false;
    h = there.handle;
    std::atomic_thread_fence(std::memory_order_acquire);
    return there.serial.load(std::memory_order_relaxed) == before;
}

void write_export(exported& here, const gpu_sharing::handle& h, std::uint64_t serial) noexcept
{
    here.serial.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    here.handle = h;
    here.serial.store(serial, std::memory_order_release);
}

mapping* mappings::find(gpu_sharing& by, const box_header& theirs, export_name what, std::int32_t device, status& is) noexcept
{
    const auto same = [&](const auto& m) {
        return m->what.number == what.number && m->what.serial == what.serial && m->device == device;
    };
    const auto it = std::find_if(all_.begin(), all_.end(), same);
    is = status::fine;
    if (it != all_.end()) return it->get();
    gpu_sharing::handle h;
    const bool shown = what.serial != 0 && what.number < most_exports && read_export(theirs.exports[what.number], what.serial, h);
    mapping made{what, device};
    if (shown) made.at = by.open(h, device, made.length);
    if (!made.at) return is = shown ? status::fault : status::withdrawn, nullptr;
    return all_.emplace_back(std::make_unique<mapping>(made)).get();
}

void mappings::drop_stale(gpu_sharing& by, const box_header& theirs) noexcept
{
    std::erase_if(all_, [&](const auto& m) {
        if (m->uses != 0 || theirs.exports[m->what.number].serial.load(std::memory_order_acquire) == m->what.serial) return false;
        by.close(m->at, m->device);
        return true;
    });
}

void mappings::drop_all(gpu_sharing& by) noexcept
{
    for (const auto& m : all_) by.close(m->at, m->device);
    all_.clear();
}

std::uintptr_t exports::show(box_header& h, const gpu_sharing::place& p) noexcept
{
    if (p.allocation == 0 || p.offset >> (64 - number_bits) != 0) return 0;
    const auto with = [&](std::uint64_t id) {
        return std::find_if(all_.begin(), all_.end(), [=](const allocation& a) { return (a.uses != 0 ? a.id : 0) == id; });
    };
    auto it = with(p.allocation);
    if (it == all_.end()) {
        it = with(0);
        if (it == all_.end() && all_.size() == most_exports) return 0;
        if (it == all_.end()) it = all_.insert(it, allocation{});
        *it = {p.allocation, ++last_serial_, 0};
        write_export(h.exports[static_cast<std::size_t>(it - all_.begin())], p.handle, it->serial);
    }
    ++it->uses;
    return static_cast<std::uintptr_t>(p.offset << number_bits) + static_cast<std::uintptr_t>(it - all_.begin()) + 1;
}

bool exports::hide(box_header& h, std::uintptr_t note) noexcept
{
    const std::uint32_t number = name_of(note).number;
    if (--all_[number].uses != 0) return false;
    h.exports[number].serial.store(0, std::memory_order_seq_cst);
    return true;
}

export_name exports::name_of(std::uintptr_t note) const noexcept
{
    const auto number = static_cast<std::uint32_t>(note & ((1u << number_bits) - 1)) - 1;
    return {all_[number].serial, number};
}

} // namespace wye::nearby
