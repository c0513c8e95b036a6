// SPDX-License-Identifier: Apache-2.0
// What peers are asked to do with what they serve.
#include "errands.hpp"

#include <algorithm>
#include <cerrno>

#include <boost/asio/error.hpp>

#include "engine.hpp"
#include "peers.hpp"

namespace wye::detail {

namespace {

enum category : std::uint8_t { none, ours, of_file, of_object, of_system };

piece& piece_of(const chunk& c) noexcept { return static_cast<piece&>(const_cast<chunk&>(c)); }
bool far(const slice& s) noexcept { return s.of && (s.of->served || s.of->via); }
bool writes(const chunk& c) noexcept { return far(c.to); }
segment& there(const chunk& c) noexcept { return *(writes(c) ? c.to : c.from).of; }
/// Of the object; empty for all else, and memory may be a fabric's own.
std::string_view key_of(const segment& s) noexcept
{
    return s.served ? std::string_view{static_cast<const far_segment&>(s).key()} : std::string_view{};
}
const slice& here(const chunk& c) noexcept { return writes(c) ? c.from : c.to; }
std::size_t level(const chunk& c) noexcept { return static_cast<std::size_t>(piece_of(c).op->priority); }

/// Null when it has gone meanwhile, or its link has.
errand_book::loan* find_loan(link* l, std::uint32_t number) noexcept
{
    if (!l || !l->errands) return nullptr;
    auto& all = l->errands->loans;
    const auto m = std::find_if(all.begin(), all.end(), [&](const auto& x) { return x.number == number; });
    return m == all.end() ? nullptr : &*m;
}
/// What the chunk asks for, but for where its bytes are here.
wire::errand errand_of(const chunk& c) noexcept
{
    const piece& p = piece_of(c);
    const slice& far = writes(c) ? c.to : c.from;
    wire::errand e;
    e.epoch = far.of->epoch;
    e.key = key_of(there(c));
    e.at = far.offset;
    e.length = far.length;
    e.step = c.step;
    e.writes = writes(c);
    e.sole = c.sole;
    e.priority = p.op->priority;
    e.session = c.session;
    e.total = c.total;
    // What is known of the extent is asked for once.
    e.verify = c.step == step::move && !e.writes && p.op->verify && p.place == 0 && c.session == 0;
    e.extent_at = p.of->from_offset;
    e.extent_length = p.of->length;
    e.has_checksum = e.writes && c.has_checksum;
    e.checksum = e.has_checksum ? static_cast<std::uint32_t>(c.checksum) : 0;
    return e;
}

void drop_loan(link& l, std::uint32_t number) noexcept
{
    std::erase_if(l.errands->loans, [&](const auto& m) { return m.number == number; });
}

} // namespace

void put_error(wire::reply& r, const error_code& e) noexcept
{
    if (!e.failed()) return;
    r.error = e.value();
    if (e == boost::asio::error::operation_aborted || e == errc::shut_down) { // it goes
        r.category = ours;
        r.error = static_cast<std::int32_t>(errc::peer_lost);
    } else if (e.category() == wye_category()) {
        r.category = ours;
    } else if (e.category() == file_category()) {
        r.category = of_file;
    } else if (e.category() == object_category()) {
        r.category = of_object;
    } else {
        r.category = of_system;
        const auto general = e.default_error_condition();
        r.error = general.category() == boost::system::generic_category() ? general.value() : EIO;
    }
}

error_code error_of(const wire::reply& r) noexcept
{
    if (r.category == none) return {};
    const bool known = r.error > 0 && (r.category != ours || r.error <= static_cast<int>(errc::path_lost));
    if (known && r.category == ours) return static_cast<errc>(r.error);
    if (known && r.category == of_file) return file_error(r.error);
    if (known && r.category == of_object) return object_error(r.error);
    return {known ? r.error : EIO, boost::system::generic_category()};
}

wye::limits errands::limits() const noexcept
{
    wye::limits l;
    l.alignment = 4096; // where files are served, direct I/O likes that
    l.window_chunks = 256; // for all peers: what one leaves waiting should keep no other waiting
    l.window_bytes = 256_MiB;
    l.latency = std::chrono::microseconds{100};
    l.bytes_per_second = 1e9;
    return l;
}

bool errands::carries(const slice& from, const slice& to) const noexcept
{
    const auto memory = [](const slice& s) { return s.tier() == tier::dram && !s.of->home; };
    const auto theirs = [&](const slice& s) { return s.of->home == this || (s.tier() == tier::vram && s.of->home); };
    return (memory(from) && theirs(to)) || (theirs(from) && memory(to));
}

errand_book& errands::book(link& l)
{
    if (!l.errands) l.errands = std::make_unique<errand_book>();
    return *l.errands;
}

bool errands::submit(chunk& c) noexcept
{
    link& l = *there(c).via;
    if (!l.errands) books_.push_back(&l);
    errand_book& b = book(l);
    if (!std::exchange(b.active, true)) active_.push_back(&l);
    ++b.chunks;
    b.waiting[level(c)].push(c);
    return true;
}

void errands::flush() noexcept
{
    for (link* const l : active_) work(*l);
}

std::size_t errands::poll(turn) noexcept
{
    flush();
    std::swap(over_, ending_);
    const std::size_t n = ending_.size();
    for (const ended& e : ending_) e.c->done(e.error, e.bytes);
    ending_.clear();
    std::erase_if(active_, [](const link* l) { return !(l->errands->active = l->errands->chunks != 0); });
    return n;
}

/// Whatever turns up comes by a fabric. So does what is waited for here.
int errands::wait_handle() const noexcept
{
    int any = -1;
    for (const auto& d : engine_.drivers()) {
        if (!d->attentive()) continue;
        if ((any = d->wait_handle()) < 0) return -1;
    }
    return any;
}

void errands::end(link& l, chunk& c, error_code e, std::size_t bytes)
{
    --l.errands->chunks;
    over_.push_back({&c, e, bytes});
}

void errands::end_all(link& l, fifo<chunk>& queue, error_code e)
{
    while (chunk* const c = queue.pop()) end(l, *c, e);
}

/// Says what may be said to this peer.
void errands::work(link& l)
{
    if (l.state != link_state::open) return give_up(l);
    errand_book& b = *l.errands;
    if (b.free == 0) return drop_stopped(l);
    for (auto& queue : b.waiting) {
        while (b.free != 0) {
            chunk* const c = queue.pop();
            if (!c) break;
            if (stopped(*c)) end(l, *c, stop_error(*piece_of(*c).op));
            else send(l, *c);
        }
    }
}

/// Nothing has been said of it yet, and nobody wants it any more. Sessions are to be ended all the same.
bool errands::stopped(const chunk& c) const noexcept
{
    const piece& p = piece_of(c);
    return c.step == step::move && (p.op->stopping || p.of->failed);
}

void errands::drop_stopped(link& l)
{
    for (auto& queue : l.errands->waiting) {
        fifo<chunk> kept;
        while (chunk* const c = queue.pop()) {
            if (stopped(*c)) end(l, *c, stop_error(*piece_of(*c).op));
            else kept.push(*c);
        }
        queue = kept;
    }
}

/// It is lost, or on its way to be. What it was asked for ends when it is locked out, and nothing of it arrives any more.
void errands::give_up(link& l)
{
    errand_book& b = *l.errands;
    for (auto& queue : b.waiting) end_all(l, queue, errc::peer_lost);
    for (errand_book::loan& m : b.loans)
        if (m.at != errand_book::loan::state::asking) end_all(l, m.waiting, errc::peer_lost);
    if (!l.severed) return;
    for (errand_book::asked& a : b.out) {
        if (!a.c) continue;
        ++b.free;
        end(l, *std::exchange(a.c, nullptr), errc::peer_lost);
    }
}

void errands::send(link& l, chunk& c)
{
    errand_book& b = *l.errands;
    wire::errand e = errand_of(c);
    if (c.step == step::move && e.length != 0) {
        errand_book::loan* const m = loan_for(l, c);
        if (!m) return; // it waits for it
        e.memory = m->number;
        e.memory_at = here(c).offset;
    }
    const auto slot = std::find_if(b.out.begin(), b.out.end(), [](const auto& a) { return !a.c; });
    const auto index = static_cast<std::uint64_t>(slot - b.out.begin());
    *slot = {&c, ++b.last_errand * most_errands + index};
    --b.free;
    e.number = slot->number;
    peers_.say(l, e);
}

void errands::replied(link& l, const wire::reply& r)
{
    if (!l.errands) return peers_.made_no_sense();
    errand_book& b = *l.errands;
    errand_book::asked& a = b.out[r.number % most_errands];
    if (!a.c || a.number != r.number) return peers_.made_no_sense();
    chunk& c = *std::exchange(a.c, nullptr);
    ++b.free;
    error_code e = c.step == step::abandon ? error_code{} : error_of(r); // what is to be given up is gone
    if (c.step == step::open) {
        c.session = r.session;
        if (!writes(c)) c.total = r.total;
    }
    if (!writes(c)) {
        c.has_checksum = r.has_checksum;
        c.checksum = r.checksum;
    }
    const std::uint64_t bytes = c.step == step::move ? std::min(r.bytes, c.from.length) : 0;
    // The beginning of it is there: the rest is asked for, and there is none.
    if (e == errc::short_transfer && bytes != 0 && bytes != c.from.length) e = {};
    end(l, c, e, e ? 0 : bytes);
}

/// The key by which the peer reaches what this chunk has here. Null: the peer is yet to hear of it, and the chunk waits.
errand_book::loan* errands::loan_for(link& l, const chunk& c)
{
    errand_book& b = *l.errands;
    segment& what = *here(c).of;
    const access a = writes(c) ? access::read_only : access::read_write;
    const auto find = [&] {
        const auto same = [&](const errand_book::loan& m) { return m.what == &what && m.access == a; };
        return std::find_if(b.loans.begin(), b.loans.end(), same);
    };
    auto m = find();
    if (m != b.loans.end() && m->at == errand_book::loan::state::there) return &*m;
    if (m == b.loans.end()) {
        m = b.loans.emplace(m);
        m->what = &what;
        m->access = a;
        m->number = ++b.last_loan;
        m->waiting.push(const_cast<chunk&>(c));
        lend(l, what, a);
    } else {
        m->waiting.push(const_cast<chunk&>(c));
    }
    return nullptr;
}

void errands::lend(link& l, segment& what, access a)
{
    const auto granted = [this, by = l.by, token = l.token, number = l.errands->last_loan](error_code e, const fabric::key& k) {
        this->granted(*by, token, number, e, k);
    };
    what.shown = true;
    l.by->grant(what, a, granted);
}

void errands::granted(fabric& by, std::uint64_t token, std::uint32_t number, error_code e, const fabric::key& k)
{
    link* const l = peers_.find(token);
    errand_book::loan* const m = find_loan(l, number);
    if (!m) {
        if (!e) by.withdraw(k.id);
        return;
    }
    if (!e && (l->state != link_state::open || k.description.size() > wire::most_description)) {
        by.withdraw(k.id);
        e = l->state == link_state::open ? errc::not_supported : errc::peer_lost;
    }
    if (e) {
        end_all(*l, m->waiting, e);
        return drop_loan(*l, number);
    }
    m->key = k.id;
    m->at = errand_book::loan::state::said;
    peers_.say(*l, wire::lend{number, m->access, m->what->length, k.description}, [this, token, number](errc failed) {
        if (failed == errc{}) told(token, number);
    });
}

/// The peer knows of it.
void errands::told(std::uint64_t token, std::uint32_t number)
{
    link* const l = peers_.find(token);
    errand_book::loan* const m = find_loan(l, number);
    if (!m) return;
    if (m->at == errand_book::loan::state::gone) {
        peers_.say(*l, wire::unlend{number});
        return drop_loan(*l, number);
    }
    m->at = errand_book::loan::state::there;
    while (chunk* const c = m->waiting.pop()) l->errands->waiting[level(*c)].push(*c);
}

/// Nothing of it is under way: copies hold what they use.
void errands::gone(segment& s) noexcept
{
    for (link* const l : books_) {
        std::erase_if(l->errands->loans, [&](errand_book::loan& m) {
            if (m.what != &s) return false;
            l->by->withdraw(m.key);
            m.what = nullptr;
            if (std::exchange(m.at, errand_book::loan::state::gone) == errand_book::loan::state::said) return false;
            if (l->state == link_state::open) peers_.say(*l, wire::unlend{m.number});
            return true;
        });
    }
}

void errands::lock_out(link& l) noexcept
{
    if (!l.errands) return;
    std::erase_if(l.errands->loans, [&](errand_book::loan& m) {
        if (m.at == errand_book::loan::state::asking) return false; // as it ends up
        if (m.what) l.by->withdraw(m.key);
        end_all(l, m.waiting, errc::peer_lost);
        return true;
    });
}

void errands::forget(const link& l) noexcept
{
    std::erase(books_, &l);
    std::erase(active_, &l);
}

} // namespace wye::detail
