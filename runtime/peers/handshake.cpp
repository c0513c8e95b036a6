// SPDX-License-Identifier: Apache-2.0
// How two agents come to know each other: hello, challenge, answer, welcome. Either proves that it knows the secret
// before anything else is taken from it, and both proofs cover who they are and what was drawn for this connection.
#include <algorithm>

#include <boost/asio/error.hpp>

#include "engine.hpp"
#include "nanoseconds.hpp"
#include "peers.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t first_repeat_ns = 10'000'000, most_repeat_ns = 250'000'000;
constexpr std::size_t most_strangers = 1024; // that have said hello, and no more

} // namespace

handshake peers::oath(const link& l, bool calling) const noexcept
{
    const std::string_view caller = calling ? std::string_view{engine_.name()} : std::string_view{l.name};
    handshake h{caller, life_, l.life, l.token, l.their_token, l.nonce, l.their_nonce};
    if (!calling) {
        std::swap(h.caller, h.called);
        std::swap(h.caller_token, h.called_token);
        std::swap(h.caller_nonce, h.called_nonce);
    }
    return h;
}

wire::digest peers::proof(const link& l, side who, bool calling) const
{
    return prove(options_.secret, who, oath(l, calling));
}

task<peer> peers::connect(wire::bytes blob)
{
    std::optional<wire::metadata> them = wire::decode_metadata(blob);
    if (!them) throw system_error(errc::bad_metadata);
    listen();
    if (them->life == life()) throw system_error(errc::not_supported, "an agent does not connect to itself");
    if (link* const known = at_hand(them->life)) {
        const bool held = known->handles != 0;
        if (!held) hold(*known);
        ask(*known, them->published);
        peer handle{*known}; // which may outlive this
        const error_code failed = co_await ready(*known);
        if (!failed) co_return handle;
        if (held || failed != errc::peer_lost) throw system_error(failed, them->name);
        // Over there it had just been given up: another one, then.
    }
    link& l = set_out(std::move(*them));
    peer handle{l};
    const error_code failed = co_await ready(l);
    if (failed) throw system_error(failed, l.name);
    co_return handle;
}

/// A connection that may be used by one more. Not one that we have said goodbye on: the other side may be on its way
/// out of it, and know nothing any more of what we hold.
link* peers::at_hand(const wire::incarnation& life) const noexcept
{
    for (const auto& [token, l] : links_)
        if (l->life == life && l->state == link_state::open && (l->handles != 0 || !l->said_goodbye)) return l.get();
    return nullptr;
}

/// The other side called, and hears that we hold it, too.
void peers::hold(link& l)
{
    ++l.unsettled;
    say(l, wire::welcome{}, [this, token = l.token](errc e) {
        if (link* const it = find(token); it && e == errc{}) settled(*it, {});
    });
}

/// The fabrics that both have, the nearest last.
std::vector<way> peers::ways_to(wire::metadata& them) const
{
    std::vector<way> all;
    const auto farther = [](const way& a, const way& b) { return a.by->limits().latency > b.by->limits().latency; };
    for (auto f = fabrics_.rbegin(); f != fabrics_.rend(); ++f) { // so that of equals the one that was added first is last
        const auto it = std::find_if(them.ways.begin(), them.ways.end(), [&](const auto& w) { return w.fabric == (*f)->name(); });
        if (it == them.ways.end()) continue;
        way one{*f, std::move(it->address)};
        all.insert(std::upper_bound(all.begin(), all.end(), one, farther), std::move(one));
    }
    return all;
}

/// Begins one.
link& peers::set_out(wire::metadata them)
{
    std::vector<way> ways = ways_to(them);
    if (ways.empty()) throw system_error(errc::no_route, "no fabric in common with " + them.name);
    link& l = add_link(*ways.back().by);
    l.others = std::move(ways);
    l.name = std::move(them.name);
    l.life = them.life;
    l.longest_gap = them.longest_gap;
    l.nonce = fresh_nonce();
    l.offered = std::move(them.published);
    l.unsettled = 1; // until it is open
    next_way(l);
    return l;
}

/// Tries the nearest that was not tried yet, for its share of the time. False when there is none, or the peer has answered.
bool peers::next_way(link& l)
{
    if (l.state != link_state::calling || l.others.empty()) return false;
    if (l.number != 0) l.by->sever(l.number, [] {});
    const way next = std::move(l.others.back());
    l.others.pop_back();
    const std::uint64_t t = now(), end = l.began + ns(options_.connect_within);
    l.way_ends = end <= t ? t : t + (end - t) / (l.others.size() + 1);
    l.by = next.by;
    l.number = 0;
    l.said = 0;
    l.say_again = 0;
    admit(l, next.address);
    return true;
}

/// Ends when it is open and the peer has said how everything is, or in what ended it.
task<error_code> peers::ready(link& l)
{
    if (l.unsettled == 0 && l.state == link_state::open) co_return error_code{};
    if (l.state == link_state::lost) co_return l.why;
    const auto made = std::make_shared<eventual<error_code>>(engine_.loop());
    l.waiting.push_back(made);
    co_return co_await eventual<error_code>::wait(made);
}

void peers::admit(link& l, wire::view address)
{
    l.admitting = true;
    l.by->admit(address, [this, token = l.token](error_code e, std::uint32_t number) {
        link* const it = find(token);
        if (!it) return;
        it->admitting = false;
        it->number = number;
        if (it->severing) { // it was given up meanwhile
            it->severing = false;
            return sever(*it);
        }
        if (e && next_way(*it)) return;
        if (e) return lose(*it, e);
        if (it->state == link_state::calling) call(*it);
        else say_challenge(*it);
    });
}

/// What was said apart is said again until the other side goes on, or time is up.
void peers::repeat(link& l)
{
    if (now() >= l.way_ends && next_way(l)) return;
    if (now() >= l.began + ns(options_.connect_within)) lose(l, errc::peer_lost);
    else if (l.state == link_state::calling) call(l);
}

/// Sooner than by silence. Who was let go of anyway is not missed.
void peers::gone(fabric& by, std::uint32_t number) noexcept
{
    const auto its = [&](const auto& l) { return l.second->by == &by && l.second->number == number && !l.second->severing; };
    const auto it = std::find_if(links_.begin(), links_.end(), its);
    if (it == links_.end()) return;
    link& l = *it->second;
    if (l.state != link_state::parting) {
        if (!next_way(l)) lose(l, errc::peer_lost);
        return;
    }
    l.state = link_state::over;
    l.talk.give_up();
    sever(l);
}

void peers::call(link& l)
{
    const std::uint64_t pause = std::min(first_repeat_ns << std::min(l.said, 8u), most_repeat_ns);
    say_apart(l, 0, wire::hello{l.life, engine_.name(), life(), ns(options_.longest_gap),
                                {std::string{l.by->name()}, l.by->address()}, l.token, l.nonce});
    l.say_again = std::min({now() + pause, l.way_ends, l.began + ns(options_.connect_within)});
    wake_at(l.say_again);
}

void peers::answer_hello(fabric& by, const wire::hello& h)
{
    std::size_t strangers = 0;
    for (const auto& [token, l] : links_) {
        if (l->life == h.life && l->their_token == h.token && l->by == &by) { // it repeats itself
            if (l->state == link_state::answering && l->number != 0) say_challenge(*l);
            return;
        }
        strangers += l->state == link_state::answering;
    }
    if (strangers >= most_strangers || h.token == 0 || h.life == life()) return;
    link& l = add_link(by);
    l.state = link_state::answering;
    l.name = h.name;
    l.life = h.life;
    l.longest_gap = h.longest_gap;
    l.their_token = h.token;
    l.their_nonce = h.fresh;
    l.nonce = fresh_nonce();
    if (h.to != life()) l.why = errc::stale_metadata;
    l.say_again = l.began + ns(options_.connect_within);
    wake_at(l.say_again);
    admit(l, h.back.address);
}

void peers::say_challenge(link& l)
{
    if (l.why) {
        say_apart(l, l.their_token, wire::refusal{static_cast<std::uint8_t>(l.why.value())});
        return lose(l, l.why);
    }
    say_apart(l, l.their_token, wire::challenge{l.token, l.nonce, proof(l, side::called, false), ns(options_.longest_gap)});
}

void peers::challenged(link& l, const wire::challenge& c)
{
    if (l.state != link_state::calling) return;
    l.others.clear();
    l.their_token = c.token;
    l.their_nonce = c.fresh;
    l.longest_gap = c.longest_gap;
    if (!same(c.proof, proof(l, side::called, true))) return lose(l, errc::not_trusted);
    l.state = link_state::proving;
    l.say_again = l.began + ns(options_.connect_within);
    say(l, wire::answer{proof(l, side::caller, true)});
}

void peers::answered(link& l, const wire::answer& a)
{
    if (l.state != link_state::answering) return;
    if (!same(a.proof, proof(l, side::caller, false))) {
        say_apart(l, l.their_token, wire::refusal{static_cast<std::uint8_t>(errc::not_trusted)});
        return lose(l, errc::not_trusted);
    }
    l.held_there = true;
    opened(l);
    say(l, wire::welcome{});
}

void peers::welcome(link& l)
{
    if (l.state != link_state::proving) { // who was called holds it, too
        l.held_there = true;
        if (l.state == link_state::parting) l.state = link_state::open;
        return;
    }
    opened(l);
    offer(l, std::move(l.offered));
    settled(l, {}); // what stood for its being open
}

/// The other side will not go on.
void peers::refused(link& l, const wire::refusal& r)
{
    const auto why = static_cast<errc>(r.why);
    lose(l, why == errc::stale_metadata || why == errc::not_trusted ? why : errc::peer_lost);
}

/// It is open. Who comes under a name is who it stands for: earlier lives are over.
void peers::opened(link& l)
{
    l.state = link_state::open;
    l.say_again = 0;
    engine_.notes().find(l.name);
    for (const auto& [token, other] : links_)
        if (other->name == l.name && other->life != l.life && other->state == link_state::open)
            lose(*other, errc::peer_lost);
}

/// The present state of one more name is known here.
void peers::settled(link& l, const std::string&)
{
    if (l.unsettled == 0 || --l.unsettled != 0) return;
    for (const auto& w : std::exchange(l.waiting, {})) w->set(error_code{});
}

} // namespace wye::detail
