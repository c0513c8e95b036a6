// SPDX-License-Identifier: Apache-2.0
// Between GPUs of two processes. Each copies into its own memory, out of the other's, which it has mapped. What holds of DRAM
// holds here: a read is good if the way in is still open after the last byte, a write is done by who owns the target.
#include <algorithm>
#include <bit>
#include <unistd.h>

#include "driver.hpp"

namespace wye::nearby {

namespace {

bool is_counted(std::int32_t device) noexcept { return device >= 0 && static_cast<std::uint32_t>(device) < most_gpus; }

std::uint32_t bit_of(std::int32_t device) noexcept { return is_counted(device) ? 1u << device : 0; }

} // namespace

void nearby_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    if (gpus_ && s.tier == tier::vram && !s.home && s.length != 0 && is_counted(s.device)) show(s);
    done({});
}

/// Others may open it, if that is possible. What is no GPU's memory is not for us to judge.
void nearby_driver::show(segment& s) noexcept
{
    s.notes[id()] = 0;
    gpu_sharing::place where;
    if (gpus_->share(s, where)) return;
    s.notes[id()] = exports_.show(mine_.header(), where);
    s.open_to |= able(copied_to) | (s.notes[id()] ? able(opened) : 0);
    if (std::exchange(with_memory_, with_memory_ | bit_of(s.device)) & bit_of(s.device)) return;
    gpu_sharing::handle sample;
    if (!gpus_->sample(s.device, sample)) write_export(mine_.header().samples[static_cast<std::size_t>(s.device)], sample, 1);
}

void nearby_driver::hide(segment& s) noexcept
{
    if ((s.open_to & able(opened)) == 0) return;
    s.open_to &= ~able(opened);
    if (!exports_.hide(mine_.header(), s.notes[id()])) return;
    for (const auto& k : contacts_)
        if (!k->lost) k->ring_bell(); // they let go of it
}

/// Tries which of our GPUs reach memory of its, and tells it.
void nearby_driver::try_gpus(contact& k) noexcept
{
    if (k.pid == ::getpid()) return; // nobody opens its own
    for (std::uint32_t theirs = 0; theirs < most_gpus; ++theirs) {
        gpu_sharing::handle h;
        if (!read_export(k.theirs.header().samples[theirs], 0, h)) continue;
        for (std::uint32_t left = with_memory_; left != 0; left &= left - 1) {
            const std::int32_t mine = std::countr_zero(left);
            std::uint64_t length = 0;
            std::byte* const at = gpus_->open(h, mine, length);
            if (!at) continue;
            gpus_->close(at, mine);
            k.reaches[theirs] |= bit_of(mine);
        }
        k.slot().reaches[theirs].store(k.reaches[theirs], std::memory_order_release);
    }
}

/// What `segment::reach` says of memory of that GPU of its: which of ours read there, and write there as it has told us.
std::uint32_t nearby_driver::reach_of(contact& k, std::int32_t device) noexcept
{
    gpu_sort is{};
    if (gpus_ && is_counted(device)) {
        is.reads = k.reaches[static_cast<std::size_t>(device)];
        for (std::uint32_t i = 0; i < inbound_.size(); ++i) {
            if (!know(i) || inbound_[i].of != &k) continue;
            for (std::uint32_t mine = 0; mine < most_gpus; ++mine)
                if (mine_.slot(i).reaches[mine].load(std::memory_order_acquire) & bit_of(device)) is.writes |= 1u << mine;
        }
    }
    auto it = std::find(sorts_.begin(), sorts_.end(), is);
    if (it == sorts_.end()) it = sorts_.insert(it, is);
    return static_cast<std::uint32_t>(it - sorts_.begin()) + 1;
}

bool nearby_driver::carries_between_gpus(const slice& from, const slice& to) const noexcept
{
    const bool writes = to.of->home == this;
    const segment& here = writes ? *from.of : *to.of;
    const gpu_sort& there = sorts_[(writes ? to : from).of->reach - 1];
    const bool able_to = (here.open_to & able(writes ? opened : copied_to)) != 0;
    return able_to && ((writes ? there.writes : there.reads) & bit_of(here.device)) != 0;
}

bool nearby_driver::post_gpu_pull(contact& k, chunk& c) noexcept
{
    record* const r = ask(k, k.gpu_pulls, gpu_pulls_of(k.slot()), c);
    if (!r) return false;
    const std::uintptr_t note = c.from.of->notes[id()];
    const export_name name = exports_.name_of(note);
    *r = {.kind = record_kind::gpu_pull,
          .token = notes{c}.key().is.token,
          .offset = c.to.offset,
          .source = exports::offset_of(note) + c.from.offset,
          .length = c.from.length,
          .number = name.number,
          .serial = name.serial};
    k.ring.publish();
    return true;
}

/// Has a device begin it, out of what the peer has exported. False: not now, or not at all, and then `is` says why.
bool nearby_driver::begin(const moving& made, export_name name, std::uint64_t at, status& is) noexcept
{
    contact& k = *made.of;
    mapping* const by = k.mapped.find(*gpus_, k.theirs.header(), name, made.device, is);
    if (by && (at > by->length || made.bytes > by->length - at)) is = status::out_of_range;
    if (is != status::fine) return false;
    if (!idle_) idle_ = &moving_.emplace_back();
    auto& m = static_cast<moving&>(*idle_);
    gpu_copy* const next = m.next;
    m = made;
    m.by = by;
    m.from = by->at + at;
    if (!gpus_->start(m)) {
        m.of = nullptr;
        m.next = next;
        return false;
    }
    idle_ = next;
    ++by->uses;
    ++moving_now_;
    return true;
}

/// What is to be read from there, as much as devices take.
std::size_t nearby_driver::begin_reads(contact& k) noexcept
{
    std::size_t n = 0;
    for (; !k.gpu_reads.empty(); ++n) {
        chunk& c = *k.gpu_reads.front();
        const description& by = notes{c}.key().is;
        moving m;
        m.of = &k;
        m.c = &c;
        m.to = c.to.data();
        m.bytes = c.to.length;
        m.device = c.to.of->device;
        status is{};
        if (!begin(m, by.name(), by.base + c.from.offset, is) && is == status::fine) break;
        k.gpu_reads.pop();
        if (is != status::fine) end(c, error_of(is));
    }
    return n;
}

/// What others want written here: of each in turn as much as devices take.
std::size_t nearby_driver::begin_pulls() noexcept
{
    std::size_t n = 0;
    for (const auto& k : contacts_)
        if (!k->gpu_reads.empty() && !k->lost) n += begin_reads(*k);
    for (std::size_t left = gpu_pulling_.size(); left != 0; --left) {
        const std::uint32_t i = gpu_pulling_.front();
        const inbound& in = inbound_[i];
        while (in.gpu_begun != in.gpu_asked && begin_pull(i)) ++n;
        gpu_pulling_.erase(gpu_pulling_.begin());
        if (in.gpu_begun != in.gpu_asked) gpu_pulling_.push_back(i);
    }
    return n;
}

/// The next of that slot. False: not now.
bool nearby_driver::begin_pull(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    const slot& s = mine_.slot(i);
    wanted_of_gpu& w = in.gpu_pulls[in.gpu_begun % most_pulls];
    const bool given_up = s.gpu_cancelled[in.gpu_begun % most_pulls].load(std::memory_order_acquire) != 0 ||
                          phase_of(s.state.load(std::memory_order_acquire)) != phase::open;
    status is{};
    const granted* const g = writable(tier::vram, w.token, w.offset, w.length, is);
    if (!in.of || in.of->lost || given_up) is = status::not_known;
    if (is == status::fine) {
        moving m;
        m.of = in.of;
        m.to = g->what->base + w.offset;
        m.bytes = w.length;
        m.device = g->what->device;
        m.slot = i;
        m.count = in.gpu_begun;
        m.token = w.token;
        if (!begin(m, w.what, w.source, is) && is == status::fine) return false;
    }
    w.outcome = is == status::fine ? status{} : is;
    ++in.gpu_begun;
    if (is != status::fine) gpu_pulled(i);
    return true;
}

/// What devices are through with.
std::size_t nearby_driver::see_moved(bool in_poll) noexcept
{
    std::size_t n = 0;
    while (gpu_copy* const over = gpus_->next_over()) {
        auto& m = static_cast<moving&>(*over);
        const moving was = m;
        m.of = nullptr;
        m.next = std::exchange(idle_, &m);
        --m.by->uses;
        --moving_now_;
        moved(was, in_poll);
        ++n;
    }
    return n;
}

void nearby_driver::moved(const moving& m, bool in_poll) noexcept
{
    if (!m.c) {
        inbound_[m.slot].gpu_pulls[m.count % most_pulls].outcome = m.error ? status::fault : status::fine;
        return gpu_pulled(m.slot);
    }
    const error_code e = good(*m.of, notes{*m.c}.key()) ? m.error : why_not(*m.of);
    if (in_poll) finish(*m.c, e);
    else end(*m.c, e);
}

/// Its sender hears of those that are over, in their order.
void nearby_driver::gpu_pulled(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    slot& s = mine_.slot(i);
    for (; in.gpu_pulled != in.gpu_begun; ++in.gpu_pulled) {
        const auto outcome = in.gpu_pulls[in.gpu_pulled % most_pulls].outcome;
        if (outcome == status{}) break;
        s.gpu_outcomes[in.gpu_pulled % most_pulls].store(static_cast<std::uint8_t>(outcome), std::memory_order_relaxed);
    }
    s.gpu_pulled.store(in.gpu_pulled, std::memory_order_seq_cst);
    if (in.of) in.of->wake();
}

/// Nothing more of that slot is taken, and nothing is under way.
void nearby_driver::drop_gpu_pulls(std::uint32_t i) noexcept
{
    inbound& in = inbound_[i];
    if (in.gpu_begun != in.gpu_pulled) settle([i](const moving& m) { return !m.c && m.slot == i; });
    in.gpu_asked = in.gpu_begun;
    std::erase(gpu_pulling_, i);
}

/// Waits until no device is at any of these, if one is: microseconds, as a rule, since no more than a window of them is.
void nearby_driver::settle(const std::function<bool(const moving&)>& any) noexcept
{
    const auto is = [&](const moving& m) { return m.of && any(m); };
    if (std::none_of(moving_.begin(), moving_.end(), is)) return;
    gpus_->settle();
    see_moved(false);
}

/// When this returns, nothing of that peer's is under way to here.
void nearby_driver::cut_off(std::uint32_t peer) noexcept
{
    const contact* const k = reached(peer);
    if (k && moving_now_ != 0) settle([k](const moving& m) { return m.of == k && !m.c; });
}

/// We go: devices are at nothing any more, and nothing of others' is mapped.
void nearby_driver::let_go_of_gpus() noexcept
{
    gpus_->settle();
    while (gpus_->next_over()) {}
    for (const auto* all : {&contacts_, &gone_})
        for (const auto& k : *all) k->mapped.drop_all(*gpus_);
}

} // namespace wye::nearby
