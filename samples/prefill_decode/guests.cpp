// SPDX-License-Identifier: Apache-2.0
#include "front.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "meeting.hpp"
#include "rethrow.hpp"

namespace pd {

namespace {

namespace asio = boost::asio;

constexpr std::uint32_t most_engines = 64; ///< of a role
/// It has met all whom it has to do with; it has ended once it was told to.
constexpr auto guest_within = 2 * find_within;

} // namespace

/// Lets in who knocks.
wye::task<> front::receive()
{
    for (;;) {
        const int socket = co_await door_->knock();
        asio::co_spawn(runtime_, welcome(socket), [](std::exception_ptr) {}); // who says nonsense is let go
    }
}

wye::task<> front::welcome(int socket)
{
    auto line = std::make_unique<pd::line>(runtime_.io(), socket);
    const std::optional<message> m = co_await line->next();
    if (!m) co_return;
    if (m->f.what == verb::join) take_in(*m, std::move(line));
    if (m->f.what == verb::here) take_rank(*m, std::move(line));
}

/// An engine wants to join: it is told what it has to know, or why it cannot.
void front::take_in(const message& m, std::unique_ptr<pd::line> line)
{
    const role r = m.text == name_of(role::prefill) ? role::prefill : role::decode;
    message answer = word(verb::failed);
    if (m.f.bytes != line::protocol) answer.text = "the job is of another version of this program";
    else if (phase_ != phase::serving || requests_.stopped()) answer.text = "the job is about to end";
    else if (requests_.engines(r) == most_engines) answer.text = "the job has " + std::to_string(most_engines) + " such engines";
    if (!answer.text.empty()) return line->say(answer);

    guest& g = guests_.emplace_back();
    g.at = {r, requests_.expect(r), 0};
    g.line = std::move(line);
    g.since = std::chrono::steady_clock::now();
    answer.f.what = verb::welcome;
    answer.f.engine = g.at.engine;
    answer.text = settings_.secret + '\0';
    for (const std::string& a : settings_.arguments) answer.text += a + '\0';
    g.line->say(answer);
    asio::co_spawn(runtime_, listen(g), rethrow);
}

/// From now on it is a rank like all others.
void front::take_rank(const message& said, std::unique_ptr<pd::line> line)
{
    const std::optional<place> at = place_named(said.text);
    guest* const g = at ? guest_at(*at) : nullptr;
    if (!g || g->is != guest::state::coming || at->rank >= settings_.of(at->role).ranks) return;
    if (std::any_of(members_.begin(), members_.end(), [&](const member& m) { return m.at.name() == at->name(); })) return;
    member& m = members_.emplace_back();
    m.at = *at;
    m.line = std::move(line);
    m.line->say(word(verb::open));
    asio::co_spawn(runtime_, listen(m), rethrow);
}

wye::task<> front::listen(guest& g)
{
    for (;;) {
        const std::optional<message> m = co_await g.line->next();
        if (!m) break;
        if (m->f.what != verb::leave || g.is > guest::state::serving) continue;
        requests_.retire(g.at);
        g.is = guest::state::leaving;
        go_on();
    }
    asio::post(runtime_, [line = std::move(g.line)] {});
    lose(g, "who brought it has gone");
    go_on();
}

front::guest* front::guest_at(place at) noexcept
{
    for (guest& g : guests_)
        if (at.is_of(g.at)) return &g;
    return nullptr;
}

/// Whether all of its ranks are there, and every pair of ranks that may have to copy has met.
bool front::is_known(const guest& g) const noexcept
{
    std::uint32_t ready = 0;
    for (const member& m : members_) {
        const bool its = m.at.is_of(g.at);
        if (its) ready += m.ready;
        if (m.at.role != settings_.mover()) continue;
        if (!its && m.at.role != g.at.role && requests_.serves(m.at) && !m.met.contains(g.at.engine)) return false;
        for (std::uint32_t e = 0; its && e < requests_.engines(other_than(g.at.role)); ++e)
            if (requests_.serves({other_than(g.at.role), e, 0}) && !m.met.contains(e)) return false;
    }
    return ready == settings_.of(g.at.role).ranks;
}

/// Who is known serves; who wants to leave goes when nothing is under way with it; who has gone is forgotten then.
void front::see_to_guests()
{
    for (auto it = guests_.begin(); it != guests_.end();) {
        guest& g = *it;
        if (g.is == guest::state::coming && is_known(g)) {
            requests_.admit(g.at);
            g.is = guest::state::serving;
        }
        if (g.is == guest::state::leaving && requests_.idle(g.at)) send_off(g);
        if (g.is == guest::state::gone && !g.line && requests_.idle(g.at)) {
            forget(g);
            it = guests_.erase(it);
        } else {
            ++it;
        }
    }
}

void front::send_off(guest& g)
{
    if (g.is >= guest::state::going) return;
    g.is = guest::state::going;
    g.since = std::chrono::steady_clock::now();
    say(g.at.role, g.at.engine, word(verb::end));
    see_off(g);
}

/// It does not go in order: what is under way with it is begun again elsewhere, and its ranks end at once.
void front::lose(guest& g, const std::string& why)
{
    if (g.is >= guest::state::going) return;
    requests_.lose(g.at, g.at.engine_name());
    g.is = guest::state::going;
    g.why = why;
    hang_up(g);
    see_off(g);
}

/// Who has been found lost, or has let a lease run out, may live, but nobody deals with it any more.
front::guest* front::lost_by(const member& m, const message& said) noexcept
{
    if (said.f.how != ending::lost && said.f.how != ending::revoked) return nullptr;
    const std::optional<place> whom = requests_.other_side(said.f.request, m.at.role);
    return whom ? guest_at(*whom) : nullptr;
}

void front::hang_up(const guest& g) noexcept
{
    for (const member& m : members_)
        if (m.at.is_of(g.at) && m.line) m.line->hang_up();
}

void front::rank_gone(guest& g, const member& m)
{
    if (!m.said_bye) lose(g, m.at.name() + " has died");
    see_off(g);
    go_on();
}

/// Once none of its ranks is left, who brought it is told what has become of it.
void front::see_off(guest& g)
{
    for (const member& m : members_)
        if (m.at.is_of(g.at) && m.line) return;
    if (g.is != guest::state::going) return;
    g.is = guest::state::gone;
    message over = word(verb::over);
    over.f.how = g.why.empty() ? ending::told : ending::lost;
    over.text = g.why.empty() ? "served " + std::to_string(requests_.served(g.at)) + " requests, and has left" : g.why;
    if (g.line) g.line->say(over);
}

void front::forget(const guest& g)
{
    message m = word(verb::forget);
    m.f.engine = g.at.engine;
    for (member& o : members_)
        if (o.at.role != g.at.role && o.line) o.line->say(m);
    members_.remove_if([&](const member& r) { return r.at.is_of(g.at); });
}

/// Who does not come to serve, or does not come to its end, in time.
void front::turn_away()
{
    for (guest& g : guests_) {
        if (std::chrono::steady_clock::now() - g.since < guest_within) continue;
        if (g.is == guest::state::coming) lose(g, "it has not met all whom it has to do with in time");
        if (g.is == guest::state::going) hang_up(g);
    }
}

} // namespace pd
