// SPDX-License-Identifier: Apache-2.0
// What others say and write here. It comes from memory that they may write at any time, so each thing is copied once, and
// checked then.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "driver.hpp"

namespace wye::nearby {

namespace {

constexpr std::size_t most_heard = 256_KiB; // from one ring, in one turn

std::uint64_t units_of(const record& r) noexcept { return 1 + (std::uint64_t{r.bytes} + unit - 1) / unit; }

/// Whether there can be such a record there, of a ring of so many units, with so many written.
bool sound(const record& r, std::uint64_t head, std::uint64_t units, std::uint64_t written) noexcept
{
    const std::uint64_t to_end = units - head % units;
    if (units_of(r) > std::min(to_end, written)) return false;
    switch (r.kind) {
    case record_kind::filler: return units_of(r) == to_end;
    case record_kind::message: return r.bytes <= most_message;
    case record_kind::put: return r.bytes != 0;
    case record_kind::pull:
    case record_kind::gpu_pull: return r.bytes == 0 && r.length != 0;
    }
    return false;
}

/// The numbers of processes come again, but not with the time that they began.
bool is_there(pid_t pid, std::uint64_t since) noexcept { return began(pid) == since; }

} // namespace

std::size_t nearby_driver::hear(turn t) noexcept
{
    std::size_t n = 0;
    for (std::size_t w = 0; w < pending_.size(); ++w) {
        std::atomic<std::uint64_t>& rang = mine_.header().rang[w];
        if (rang.load(std::memory_order_relaxed) != 0) pending_[w] |= rang.exchange(0, std::memory_order_seq_cst);
        for (std::uint64_t left = pending_[w]; left != 0; left &= left - 1) {
            if (n != 0 && t.over()) return n;
            const auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
            const auto i = static_cast<std::uint32_t>(w * 64 + bit);
            if (i >= inbound_.size() || hear(i, t, n)) pending_[w] &= ~(std::uint64_t{1} << bit);
        }
    }
    return n;
}

/// What is in one ring. False: not all of it.
bool nearby_driver::hear(std::uint32_t i, turn t, std::size_t& heard) noexcept
{
    if (!know(i)) return true;
    inbound& in = inbound_[i];
    slot& s = mine_.slot(i);
    const std::uint64_t units = mine_.ring_bytes() / unit, begin = in.head;
    std::uint64_t tail = s.tail.load(std::memory_order_acquire);
    bool all = true;
    while (all && (in.head != tail || in.head != (tail = s.tail.load(std::memory_order_acquire)))) {
        auto& there = *reinterpret_cast<record*>(mine_.ring(i) + in.head % units * unit);
        const record r = there;
        if (tail < in.head || tail - in.head > units || !sound(r, in.head, units, tail - in.head) || !take(i, r, there)) {
            shut(i);
            return true;
        }
        in.head += units_of(r);
        s.head.store(in.head, std::memory_order_release);
        ++heard;
        all = (in.head - begin) * unit < most_heard && !t.over();
    }
    if (in.head != begin && in.of) {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        in.of->wake();
    }
    if (phase_of(s.state.load(std::memory_order_acquire)) == phase::released && all) forget(i);
    return all;
}

/// Whose it is, if it is anybody's who has business here.
bool nearby_driver::know(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    slot& s = mine_.slot(i);
    const std::uint64_t state = s.state.load(std::memory_order_acquire);
    if (!in.known) {
        if (phase_of(state) == phase::released) forget(i);
        if (phase_of(state) != phase::open) return false;
        in.known = true;
        in.by = s.by;
        in.pulls.resize(most_pulls);
        if (gpus_) in.gpu_pulls.resize(most_pulls);
        in.pid = pid_of(state);
        if (in.by.door != door_) shut(i);
        else if (options_.tracers == tracers::peer && !declare(in.pid)) refuse(in.by.who);
    }
    if (!in.of && s.shut.load(std::memory_order_relaxed) == 0) {
        const auto its = [&](const auto& k) { return k->who == in.by.who && !k->lost; };
        const auto k = std::find_if(contacts_.begin(), contacts_.end(), its);
        if (k != contacts_.end()) in.of = k->get();
    }
    if (s.shut.load(std::memory_order_relaxed) == 0) return true;
    if (phase_of(state) == phase::released) forget(i);
    return false;
}

/// Nothing more is taken from there.
void nearby_driver::shut(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    in.asked = in.pulled;
    std::erase(pulling_, i);
    drop_gpu_pulls(i);
    mine_.slot(i).shut.store(1, std::memory_order_seq_cst);
    if (in.of) in.of->wake();
}

/// Whoever had it touches it no more: it is another's next.
void nearby_driver::forget(std::uint32_t i) noexcept
{
    drop_gpu_pulls(i);
    inbound_[i] = {};
    std::erase(pulling_, i);
    slot& s = mine_.slot(i);
    s.shut.store(0, std::memory_order_relaxed);
    s.tail.store(0, std::memory_order_relaxed);
    s.head.store(0, std::memory_order_relaxed);
    s.pulled.store(0, std::memory_order_relaxed);
    s.gpu_pulled.store(0, std::memory_order_relaxed);
    s.state.store(slot_state(0, phase::free), std::memory_order_release);
}

/// One record. False: it makes no sense.
bool nearby_driver::take(std::uint32_t i, const record& r, record& there) noexcept
{
    const auto* const bytes = reinterpret_cast<const std::byte*>(&there + 1);
    inbound& in = inbound_[i];
    switch (r.kind) {
    case record_kind::message:
        std::memcpy(letter_.data(), bytes, r.bytes);
        received({letter_.data(), r.bytes});
        return true;
    case record_kind::put: there.outcome = static_cast<std::uint32_t>(put(in, r, bytes)); return true;
    case record_kind::pull:
        if (in.asked - in.pulled == most_pulls) return false;
        if (in.asked == in.pulled) pulling_.push_back(i);
        in.pulls[in.asked++ % most_pulls] = {r.token, r.offset, r.source, r.length, 0};
        return true;
    case record_kind::gpu_pull:
        if (!gpus_ || in.gpu_asked - in.gpu_pulled == most_pulls) return false; // nobody was told that we have any
        if (in.gpu_asked == in.gpu_begun) gpu_pulling_.push_back(i);
        in.gpu_pulls[in.gpu_asked++ % most_pulls] = {r.token, r.offset, r.source, r.length, {r.serial, r.number}, {}};
        return true;
    default: return true;
    }
}

/// By what that may be written, if it may.
auto nearby_driver::writable(tier t, std::uint64_t token, std::uint64_t offset, std::uint64_t length, status& is) const noexcept
    -> const granted*
{
    const std::uint64_t number = token % most_grants;
    const granted* const g = number < granted_.size() ? &granted_[number] : nullptr;
    is = status::fine;
    if (!g || !g->what || g->is.token != token) is = status::withdrawn;
    else if (!g->is.writable) is = status::read_only;
    else if (g->what->tier != t || offset > g->is.length || length > g->is.length - offset) is = status::out_of_range;
    return is == status::fine ? g : nullptr;
}

/// Where in our DRAM that is.
std::byte* nearby_driver::place(std::uint64_t token, std::uint64_t offset, std::uint64_t length, status& is) const noexcept
{
    const granted* const g = writable(tier::dram, token, offset, length, is);
    return g ? g->what->base + offset : nullptr;
}

status nearby_driver::put(const inbound& in, const record& r, const std::byte* bytes) noexcept
{
    if (!in.of) return status::not_known;
    status is{};
    if (std::byte* const to = place(r.token, r.offset, r.bytes, is)) std::memcpy(to, bytes, r.bytes);
    return is;
}

/// Takes what others want written here: of each that wants something, a slice in turn.
std::size_t nearby_driver::pull(turn t, std::size_t& budget) noexcept
{
    std::size_t n = 0;
    for (; !pulling_.empty() && budget != 0 && (n == 0 || !t.over()); ++n) {
        const std::uint32_t i = pulling_.front();
        budget -= std::min(budget, pull_some(i));
        if (pulling_.empty() || pulling_.front() != i) continue; // it was shut
        pulling_.erase(pulling_.begin());
        if (inbound_[i].asked != inbound_[i].pulled) pulling_.push_back(i);
    }
    return n;
}

/// A slice of the first. How many bytes that was.
///
/// Whoever asked may have given it up, and use its memory for something else. It says so first (`cancelled`, or by releasing
/// the slot); should that come in the middle of a slice, the rest of this slice is all that lands, before anything else is
/// done here.
std::size_t nearby_driver::pull_some(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    slot& s = mine_.slot(i);
    wanted& w = in.pulls[in.pulled % most_pulls];
    const bool given_up = s.cancelled[in.pulled % most_pulls].load(std::memory_order_acquire) != 0 ||
                          phase_of(s.state.load(std::memory_order_acquire)) != phase::open;
    status is{};
    std::byte* const to = place(w.token, w.offset, w.length, is);
    if (!in.of || in.of->lost || given_up) is = status::not_known;
    if (is != status::fine) return pulled(i, is), 0;
    const std::size_t n = std::min<std::uint64_t>(w.length - w.done, slice_);
    const iovec local{to + w.done, n}, distant{reinterpret_cast<void*>(w.source + w.done), n};
    const ssize_t got = ::process_vm_readv(in.of->pid, &local, 1, &distant, 1, 0);
    if (got <= 0 || !in.of->lives()) {
        if (got > 0 || errno != EFAULT) in.of->lost = suspects_ = true;
        pulled(i, got > 0 || errno != EFAULT ? status::not_known : status::fault);
        return 0;
    }
    w.done += static_cast<std::uint64_t>(got);
    if (w.done == w.length) pulled(i, status::fine);
    return static_cast<std::size_t>(got);
}

/// The first is over, and its sender hears of it.
void nearby_driver::pulled(std::uint32_t i, status is) noexcept
{
    inbound& in = inbound_[i];
    slot& s = mine_.slot(i);
    s.outcomes[in.pulled % most_pulls].store(static_cast<std::uint8_t>(is), std::memory_order_relaxed);
    s.pulled.store(++in.pulled, std::memory_order_seq_cst);
    if (in.of) in.of->wake();
}

/// Slots of processes that have ended without a word.
void nearby_driver::sweep() noexcept
{
    for (std::uint32_t i = 0; i < inbound_.size(); ++i) {
        const std::uint64_t state = mine_.slot(i).state.load(std::memory_order_acquire);
        const inbound& in = inbound_[i];
        if (phase_of(state) == phase::free || in.of) continue;
        const bool there = in.known ? is_there(in.pid, in.by.began) : ::kill(pid_of(state), 0) == 0 || errno != ESRCH;
        if (phase_of(state) == phase::released || !there) forget(i);
    }
}

} // namespace wye::nearby
