// SPDX-License-Identifier: Apache-2.0
// Connections: what is said on them, and their end.
#include "peers.hpp"

#include <algorithm>
#include <cstring>

#include <boost/asio/error.hpp>

#include "engine.hpp"
#include "nanoseconds.hpp"

namespace wye {

void fabric::received(std::span<const std::byte> message) noexcept
{
    if (engine_) engine_->others().take(*this, message);
}

void fabric::gone(std::uint32_t peer) noexcept
{
    if (engine_) engine_->others().gone(*this, peer);
}

namespace detail {

namespace {

/// In how many ticks a peer is lost that says nothing.
constexpr std::uint64_t ticks = 4;

} // namespace

bool link::in_use() const noexcept
{
    const auto used = [](const std::unique_ptr<segment>& s) { return s && s->in_flight != 0; };
    const bool reaches = std::any_of(theirs.begin(), theirs.end(), [&](const auto& it) {
        const reached& r = it.second;
        return used(r.now) || std::any_of(r.before.begin(), r.before.end(), used);
    });
    const bool names = std::any_of(objects.begin(), objects.end(), [](const far_segment& s) { return s.in_flight != 0; });
    return reaches || names;
}

bool link::serves() const noexcept { return services && services->in_use(); }

peers::peers(engine& e, const peer_options& o) : engine_{e}, options_{o}, serving_{e, *this, o}
{
    fire = [](timer* t) noexcept { static_cast<peers*>(t)->look(); };
}

peers::~peers()
{
    engine_.loop().timers().remove(*this);
    for (auto& [token, l] : links_) {
        l->theirs.clear();
        l->services.reset();
        for (far_segment& s : l->objects) s.via = nullptr;
        if (l->handles == 0) continue;
        l->of = nullptr; // and the last handle frees it
        l.release();
    }
}

void peers::add(fabric& f) { fabrics_.push_back(&f); }

std::uint64_t peers::now() const noexcept { return engine_.loop().stamp(); }

std::uint64_t peers::draw()
{
    if (virtual_clock* const by = engine_.loop().goes_by()) return by->draw();
    std::uint64_t word = 0;
    fill_randomly(std::as_writable_bytes(std::span{&word, 1}));
    return word;
}

wire::nonce peers::fresh_nonce()
{
    wire::nonce n;
    for (std::size_t i = 0; i < n.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t word = draw();
        std::memcpy(n.data() + i, &word, sizeof word);
    }
    return n;
}

const wire::incarnation& peers::life()
{
    if (life_ == wire::incarnation{}) life_ = {draw(), draw()};
    return life_;
}

/// From here on there are strangers to listen to.
void peers::listen()
{
    if (engine_.name().empty() || engine_.name().size() > wire::most_name)
        throw system_error(errc::bad_name, "an agent that others shall know needs a name of at most 255 bytes");
    if (fabrics_.empty()) throw system_error(errc::not_supported, "no fabric to reach others by");
    listening_ = true;
    if (errands_ || engine_.drivers().size() == segment::most_drivers) return;
    auto made = std::make_unique<errands>(engine_, *this);
    errands_ = made.get();
    engine_.add(std::move(made));
}

link& peers::add_link(fabric& f)
{
    auto l = std::make_unique<link>(*this, f);
    do l->token = draw();
    while (l->token == 0 || links_.contains(l->token));
    l->began = now();
    return *(links_[l->token] = std::move(l));
}

link* peers::find(std::uint64_t token) const noexcept
{
    const auto it = links_.find(token);
    return it == links_.end() ? nullptr : it->second.get();
}

bool peers::anybody_open(const std::string& name) const noexcept
{
    return std::any_of(links_.begin(), links_.end(), [&](const auto& l) {
        return l.second->state == link_state::open && l.second->name == name;
    });
}

/// Two agents that connect to each other at once have two connections: what comes by the other one may still come.
bool peers::other_way(const link& l) const noexcept
{
    return std::any_of(links_.begin(), links_.end(), [&](const auto& it) {
        const link& o = *it.second;
        return &o != &l && o.life == l.life && (o.state == link_state::open || o.state == link_state::lost);
    });
}

void peers::mark(link& l) noexcept
{
    if (std::exchange(l.dirty, true)) return;
    dirty_.push_back(&l);
}

void peers::say(link& l, const wire::record& r, stream::told t)
{
    l.talk.push(r, std::move(t));
    mark(l);
    if (!ticking_) begin_ticking();
}

/// Beside the stream: it may be lost.
void peers::say_apart(link& l, std::uint64_t token, const wire::record& r)
{
    wire::bytes frame;
    wire::begin_frame(frame, l.talk.header(token, 0, false));
    wire::append(frame, r);
    l.by->send(l.number, l.said++, frame);
}

std::size_t peers::flush(link& l)
{
    l.dirty = false;
    if (l.their_token == 0 || l.number == 0 || l.severing) return 0;
    std::size_t n = 0;
    const std::uint64_t t = now();
    while (stream::frame* const f = l.talk.next_due(t, l.their_token)) {
        if (!l.by->send(l.number, f->attempts, f->bytes)) {
            l.talk.not_now(*f, t);
            continue;
        }
        l.talk.sent(*f, t);
        l.owes_answer = false;
        ++n;
    }
    if (l.owes_answer) {
        std::array<std::byte, wire::frame_header_bytes> bare;
        wire::refresh_frame(bare, l.talk.header(l.their_token, 0, false));
        l.owes_answer = !l.by->send(l.number, l.said++, bare); // who asked asks again, by other rails
        ++n;
    }
    if (const std::uint64_t due = l.talk.due()) wake_at(due);
    return n;
}

std::size_t peers::send_all()
{
    std::size_t n = 0;
    std::swap(dirty_, sending_);
    for (link* l : sending_) n += flush(*l);
    sending_.clear();
    return n;
}

std::size_t peers::poll()
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < draining_.size();) {
        n += see_drains(*draining_[i]);
        if (!draining_[i]->drains.empty()) ++i;
        else draining_.erase(draining_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    n += serving_.poll();
    n += send_all();
    if (!ending_.empty()) n += free_ended();
    if (!ticking_ && !links_.empty() && (engine_.active() || engine_.notes().waits_for_any())) begin_ticking();
    return n;
}

void peers::take(fabric& by, wire::view message)
{
    if (shut_ || !listening_) return;
    wire::frame_reader in{message};
    std::optional<wire::record> r = in ? in.next() : std::nullopt;
    const wire::frame_header& h = in.header();
    if (!in || in.malformed()) {
        ++garbage_;
    } else if (h.token == 0) {
        if (r && std::holds_alternative<wire::hello>(*r)) answer_hello(by, std::get<wire::hello>(*r));
    } else if (link* const l = find(h.token); l && l->by == &by && may_say(*l, r)) {
        l->heard = true;
        l->takes_puts = h.takes_puts;
        engine_.heard(*l, now());
        if (h.number != 0 || h.answer_please) {
            l->owes_answer = true;
            mark(*l);
        }
        l->talk.heard(h, now());
        if (h.number != 0 && !l->talk.fresh(h.number)) return;
        for (place at{h.number, 0}; r && l->state != link_state::lost; r = in.next(), ++at.record) take(*l, at, *r);
        garbage_ += in.malformed();
    }
}

/// Whoever has not proved that it knows the secret is listened to for nothing else.
bool peers::may_say(const link& l, const std::optional<wire::record>& first) noexcept
{
    switch (l.state) {
    case link_state::calling:
        return first && (std::holds_alternative<wire::challenge>(*first) || std::holds_alternative<wire::refusal>(*first));
    case link_state::answering: return first && std::holds_alternative<wire::answer>(*first);
    case link_state::lost:
    case link_state::over: return false;
    default: return true;
    }
}

void peers::take(link& l, place at, const wire::record& r)
{
    struct taker {
        peers& us;
        link& l;
        place at;
        void operator()(const wire::hello&) const {}
        void operator()(const wire::challenge& c) const { us.challenged(l, c); }
        void operator()(const wire::answer& a) const { us.answered(l, a); }
        void operator()(const wire::welcome&) const { us.welcome(l); }
        void operator()(const wire::refusal& f) const { us.refused(l, f); }
        void operator()(const wire::interest& i) const { us.interested(l, i); }
        void operator()(const wire::current& c) const { us.current(l, c); }
        void operator()(const wire::update& u) const { us.update(l, u.now); }
        void operator()(const wire::drained& d) const { us.drained(l, d); }
        void operator()(const wire::notify& n) const
        {
            us.engine_.notes().deliver({l.name, n.key, n.payload, n.aborted});
        }
        void operator()(const wire::put& p) const { us.take(l, at, p); }
        void operator()(const wire::rejection& r) const { l.talk.rejected(r.frame, r.record, static_cast<errc>(r.why)); }
        void operator()(const wire::lend& m) const { us.serving_.take(l, m); }
        void operator()(const wire::unlend& m) const { us.serving_.take(l, m); }
        void operator()(const wire::errand& e) const { us.serving_.take(l, e); }
        void operator()(const wire::reply& r) const
        {
            if (us.errands_) us.errands_->replied(l, r);
            else us.made_no_sense();
        }
        void operator()(const wire::goodbye&) const
        {
            l.held_there = false;
            us.part(l);
        }
    };
    std::visit(taker{*this, l, at}, r);
}

void peers::notify(link& l, wire::notify n, stream::told t)
{
    if (l.state != link_state::open) return t(errc::peer_lost);
    say(l, n, std::move(t));
}

void peers::notify(std::uint64_t token, wire::notify n, stream::told t)
{
    link* const l = find(token);
    if (!l) return t(errc::peer_lost);
    notify(*l, std::move(n), std::move(t));
}

task<> peers::notify(link& l, std::string key, std::vector<std::byte> payload)
{
    if (key.empty() || key.size() > wire::most_key || payload.size() > wire::most_payload)
        throw system_error(errc::bad_name, "a key of 1 byte to 1 KiB and a payload of at most 4 KiB");
    const std::string name = l.name; // which may be gone by then
    const auto tell = [this, &l, &key, &payload](auto done) { notify(l, {key, payload, false}, std::move(done)); };
    const errc e = co_await eventually<errc>(engine_.loop(), tell);
    if (e != errc{}) throw system_error(e, name);
}

/// A handle goes.
void peers::let_go(link& l) noexcept
{
    if (--l.handles != 0 || l.state == link_state::lost || l.state == link_state::over) return;
    if (l.state != link_state::open) return lose(l, boost::asio::error::operation_aborted);
    l.said_goodbye = true;
    say(l, wire::goodbye{});
    part(l);
}

/// When neither side holds it, the connection ends once everything that was said has been heard. For a while what the
/// other side repeats is answered.
void peers::part(link& l) noexcept
{
    if (l.handles != 0 || l.held_there || l.state != link_state::open) return;
    l.state = link_state::parting;
    l.free_at = now() + ns(options_.lost_after);
    strand(l);
    for (auto& [name, r] : l.theirs) { // should the other side come back to it, we know nothing
        if (r.now) r.before.push_back(std::move(r.now));
        r.epoch = r.edition = 0;
    }
    if (errands_) errands_->lock_out(l);
    leaves(l, false);
    ends(l);
    wake_at(l.free_at);
}

/// It is looked after until it has gone, or is in use again.
void peers::ends(link& l)
{
    if (std::find(ending_.begin(), ending_.end(), &l) == ending_.end()) ending_.push_back(&l);
}

/// The peer cannot be reached any more, or may not.
void peers::lose(link& l, error_code why)
{
    if (l.state == link_state::lost || l.state == link_state::over) return;
    l.state = link_state::lost;
    l.why = why;
    l.say_again = 0;
    strand(l);
    engine_.abandon(l, errc::peer_lost);
    l.talk.give_up();
    for (const auto& w : std::exchange(l.waiting, {})) w->set(why);
    leaves(l, true);
    if (errands_) errands_->lock_out(l);
    sever(l);
    ends(l);
}

void peers::sever(link& l)
{
    if (std::exchange(l.severing, true)) return;
    if (l.number == 0) {
        l.severed = !l.admitting;
        return;
    }
    l.by->sever(l.number, [this, token = l.token] {
        if (link* const it = find(token)) it->severed = true;
    });
}

/// Links that end: what waits for it is told when nothing of the peer's touches memory here, and the last of it goes.
std::size_t peers::free_ended() noexcept
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < ending_.size();) {
        link& l = *ending_[i];
        if (l.state == link_state::parting && l.talk.idle() && now() >= l.free_at) {
            l.state = link_state::over;
            sever(l);
        }
        if (l.state == link_state::lost && l.severed && l.closing == 0) {
            l.state = link_state::over;
            ++n;
            if (!other_way(l)) {
                engine_.notes().lose(l.name);
                if (anybody_open(l.name)) engine_.notes().find(l.name); // in another life
            }
        }
        if (l.state != link_state::over || !l.severed || l.dirty || l.handles != 0 || l.in_use() || l.serves()) {
            ++i;
            continue;
        }
        ending_.erase(ending_.begin() + static_cast<std::ptrdiff_t>(i));
        if (errands_) errands_->forget(l);
        serving_.forget(l);
        for (far_segment& s : l.objects) s.via = nullptr; // somebody still has a name for it
        links_.erase(l.token);
        ++n;
    }
    return n;
}

void peers::wake_at(std::uint64_t t) noexcept
{
    const steady::time_point at{duration{static_cast<duration::rep>(t)}};
    if (armed() && when <= at) return;
    engine_.loop().timers().remove(*this);
    when = at;
    engine_.loop().timers().add(*this);
}

void peers::begin_ticking() noexcept
{
    ticking_ = true;
    next_tick_ = now() + ns(options_.lost_after) / ticks;
    wake_at(next_tick_);
}

/// Whether a word from it is due sooner or later.
bool peers::expects(const link& l) const noexcept
{
    if (l.state != link_state::open && l.state != link_state::proving) return l.state == link_state::parting && !l.talk.idle();
    const auto waits = [&](const retired& r) { return std::find(r.waiting.begin(), r.waiting.end(), &l) != r.waiting.end(); };
    return l.state == link_state::proving || !l.talk.idle() || l.unsettled != 0 || l.in_use() || l.serves() ||
           engine_.notes().waits_for(l.name) || std::any_of(retired_.begin(), retired_.end(), waits);
}

/// Silence is counted in ticks, of which each may come late: a pause of ours is not one of theirs.
void peers::tick(link& l)
{
    const bool heard = std::exchange(l.heard, false);
    if (heard || !expects(l)) {
        l.silent = 0;
        return;
    }
    const std::uint64_t tick_ns = std::max<std::uint64_t>(1, ns(options_.lost_after) / ticks);
    if (++l.silent > ticks + l.longest_gap / tick_ns) return lose(l, errc::peer_lost);
    poke(l);
}

void peers::poke(link& l)
{
    if (l.their_token == 0 || l.number == 0 || l.severing) return;
    wire::bytes ping;
    wire::begin_frame(ping, l.talk.header(l.their_token, 0, true));
    l.by->send(l.number, l.said++, ping);
}

/// The timer: everything that is due by now.
void peers::look() noexcept
{
    const std::uint64_t t = now();
    std::uint64_t next = 0;
    const auto at = [&](std::uint64_t due) {
        if (due) next = next ? std::min(next, due) : due;
    };
    const bool ticks_now = ticking_ && t >= next_tick_;
    bool expected = engine_.active() || engine_.notes().waits_for_any();
    for (const auto& [token, l] : links_) {
        if (l->say_again && t >= l->say_again) repeat(*l);
        if (ticks_now) tick(*l);
        expected = expected || expects(*l);
        const std::uint64_t due = l->severing ? 0 : l->talk.due();
        if (due && due <= t) mark(*l);
        else at(due);
        at(l->say_again);
        if (l->state == link_state::parting && l->free_at > t) at(l->free_at);
    }
    end_overdue(t);
    for (const retired& r : retired_) at(r.limit);
    at(give_keys(t));
    if (ticks_now) {
        ticking_ = expected;
        next_tick_ = t + ns(options_.lost_after) / ticks;
    }
    if (ticking_) at(next_tick_);
    if (next) wake_at(next);
}

void peers::recall() noexcept
{
    for (auto& [token, l] : links_) {
        if (!l->errands || l->errands->free == most_errands || l->state != link_state::open) continue;
        say_apart(*l, l->their_token, wire::refusal{static_cast<std::uint8_t>(errc::shut_down)});
        lose(*l, errc::shut_down);
    }
}

/// What is being said is heard, or not.
void peers::hush() noexcept
{
    send_all();
    for (auto& [token, l] : links_) l->talk.give_up();
}

void peers::shut() noexcept
{
    if (std::exchange(shut_, true)) return;
    for (auto& [token, l] : links_) {
        if (l->state == link_state::open) say_apart(*l, l->their_token, wire::refusal{static_cast<std::uint8_t>(errc::shut_down)});
        strand(*l);
        if (errands_) errands_->lock_out(*l);
        l->talk.give_up();
        for (const auto& w : std::exchange(l->waiting, {})) w->set(errc::shut_down);
        l->state = link_state::over;
        l->say_again = 0;
        sever(*l);
    }
    for (retired& r : std::exchange(retired_, {})) end(r);
    for (auto& [name, p] : published_) end_keys(p.keys);
    by_epoch_.clear();
    published_.clear();
}

bool peers::severing() const noexcept
{
    return std::any_of(links_.begin(), links_.end(),
                       [](const auto& l) { return l.second->admitting || !l.second->severed; });
}

} // namespace detail
} // namespace wye
