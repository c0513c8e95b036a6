// SPDX-License-Identifier: Apache-2.0
// Reads: taken by who wants the bytes, and good only if the way in was still open after the last of them.
#include <algorithm>
#include <array>
#include <cerrno>

#include "driver.hpp"

namespace wye::nearby {

namespace {

constexpr std::size_t most_parts = 64; // taken by one call

iovec here(const chunk& c, std::size_t from, std::size_t n) noexcept { return {c.to.data() + from, n}; }

iovec there(const chunk& c, const description& by, std::size_t from, std::size_t n) noexcept
{
    return {reinterpret_cast<void*>(by.base + c.from.offset + from), n};
}

} // namespace

/// Whether that memory may still be read. After the bytes were taken, it says the same of them.
bool nearby_driver::good(const contact& k, const nearby::key& by) noexcept
{
    std::atomic_thread_fence(std::memory_order_acquire);
    return k.theirs.header().grants[by.is.number()].load(std::memory_order_acquire) == by.is.seal && k.lives();
}

/// Why that is not good.
error_code nearby_driver::why_not(const contact& k) noexcept { return k.lives() ? errc::withdrawn : errc::peer_lost; }

bool nearby_driver::move_at_once(const slice& from, const slice& to) noexcept
{
    if (from.of->home != this || from.tier() != tier::dram) return false;
    contact* const k = reached(from.of->peer);
    const nearby::key& by = *remote_of(from).by;
    if (!k || k->lost || !k->reads.empty() || from.offset > by.is.length || from.length > by.is.length - from.offset) return false;
    const iovec local{to.data(), to.length}, distant{reinterpret_cast<void*>(by.is.base + from.offset), from.length};
    return ::process_vm_readv(k->pid, &local, 1, &distant, 1, 0) == static_cast<ssize_t>(to.length) && good(*k, by);
}

/// Takes as many as one slice holds, in one call.
std::size_t nearby_driver::read(contact& k, std::size_t& budget, turn t) noexcept
{
    std::size_t n = 0;
    while (!k.reads.empty() && !k.lost && budget != 0 && (n == 0 || !t.over())) {
        std::array<iovec, most_parts> local, distant;
        std::size_t parts = 0, bytes = 0;
        for (chunk* c = k.reads.front(); c && parts != most_parts && bytes < slice_; c = c->next, ++parts) {
            const notes note{*c};
            const std::size_t part = std::min<std::size_t>(c->to.length - note.at, slice_ - bytes);
            local[parts] = here(*c, note.at, part);
            distant[parts] = there(*c, note.key().is, note.at, part);
            bytes += part;
        }
        const ssize_t got = ::process_vm_readv(k.pid, local.data(), parts, distant.data(), parts, 0);
        budget -= std::min(budget, bytes);
        if (got < 0 && errno != EFAULT) k.lost = suspects_ = true; // it has ended, or lets us in no more
        else took(k, got > 0 ? static_cast<std::size_t>(got) : 0, bytes);
        ++n;
    }
    return n;
}

/// So much of what was asked for is here. What is short ends at the first piece that is not all there to be read.
void nearby_driver::took(contact& k, std::size_t got, std::size_t asked) noexcept
{
    const bool whole = got == asked;
    while (!k.reads.empty()) {
        chunk& c = *k.reads.front();
        notes note{c};
        const std::size_t part = std::min<std::size_t>(c.to.length - note.at, got);
        note.at += part;
        got -= part;
        const bool all = note.at == c.to.length;
        if (!all && (whole || part != 0)) return; // the rest of it is next
        k.reads.pop();
        if (!good(k, note.key())) finish(c, why_not(k));
        else finish(c, all ? error_code{} : make_error_code(boost::system::errc::bad_address));
        if (!all || got == 0) return;
    }
}

} // namespace wye::nearby
