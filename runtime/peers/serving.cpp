// SPDX-License-Identifier: Apache-2.0
// What is done here for peers.
#include "serving.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "crc32c.hpp"
#include "engine.hpp"
#include "ledger.hpp"
#include "peers.hpp"

namespace wye::detail {

namespace {

constexpr std::size_t most_waiting = 2 * most_errands; // who keeps to the rules has half of that
constexpr std::size_t most_loans = 4096, most_objects = 1024;
constexpr std::uint32_t background_turn = 16;

bool has_objects(const segment& s) noexcept { return s.tier == tier::object; }

} // namespace

std::size_t service_book::count() const noexcept
{
    std::size_t n = running.size();
    for (const auto& queue : waiting) n += queue.size();
    return n;
}

bool service_book::in_use() const noexcept
{
    const auto used = [](const loan& l) { return l.what->in_flight != 0; };
    return count() != 0 || !objects.empty() || std::any_of(loans.begin(), loans.end(), used);
}

serving::serving(engine& e, peers& p, const peer_options& o)
    : engine_{e}, peers_{p}, most_{std::max(1u, o.serves)}, most_each_{std::max(1u, o.serves_each)}
{
}
serving::~serving() = default;

service_book& serving::book(link& l)
{
    if (!l.services) {
        l.services = std::make_unique<service_book>();
        books_.push_back(&l);
    }
    return *l.services;
}

void serving::forget(const link& l) noexcept { std::erase(books_, &l); }

bool serving::busy() const noexcept
{
    const auto busy = [](const link* l) { return l->services->count() != 0 || !l->services->objects.empty(); };
    return std::any_of(books_.begin(), books_.end(), busy);
}

void serving::take(link& l, const wire::lend& m)
{
    service_book& b = book(l);
    const auto same = [&](const service_book::loan& x) { return x.number == m.number; };
    if (b.loans.size() >= most_loans || std::any_of(b.loans.begin(), b.loans.end(), same)) return peers_.made_no_sense();
    std::unique_ptr<segment> s = l.by->import(l.number, tier::dram, 0, m.length, m.description);
    if (!s) return peers_.made_no_sense();
    s->access = m.access;
    s->home = l.by;
    s->peer = l.number;
    s->via = &l;
    engine_.adopt(*s);
    b.loans.push_back({m.number, std::move(s)});
}

void serving::take(link& l, const wire::unlend& m)
{
    if (!l.services) return peers_.made_no_sense();
    for (service_book::loan& x : l.services->loans)
        if (x.number == m.number) x.over = true;
    clean(*l.services);
}

/// Memory that was taken back goes when nothing is under way with it.
void serving::clean(service_book& b)
{
    std::erase_if(b.loans, [](const service_book::loan& x) { return x.over && x.what->in_flight == 0; });
}

void serving::refuse(link& l, const wire::errand& e, errc why)
{
    wire::reply r;
    r.number = e.number;
    put_error(r, why);
    if (l.state == link_state::open) peers_.say(l, r);
}

void serving::take(link& l, const wire::errand& e)
{
    service_book& b = book(l);
    if (closed_) return refuse(l, e, errc::peer_lost);
    if (b.count() >= most_waiting) {
        peers_.made_no_sense();
        return refuse(l, e, errc::not_supported);
    }
    auto made = std::make_unique<errand_here>();
    made->of = &l;
    made->what = e;
    made->key = e.key;
    made->what.key = made->key;
    made->reply.number = e.number;
    b.waiting[static_cast<std::size_t>(e.priority)].push_back(std::move(made));
    ++waiting_;
    engine_.loop().nudge();
}

bool serving::room(const link& l) const noexcept { return l.services->running.size() < most_each_; }

/// Each peer has its turn.
std::unique_ptr<errand_here> serving::next(std::size_t p)
{
    for (std::size_t i = 0; i < books_.size(); ++i) {
        next_book_ = next_book_ + 1 < books_.size() ? next_book_ + 1 : 0;
        link& l = *books_[next_book_];
        auto& queue = l.services->waiting[p];
        if (queue.empty() || !room(l)) continue;
        std::unique_ptr<errand_here> found = std::move(queue.front());
        queue.pop_front();
        --waiting_;
        return found;
    }
    return nullptr;
}

std::unique_ptr<errand_here> serving::next()
{
    if (owed_ >= background_turn) {
        owed_ = 0;
        if (auto found = next(background)) return found;
    }
    for (std::size_t p = urgent; p < priority_count; ++p) {
        auto found = next(p);
        if (!found) continue;
        owed_ = p == background ? 0 : owed_ + 1;
        return found;
    }
    return nullptr;
}

std::size_t serving::poll()
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < finished_.size(); ++i, ++n) conclude(*finished_[i]);
    finished_.clear();
    while (waiting_ != 0 && running_ < most_) {
        std::unique_ptr<errand_here> e = next();
        if (!e) break;
        start(std::move(e));
        ++n;
    }
    return n;
}

void serving::start(std::unique_ptr<errand_here> e)
{
    errand_here& it = *e;
    it.of->services->running.push_back(std::move(e));
    ++running_;
    const bool may = it.of->state == link_state::open && !engine_.loop().shut();
    const errc why = may ? begin(it) : errc::peer_lost;
    if (why == errc{}) return;
    put_error(it.reply, why);
    finished_.push_back(&it);
}

errc serving::begin(errand_here& e)
{
    const segment* what = nullptr;
    const wire::errand& w = e.what;
    // An object that is being replaced is given up even by who may not replace it any more.
    if (w.step != step::abandon)
        if (const errc why = peers_.open_to(*e.of, w.epoch, w.writes, what); why != errc{}) return why;
    if (w.step == step::abandon || w.step == step::commit || w.session != 0) {
        service_book& b = *e.of->services;
        const auto mine = [&](const auto& o) { return o->number == w.session; };
        const auto o = std::find_if(b.objects.begin(), b.objects.end(), mine);
        if (o == b.objects.end() || (*o)->epoch != w.epoch || (*o)->opened.of_source == w.writes) return errc::invalid_slice;
        if ((*o)->doomed) return errc::withdrawn;
        if (w.step == step::open) return errc::not_supported;
        if (w.step == step::move) {
            e.part_of = o->get();
            return begin_move(e, *(*o)->object);
        }
        if ((*o)->uses != 0) return errc::not_supported; // who ends it has waited for its parts
        if (w.step == step::commit && (!w.writes || (*o)->landed != (*o)->opened.total)) {
            (*o)->doomed = true;
            return errc::short_transfer;
        }
        e.ends = std::move(*o);
        b.objects.erase(o);
        return begin_step(e, *e.ends->object);
    }
    segment* place = const_cast<segment*>(what);
    if (const errc why = locate(e, place); why != errc{}) return why;
    return w.step == step::open ? begin_step(e, *place) : begin_move(e, *place);
}

/// The object below a bucket that is meant, or just what is published.
errc serving::locate(errand_here& e, segment*& place)
{
    if (!has_objects(*place)) {
        if (!e.key.empty() || e.what.step != step::move || place->tier == tier::dram) return errc::not_supported;
        const std::uint64_t end = place->length;
        return e.what.at > end || e.what.length > end - e.what.at ? errc::out_of_range : errc{};
    }
    bucket_root& root = static_cast<bucket_root&>(*place);
    e.object = e.key.empty() ? nullptr : root.store.locate(e.key);
    if (!e.object) return errc::bad_name;
    e.object->home = root.home;
    e.object->access = root.store.access();
    engine_.adopt(*e.object);
    place = e.object.get();
    return {};
}

/// The checksum of what is read, as it was kept.
errc serving::expect(const errand_here& e, const segment& place, std::uint32_t& sum) const
{
    const auto known = place.sums ? place.sums->find(e.what.extent_at, e.what.extent_length) : std::nullopt;
    if (!known) return errc::unverified;
    sum = crc32c_finish(*known, e.what.extent_length);
    return {};
}

operation& serving::make(errand_here& e, const slice& from, const slice& to, bool verify)
{
    copy_options o;
    o.priority = e.what.priority;
    o.verify = verify;
    auto& op = static_cast<operation&>(*make_copy(from, to, o).op); // which fails only when the loop is shut
    mine(op, e);
    return op;
}

/// Its end is told to us.
void serving::mine(operation& op, errand_here& e) noexcept
{
    op.served = true;
    errand_here* const self = &e;
    std::memcpy(op.store, &self, sizeof self);
    e.op = &op;
}

errc serving::begin_move(errand_here& e, segment& place)
{
    const wire::errand& w = e.what;
    const auto& loans = e.of->services->loans;
    const auto lent = std::find_if(loans.begin(), loans.end(), [&](const auto& m) { return m.number == w.memory && !m.over; });
    if (lent == loans.end() && w.length != 0) return errc::invalid_slice;
    if (w.length == slice::whole) return errc::invalid_slice;
    if (!nothing_) {
        nothing_ = std::make_unique<segment>(tier::dram);
        engine_.adopt(*nothing_);
    }
    const slice memory{w.length == 0 ? nothing_.get() : lent->what.get(), w.length == 0 ? 0 : w.memory_at, w.length};
    slice there{&place, w.at, w.length};
    const bool object = has_objects(place);
    if (e.part_of) {
        const std::uint64_t total = e.part_of->opened.total;
        if (total != slice::whole && (w.at > total || w.length > total - w.at)) return errc::out_of_range;
    } else if (object && w.sole) {
        if (w.at != 0) return errc::not_supported;
        there.length = slice::whole;
    } else if (object && w.writes) {
        return errc::not_supported; // a part of one that is not open
    }
    bool verify = w.writes ? w.has_checksum && !e.part_of : w.verify && object && !e.part_of;
    if (w.verify && !w.writes && !object) {
        if (const errc why = expect(e, place, e.reply.checksum); why != errc{}) return why;
        e.reply.has_checksum = true;
    }
    verify = verify && place.tier != tier::vram;
    operation& op = w.writes ? make(e, memory, there, verify) : make(e, there, memory, verify);
    if (w.writes && verify) op.checks[0] = {0, crc32c_finish(w.checksum, w.length), true}; // its own inverse
    if (e.part_of) {
        engine_.join(op, e.part_of->opened);
        ++e.part_of->uses;
        e.counted = true;
    }
    begin_copy(&op);
    return {};
}

errc serving::begin_step(errand_here& e, segment& object)
{
    const wire::errand& w = e.what;
    if (w.step == step::open) {
        if (e.of->services->objects.size() >= most_objects) return errc::not_supported;
        if (w.writes && object.access == access::read_only) return errc::read_only;
        if (w.writes && w.total == slice::whole) return errc::invalid_slice;
        e.step = {.what = step::open, .of_source = !w.writes, .total = w.writes ? w.total : slice::whole};
    } else {
        e.step = e.ends->opened;
        e.step.what = w.step;
        e.step.has_checksum = w.has_checksum;
        e.step.checksum = w.checksum;
    }
    run_step(e, object);
    return {};
}

void serving::run_step(errand_here& e, segment& object)
{
    copy_options o;
    o.priority = e.what.priority;
    operation& op = *engine_.make(1, o);
    mine(op, e);
    engine_.begin_step(op, e.step, object);
}

/// Inside the engine: what follows is for `poll`.
void serving::ended(operation& op) noexcept
{
    errand_here* e = nullptr;
    std::memcpy(&e, op.store, sizeof e);
    e->op = nullptr;
    const bool committed = e->what.step == step::commit && e->step.taken; // though somebody may have wished to stop it
    if (!committed) put_error(e->reply, op.error);
    e->reply.bytes = op.bytes;
    if (op.checks && !e->what.writes && op.checks[0].known) {
        e->reply.has_checksum = true;
        e->reply.checksum = crc32c_finish(op.checks[0].expected, op.one.length);
    }
    op.free(&op);
    finished_.push_back(e);
    engine_.loop().nudge();
}

/// It is over.
void serving::conclude(errand_here& e)
{
    link& l = *e.of;
    service_book& b = *l.services;
    if (e.part_of && e.counted) {
        --e.part_of->uses;
        if (e.reply.category == 0) e.part_of->landed += e.reply.bytes;
    }
    const bool opened = e.what.step == step::open && e.step.taken;
    if (opened) {
        auto o = std::make_unique<open_object>();
        o->number = ++b.last_object;
        o->epoch = e.what.epoch;
        o->object = std::move(e.object);
        o->opened = e.step;
        o->held = e.held;
        const segment* what = nullptr;
        o->doomed = closed_ || e.reply.category != 0 || l.state != link_state::open ||
                    peers_.open_to(l, e.what.epoch, e.what.writes, what) != errc{};
        e.reply.session = o->number;
        e.reply.total = e.step.total;
        e.reply.has_checksum = e.step.has_checksum && e.step.of_source;
        e.reply.checksum = e.reply.has_checksum ? static_cast<std::uint32_t>(e.step.checksum) : 0;
        if (o->doomed && e.reply.category == 0) put_error(e.reply, errc::withdrawn);
        b.objects.push_back(std::move(o));
    }
    if (!e.unasked && l.state == link_state::open) peers_.say(l, e.reply);
    const auto it = std::find_if(b.running.begin(), b.running.end(), [&](const auto& r) { return r.get() == &e; });
    const std::unique_ptr<errand_here> gone = std::move(*it); // which may tell somebody that it is
    b.running.erase(it);
    --running_;
    give_up_idle(l);
    clean(b);
}

/// Objects that nobody may go on with, once none of their parts is under way.
void serving::give_up_idle(link& l)
{
    auto& all = l.services->objects;
    for (std::size_t i = 0; i < all.size();) {
        if (!all[i]->doomed || all[i]->uses != 0) {
            ++i;
            continue;
        }
        auto e = std::make_unique<errand_here>();
        e->of = &l;
        e->unasked = true;
        e->what.step = step::abandon;
        e->ends = std::move(all[i]);
        e->held = std::move(e->ends->held);
        e->step = e->ends->opened;
        e->step.what = step::abandon;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
        errand_here& it = *e;
        l.services->running.push_back(std::move(e));
        ++running_;
        run_step(it, *it.ends->object);
    }
}

void serving::expel(std::function<void()> over)
{
    const std::shared_ptr<void> all{nullptr, [over = std::move(over)](void*) {
                                        if (over) over();
                                    }};
    const segment* what = nullptr;
    for (link* const l : books_) {
        const auto may = [&](const wire::errand& w) {
            return peers_.open_to(*l, w.epoch, w.writes, what) == errc{};
        };
        for (const auto& e : l->services->running) {
            if (e->unasked || may(e->what)) continue;
            e->held.push_back(all);
            if (e->op && e->what.step != step::abandon) engine_.stop(*e->op, errc::withdrawn);
        }
        for (const auto& o : l->services->objects) {
            if (peers_.open_to(*l, o->epoch, !o->opened.of_source, what) == errc{}) continue;
            o->doomed = true;
            o->held.push_back(all);
        }
        give_up_idle(*l);
    }
}

/// What is yet to begin is answered, what is open is given up; what runs is stopped by who calls this.
void serving::close() noexcept
{
    if (std::exchange(closed_, true)) return;
    for (link* const l : books_) {
        for (auto& queue : l->services->waiting) {
            for (const auto& e : queue) refuse(*l, e->what, errc::peer_lost);
            queue.clear();
        }
        for (const auto& o : l->services->objects) o->doomed = true;
        give_up_idle(*l);
    }
    waiting_ = 0;
}

void serving::strand(link& l) noexcept
{
    if (!l.services) return;
    for (service_book::loan& m : l.services->loans) {
        m.what->standing = standing::lost;
        m.what->length = 0;
    }
}

} // namespace wye::detail
