// SPDX-License-Identifier: Apache-2.0
// Chunks to others: those that are written, by either way. What is said goes by the same ring.
#include "driver.hpp"

#include <algorithm>
#include <cstring>
#include <random>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace wye::nearby {

namespace {

constexpr std::size_t short_slice = 256_KiB; // when somebody counts the microseconds
/// Of a write, the most that is copied before the other side can begin to copy it out.
constexpr std::size_t put_bytes = 8_KiB;
/// What is taken in one poll, if that has no end: others wait for their turn.
constexpr std::size_t bytes_at_once = 1_MiB;
/// Of a ring, what chunks leave free: a word must get through, or a peer that is all ears is taken for a silent one.
constexpr std::size_t room_for_words = 2 * most_message;
/// How long `arm` declines when others owe us something, since a sleep takes as long.
constexpr auto patience = std::chrono::microseconds{150};
/// How often a poll that finds nothing looks again, and how many such polls do since anything was found.
constexpr std::uint32_t looks_to_linger = 32, polls_to_linger = 32;
constexpr std::uint32_t polls_per_look = 256; // at whether everybody lives
/// What keeps a GPU busy that copies a MiB in a microsecond, and is asked for each piece by another process.
constexpr std::size_t gpu_chunk_bytes = 8_MiB, gpu_window_bytes = 32_MiB;

identity draw()
{
    std::random_device random;
    const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
    return {word(), word()};
}

same_host_options sane(same_host_options o)
{
    constexpr std::size_t page = 4096;
    o.ring_bytes = std::clamp<std::size_t>(o.ring_bytes, 64_KiB, 16_MiB) / page * page;
    o.through_ring = std::min(o.through_ring, o.ring_bytes / 4);
    o.slice_bytes = std::clamp(o.slice_bytes, short_slice, 1_MiB);
    o.most_peers = std::clamp<std::uint32_t>(o.most_peers, 1, most_slots);
    o.window_chunks = std::clamp<std::uint32_t>(o.window_chunks, 1, most_pulls);
    if (!o.gpus) return o;
    o.chunk_bytes = std::max(o.chunk_bytes, gpu_chunk_bytes);
    o.window_chunks = most_pulls;
    o.window_bytes = std::max(o.window_bytes, gpu_window_bytes);
    return o;
}

bool ours(const slice& s, const driver& d) noexcept { return s.of->home == &d; }

} // namespace

error_code error_of(status s) noexcept
{
    switch (s) {
    case status::fine: return {};
    case status::withdrawn: return errc::withdrawn;
    case status::read_only: return errc::read_only;
    case status::out_of_range: return errc::out_of_range;
    case status::fault: return make_error_code(boost::system::errc::bad_address);
    default: return errc::peer_lost;
    }
}

nearby_driver::nearby_driver(const same_host_options& o)
    : options_{sane(o)}, host_{this_host()}, id_{draw()}, door_{draw()}, nonce_{draw()},
      inbound_(options_.most_peers), letter_(most_message), gpus_{options_.gpus.get()}
{
    if (!nearby::watch(::getpid()))
        throw system_error(errc::not_supported, "the kernel has no pidfd_open, or does not let us");
    std::tie(mine_, box_fd_) = box::make(options_.most_peers, options_.ring_bytes, id_);
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) throw system_error(errno, boost::system::system_category(), "pipe");
    knocks_ = descriptor{ends[0]};
    knocker_ = descriptor{ends[1]};
    bell_ = descriptor{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    epoll_ = descriptor{::epoll_create1(EPOLL_CLOEXEC)};
    if (!bell_ || !epoll_) throw system_error(errno, boost::system::system_category(), "eventfd");
    watch(knocks_.get(), true);
    watch(bell_.get(), true);
    keeper_ = std::make_unique<keeper>(mine_.header().alive);
}

nearby_driver::~nearby_driver()
{
    if (gpus_) let_go_of_gpus();
    for (const auto* all : {&contacts_, &gone_})
        for (const auto& k : *all) k->release();
    for (const admission& a : admissions_) a.who->release();
}

wye::limits nearby_driver::limits() const noexcept
{
    wye::limits l;
    l.chunk_bytes = options_.chunk_bytes;
    l.window_chunks = options_.window_chunks;
    l.window_bytes = options_.window_bytes;
    l.at_once_bytes = 64_KiB;
    l.latency = std::chrono::microseconds{2};
    l.bytes_per_second = 8e9;
    return l;
}

bool nearby_driver::carries(const slice& from, const slice& to) const noexcept
{
    if (ours(from, *this) == ours(to, *this)) return false;
    if (from.tier() == tier::vram && to.tier() == tier::vram) return gpus_ && carries_between_gpus(from, to);
    return from.tier() == tier::dram && to.tier() == tier::dram;
}

contact* nearby_driver::reached(std::uint32_t peer) const noexcept
{
    return peer != 0 && peer <= numbers_.size() ? numbers_[peer - 1] : nullptr;
}

/// Why it cannot even be tried.
std::optional<error_code> nearby_driver::unfit(const chunk& c) const noexcept
{
    const bool writes = ours(c.to, *this);
    const slice& there = writes ? c.to : c.from;
    const contact* const k = reached(there.of->peer);
    if (!k || k->lost) return errc::peer_lost;
    const description& by = remote_of(there).by->is;
    if (there.offset > by.length || there.length > by.length - there.offset) return errc::out_of_range;
    if (writes && !by.writable) return errc::read_only;
    if (!good(*k, *remote_of(there).by)) return why_not(*k);
    return std::nullopt;
}

bool nearby_driver::submit(chunk& c) noexcept
{
    const bool writes = ours(c.to, *this);
    const slice& there = writes ? c.to : c.from;
    notes n{c};
    n.by = reinterpret_cast<std::uintptr_t>(remote_of(there).by.get());
    n.first = n.at = 0;
    ++n.key().out;
    if (const auto why = unfit(c)) {
        end(c, *why);
        return true;
    }
    contact& k = *reached(there.of->peer);
    const bool first = !k.has_posted();
    if (writes) {
        if (!k.waiting.empty() || !post(k, c)) k.waiting.push(c);
    } else if (c.to.tier() == tier::vram) {
        k.gpu_reads.push(c);
        begin_reads(k);
    } else {
        k.reads.push(c);
    }
    if (first && k.rings) k.ring_bell(); // of several the rest is told of at the end of the round
    return true;
}

void nearby_driver::flush() noexcept
{
    for (const auto& k : contacts_)
        if (k->rings) k->ring_bell();
    if (moving_now_ != 0) gpus_->flush();
}

/// At the end of the next poll.
void nearby_driver::end(chunk& c, error_code e) noexcept { over_.push_back({&c, e}); }

/// Now, in a poll.
void nearby_driver::finish(chunk& c, error_code e) noexcept
{
    --notes{c}.key().out;
    if (e) c.done(e, 0);
    else c.done();
}

/// All of it is on its way; or not, for want of room.
bool nearby_driver::post(contact& k, chunk& c) noexcept
{
    if (c.from.tier() == tier::vram) return post_gpu_pull(k, c);
    return c.from.length <= options_.through_ring ? post_put(k, c) : post_pull(k, c);
}

bool nearby_driver::post_put(contact& k, chunk& c) noexcept
{
    notes n{c};
    const std::uint64_t length = c.from.length;
    do {
        const std::size_t bytes = std::min<std::size_t>(length - n.at, put_bytes);
        const std::uint64_t before = k.ring.tail();
        record* const r = k.ring.reserve(bytes, room_for_words);
        if (!r) return false;
        if (n.at == 0) n.first = before;
        *r = {.bytes = static_cast<std::uint32_t>(bytes),
              .kind = record_kind::put,
              .token = n.key().is.token,
              .offset = c.to.offset + n.at};
        copy_out(reinterpret_cast<std::byte*>(r + 1), c.from.data() + n.at, bytes);
        k.ring.publish();
        k.rings = true;
        if (n.at == 0 && bytes != length) k.ring_bell(); // it may begin while we go on
        n.at += bytes;
    } while (n.at != length);
    n.at = k.ring.tail();
    k.puts.push(c);
    return true;
}

/// A request for the target to take it, which is yet to be filled in and published; null for want of room.
record* nearby_driver::ask(contact& k, request_line& l, answer_line said, chunk& c) noexcept
{
    if (l.full()) return nullptr;
    record* const r = k.ring.reserve(0, room_for_words);
    if (!r) return nullptr;
    const std::size_t at = l.asked % most_pulls;
    said.cancelled[at].store(0, std::memory_order_relaxed);
    l.chunks[at] = &c;
    ++l.asked;
    k.rings = true;
    return r;
}

bool nearby_driver::post_pull(contact& k, chunk& c) noexcept
{
    record* const r = ask(k, k.pulls, pulls_of(k.slot()), c);
    if (!r) return false;
    *r = {.kind = record_kind::pull,
          .token = notes{c}.key().is.token,
          .offset = c.to.offset,
          .source = reinterpret_cast<std::uintptr_t>(c.from.data()),
          .length = c.from.length};
    k.ring.publish();
    return true;
}

/// Chunks that the other side is done with.
std::size_t nearby_driver::reap(contact& k) noexcept
{
    std::size_t n = 0;
    if (!k.ring.look()) {
        k.lost = suspects_ = true;
        return 1;
    }
    while (!k.puts.empty() && notes{*k.puts.front()}.at <= k.ring.head()) {
        chunk& c = *k.puts.pop();
        finish(c, error_of(k.ring.outcome(notes{c}.first, notes{c}.at)));
        ++n;
    }
    if (k.pulls.any()) n += reap(k, k.pulls, pulls_of(k.slot()));
    if (k.gpu_pulls.any()) n += reap(k, k.gpu_pulls, gpu_pulls_of(k.slot()));
    k.free_room();
    if (!k.waiting.empty()) n += push_on(k);
    return n;
}

std::size_t nearby_driver::reap(contact& k, request_line& l, answer_line said) noexcept
{
    std::size_t n = 0;
    const std::uint64_t done = said.done.load(std::memory_order_acquire);
    if (done < l.taken || done > l.asked) {
        k.lost = suspects_ = true;
        return 1;
    }
    for (; l.taken != done; ++n) {
        const std::size_t at = l.taken++ % most_pulls;
        const auto outcome = status{said.outcomes[at].load(std::memory_order_relaxed)};
        if (chunk* const c = std::exchange(l.chunks[at], nullptr)) finish(*c, error_of(outcome));
    }
    return n;
}

/// What waited for room.
std::size_t nearby_driver::push_on(contact& k) noexcept
{
    std::size_t n = 0;
    while (!k.waiting.empty()) {
        const std::uint64_t tail = k.ring.tail();
        chunk& c = *k.waiting.front();
        chunk* const next = c.next;
        if (!post(k, c)) return n + (k.ring.tail() != tail);
        k.waiting.take_front(next);
        ++n;
    }
    return n;
}

std::size_t nearby_driver::deliver() noexcept
{
    std::size_t n = 0;
    for (const ended& e : std::exchange(over_, {})) {
        finish(*e.c, e.error);
        ++n;
    }
    for (const auto& f : std::exchange(answers_, {})) {
        f();
        ++n;
    }
    return n;
}

std::size_t nearby_driver::poll(turn t) noexcept
{
    if (armed_) wake_up();
    if (++polls_ % polls_per_look == 0) suspects_ = true;
    std::size_t n = look(t);
    if (n == 0 && !t.bounded() && lingers()) n = look(t);
    if (n != 0) {
        idle_polls_ = 0;
        quiet_since_ = {};
    }
    return n;
}

/// Whether something comes while we wait a moment. What others do for us takes less than a pass of the loop, often.
bool nearby_driver::lingers() noexcept
{
    if (!has_others_ || idle_polls_ == polls_to_linger) return false;
    ++idle_polls_;
    for (std::uint32_t i = 0; i < looks_to_linger; ++i) {
        if (anything_new()) return true;
#ifdef __SSE2__
        __builtin_ia32_pause();
#endif
    }
    return false;
}

std::size_t nearby_driver::look(turn t) noexcept
{
    slice_ = t.bounded() ? short_slice : options_.slice_bytes;
    std::size_t n = moving_now_ == 0 ? 0 : see_moved(true);
    if (!over_.empty() || !answers_.empty()) n += deliver();
    for (std::size_t i = 0; i < contacts_.size(); ++i)
        if (contact& k = *contacts_[i]; k.has_posted() && !k.lost) n += reap(k);
    n += hear(t);
    std::size_t budget = bytes_at_once;
    if (!pulling_.empty()) n += pull(t, budget);
    for (std::size_t i = 0; i < contacts_.size(); ++i)
        if (contact& k = *contacts_[i]; !k.reads.empty() && !k.lost) n += read(k, budget, t);
    if (gpus_) n += begin_pulls();
    flush();
    if (!admissions_.empty()) n += see_admissions();
    if (suspects_) n += see_lost();
    if (!gone_.empty()) n += see_gone();
    if (!renewed_.empty()) n += see_drained();
    return n;
}

bool nearby_driver::busy() const noexcept
{
    return !over_.empty() || !answers_.empty() || !admissions_.empty() || !gone_.empty();
}

/// Whether `poll` would find something.
bool nearby_driver::anything_new() const noexcept
{
    if (busy() || !pulling_.empty() || !gpu_pulling_.empty() || moving_now_ != 0) return true;
    for (std::uint32_t i = 0; i < pending_.size(); ++i)
        if (pending_[i] != 0 || mine_.header().rang[i].load(std::memory_order_seq_cst) != 0) return true;
    return std::any_of(contacts_.begin(), contacts_.end(), [](const auto& k) { return k->has_news(); });
}

bool nearby_driver::arm() noexcept
{
    const bool owed = std::any_of(contacts_.begin(), contacts_.end(), [](const auto& k) { return k->has_posted(); });
    if (owed) {
        const auto time = steady::now();
        if (quiet_since_ == steady::time_point{}) quiet_since_ = time;
        if (time - quiet_since_ < patience) return false;
    }
    if (mine_.header().crowded.exchange(0, std::memory_order_relaxed) != 0) sweep();
    std::atomic<std::uint32_t>& sleeping = mine_.header().sleeping;
    sleeping.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    armed_ = true;
    if (!anything_new()) return true;
    armed_ = false;
    sleeping.store(0, std::memory_order_seq_cst);
    return false;
}

void nearby_driver::wake_up() noexcept
{
    armed_ = false;
    suspects_ = true; // it may be that somebody has ended
    mine_.header().sleeping.store(0, std::memory_order_seq_cst);
    std::array<std::uint64_t, 32> rings;
    if (::read(bell_.get(), rings.data(), sizeof rings) > 0) return;
    while (::read(knocks_.get(), rings.data(), sizeof rings) == sizeof rings) {}
}

bool nearby_driver::send(std::uint32_t peer, std::uint32_t, std::span<const std::byte> message) noexcept
{
    contact* const k = reached(peer);
    if (!k || k->lost || message.size() > most_message) return true; // it is lost
    if (k->refused()) suspects_ = true;
    record* r = k->ring.reserve(message.size(), 0);
    if (!r && k->ring.look()) {
        k->free_room();
        r = k->ring.reserve(message.size(), 0);
    }
    if (!r) return false;
    *r = {.bytes = static_cast<std::uint32_t>(message.size()), .kind = record_kind::message};
    copy_out(reinterpret_cast<std::byte*>(r + 1), message.data(), message.size());
    k->ring.publish();
    k->ring_bell();
    return true;
}

void nearby_driver::watch(int fd, bool yes) noexcept
{
    epoll_event e{};
    e.events = EPOLLIN;
    ::epoll_ctl(epoll_.get(), yes ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &e);
}

} // namespace wye::nearby

namespace wye {

std::unique_ptr<fabric> make_same_host(const same_host_options& o) { return std::make_unique<nearby::nearby_driver>(o); }

} // namespace wye
