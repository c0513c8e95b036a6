// SPDX-License-Identifier: Apache-2.0
// What breaks: a chunk, the way to a peer, a rail, a peer. A write that did not complete may still land over there,
// from what lies in the buffers of either kernel, so it is over only when its peer has said that nothing of it does.
// See docs/decisions/0015-fencing-writes.md.
#include <algorithm>

#include <rdma/fi_errno.h>

#include "driver.hpp"
#include "errors.hpp"

namespace wye::ofi {

namespace {

constexpr auto ask_again = std::chrono::milliseconds{20}, ask_again_most = std::chrono::milliseconds{200};

/// What it may be that a key is no good any more. efa says FI_EINVAL (2.x).
bool about_keys(int error) noexcept
{
    return error == FI_EACCES || error == FI_EPERM || error == FI_ENOKEY || error == FI_EKEYREJECTED ||
           error == FI_EINVAL;
}

} // namespace

/// Nothing of it was posted.
void libfabric_driver::refused(path& p, chunk& c, int error) noexcept
{
    const blame whose = blame_for(error);
    if (whose == blame::rail) lost_rails_ |= std::uint64_t{1} << p.mine;
    if (whose == blame::path) broke(p);
    end(c, whose == blame::rail ? make_error_code(errc::rail_lost)
           : whose == blame::path ? make_error_code(errc::path_lost) : fabric_error(error), 0);
}

/// It was posted, and ended in an error.
void libfabric_driver::failed(path& p, chunk& c, std::uint64_t by_key, int error) noexcept
{
    const bool out = remote_of(c.to) != nullptr;
    const key_set& k = keys_of(c);
    if (numbers_[k.number - 1].severed) return end(c, errc::peer_lost, 0);
    const bool fenced = static_cast<bool>(stations_[p.mine].fenced);
    blame whose = p.closing || fenced ? blame::path : blame_for(error);
    // Its key may have been changed to keep something out; the peer says by which it goes on, or that it does not.
    if (!closes_paths_ && (about_keys(error) || by_key != k.what.keys[p.to->of(p).theirs])) whose = blame::path;
    if (whose == blame::chunk) return end(c, fabric_error(error), 0);
    if (whose == blame::rail) lost_rails_ |= std::uint64_t{1} << p.mine;
    if (whose == blame::path) broke(p);
    // Without connections what was read is over, too, but it may be the key, and there is only one who knows.
    if (out || (!closes_paths_ && !fenced && whose == blame::path)) {
        c.scratch[1] = out ? by_key : FI_KEY_NOTAVAIL;
        p.lost.push_back(&c);
        return due(steady::now());
    }
    end(c, fenced || whose == blame::rail ? errc::rail_lost : errc::path_lost, 0); // our side of the way is closed
}

void libfabric_driver::proved(path& p) noexcept
{
    p.proven = true;
    for (path::opening& o : std::exchange(p.openings, {})) answer([f = std::move(o.opened)] { f({}); });
    if (station& s = stations_[p.mine]; s.opened) answer([f = std::exchange(s.opened, {})] { f({}); });
}

/// Closes our side of it: what else was under way on it ends, too.
void libfabric_driver::broke(path& p) noexcept
{
    p.proven = false;
    p.patience_ends = steady::now() + options_.connect_within;
    if (p.closing || !closes_paths_ || !rails_[p.mine]->is_open()) return;
    close_entry(*p.to, p.to->of(p), true);
    // Somebody in the process began with libfabric before us, and without FI_AV_REMOVE_CLEANUP: all of them, then.
    if (p.out != 0) lost_rails_ |= std::uint64_t{1} << p.mine;
}

/// Forgets one of their rails, and so closes the connection with it where there are any: nothing that was under way on
/// it in either direction touches memory here any more.
void libfabric_driver::close_entry(contact& k, entry& e, bool known_again) noexcept
{
    if (e.at == FI_ADDR_UNSPEC) return;
    path& p = k.paths[e.mine];
    const bool ours = &k.of(p) == &e;
    if (ours) {
        p.closing = true;
        p.proven = false;
    }
    e.wanted.clear();
    rails_[e.mine]->forget(std::exchange(e.at, FI_ADDR_UNSPEC));
    reap_all(e.mine);
    if (ours) end_asks(p);
    if (known_again) e.at = rails_[e.mine]->know(k.known.rails[e.theirs]).value_or(FI_ADDR_UNSPEC);
    if (ours) p.closing = false;
}

void libfabric_driver::urge(path& p) noexcept
{
    if (std::find(eager_.begin(), eager_.end(), &p) == eager_.end()) eager_.push_back(&p);
}

void libfabric_driver::begin_ping(path& p) noexcept
{
    p.wants_ping = true;
    urge(p);
}

/// Whether somebody waits to know whether anything comes through.
bool libfabric_driver::asked_about(const path& p) const noexcept
{
    return !p.openings.empty() || stations_[p.mine].opened ||
           std::any_of(admissions_.begin(), admissions_.end(),
                       [&](const admission& a) { return numbers_[a.number - 1].of == p.to; });
}

void libfabric_driver::fence(std::uint32_t index, std::function<void()> fenced)
{
    station& s = stations_[index];
    s.fenced = std::move(fenced);
    if (s.opened) answer([f = std::exchange(s.opened, {})] { f(errc::rail_lost); });
    each_path([&](path& p) {
        if (p.mine != index) return;
        p.wants_ping = false;
        for (chunk* c : std::exchange(p.pending, {})) end(*c, errc::rail_lost, 0);
        for (path::opening& o : std::exchange(p.openings, {}))
            answer([f = std::move(o.opened)] { f(errc::rail_lost); });
    });
    s.closing = true;
    const auto endpoint = std::make_shared<handle<fid_ep>>(rails_[index]->detach());
    const auto close = [endpoint] { endpoint->reset(); };
    const auto closed = [this, index] { endpoint_closed(index); };
    if (!closes_paths_) return work(close, closed);
    close(); // quick in rxm, which cannot bear that anything else of the domain is looked at meanwhile
    closed();
}

void libfabric_driver::endpoint_closed(std::uint32_t index) noexcept
{
    stations_[index].closing = false;
    reap_all(index);
    std::erase_if(arrived_, [&](const arrival& a) { return a.rail == index; });
    each_path([&](path& p) {
        if (p.mine == index) end_asks(p);
    });
    for (slot* s : rails_[index]->unaccounted())
        if (s->c) failed(*s->by, *s->c, s->key, FI_ECANCELED);
    each_path([&](path& p) {
        if (p.mine != index) return;
        p.out = 0;
        p.proven = false;
    });
    for (auto& k : contacts_)
        for (entry& e : k->entries)
            if (e.mine == index) e.wanted.clear();
    ask_by_itself(index);
    due(steady::now());
}

/// Where no rail is open nobody could be asked: then it is opened for that, at another address maybe.
void libfabric_driver::ask_by_itself(std::uint32_t index) noexcept
{
    bool owes = false;
    each_path([&](const path& p) { owes = owes || p.owes(); });
    const bool other = std::any_of(rails_.begin(), rails_.end(), [](const auto& r) { return r->is_open(); });
    if (!owes || other) return;
    try {
        rails_[index]->open();
    } catch (const system_error&) {
        // Then they end when they are overdue.
    }
}

/// Those of which everything is over here and at its peers.
std::size_t libfabric_driver::see_fences() noexcept
{
    std::size_t n = 0;
    for (std::uint32_t r = 0; r < rails(); ++r) {
        if (!stations_[r].fenced || stations_[r].closing) continue;
        bool owes = false;
        each_path([&](const path& p) { owes = owes || (p.mine == r && p.owes()); });
        if (owes) continue;
        std::exchange(stations_[r].fenced, {})();
        ++n;
    }
    return n;
}

void libfabric_driver::open_rail(std::uint32_t index, std::function<void(error_code)> opened)
{
    try {
        if (!rails_[index]->is_open()) rails_[index]->open();
    } catch (const system_error& e) {
        return answer([opened = std::move(opened), e = e.code()] { opened(e); });
    }
    if (contacts_.empty()) return answer([opened = std::move(opened)] { opened({}); });
    stations_[index].opened = std::move(opened);
    stations_[index].opening_ends = steady::now() + options_.connect_within;
    due(stations_[index].opening_ends);
    // Its address may be another now: who knows that by another rail can be reached by this one.
    for (auto& k : contacts_) {
        wire::letter l = letter_to(*k);
        l.records.emplace_back(wire::ping{static_cast<std::uint8_t>(index), rails_[index]->address()});
        if (rails() > 1) say(*k, 0, index, l);
        begin_ping(k->paths[index]);
    }
}

void libfabric_driver::open_path(std::uint32_t index, std::uint32_t peer, std::function<void(error_code)> opened)
{
    path& p = numbers_[peer - 1].of->paths[index];
    if (numbers_[peer - 1].severed) return answer([f = std::move(opened)] { f(errc::peer_lost); });
    if (!rails_[index]->is_open()) return answer([f = std::move(opened)] { f(errc::rail_lost); });
    p.openings.push_back({std::move(opened), steady::now() + options_.connect_within});
    due(p.openings.back().ends);
    begin_ping(p);
}

/// Where there are no connections a key that has ended keeps everything out by itself.
void libfabric_driver::cut_off(std::uint32_t peer) noexcept
{
    contact* const k = numbers_[peer - 1].of;
    if (!k || !closes_paths_) return;
    for (entry& e : k->entries) close_entry(*k, e, true);
}

void libfabric_driver::sever(std::uint32_t peer, std::function<void()> severed)
{
    number& m = numbers_[peer - 1];
    contact& k = *m.of;
    m.severed = true;
    const auto drop = [&](std::vector<chunk*>& some) {
        std::erase_if(some, [&](chunk* c) {
            if (keys_of(*c).number != peer) return false;
            end(*c, errc::peer_lost, 0);
            return true;
        });
    };
    for (path& p : k.paths) {
        drop(p.pending);
        drop(p.lost);
        drop(p.barring);
        if (p.barring.empty()) p.bar = 0;
        // Without connections, what was posted to one peer ends for certain only with all of that endpoint's.
        if (m.out != 0 && p.out != 0 && !closes_paths_) lost_rails_ |= std::uint64_t{1} << p.mine;
    }
    // Two who connect to each other at once know each other twice: the other one may go on.
    if (--k.numbers == 0) part(k);
    else if (m.out != 0 && closes_paths_)
        for (entry& e : k.entries) close_entry(k, e, true);
    severings_.push_back({peer, std::move(severed)});
}

std::size_t libfabric_driver::see_severed() noexcept
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < severings_.size();) {
        number& m = numbers_[severings_[i].number - 1];
        if (m.out != 0) {
            ++i;
            continue;
        }
        m = {};
        answer(std::move(severings_[i].severed));
        severings_.erase(severings_.begin() + static_cast<std::ptrdiff_t>(i));
        ++n;
    }
    std::erase_if(fading_, [](const auto& k) { return k->out() == 0; });
    return n;
}

wire::letter libfabric_driver::letter_to(const contact& k) const { return {k.known.door, id_here_, {}}; }

/// By whatever rail it can be posted on, `not_over` last; another attempt begins with another.
bool libfabric_driver::say(contact& k, std::uint32_t attempt, std::uint32_t not_over, const wire::letter& l) noexcept
{
    const wire::bytes message = wire::encode(l);
    const std::uint32_t n = rails();
    for (std::uint32_t i = 0; i + 1 < n; ++i)
        if (send_over(k.paths[(not_over + 1 + (attempt + i) % (n - 1)) % n], std::byte{1}, message)) return true;
    return send_over(k.paths[not_over], std::byte{1}, message);
}

/// What the peer is to be asked about this way: what it was asked and has not answered, or what has come since.
std::optional<wire::bar> libfabric_driver::next_bar(path& p, steady::time_point now) noexcept
{
    if (!p.owes() || stations_[p.mine].closing) return std::nullopt;
    if (p.bar == 0) {
        p.barring = std::exchange(p.lost, {});
        p.bar = ++last_bar_;
        p.asked = 0;
        p.ask_at = now;
        p.bar_ends = now + options_.bar_within;
    }
    wire::bar b{static_cast<std::uint8_t>(p.mine), p.bar, {}};
    if (closes_paths_) return b;
    for (const chunk* c : p.barring) {
        const wire::bar::posted by{keys_of(*c).what.token, c->scratch[1]};
        const bool known = std::find(b.all.begin(), b.all.end(), by) != b.all.end();
        if (!known && b.all.size() < wire::most_tokens) b.all.push_back(by);
    }
    return b;
}

/// Asks, and gives up. A peer that does not answer by any rail for so long has not been heard by the runtime either,
/// which gives it up sooner (`peer_options::lost_after`) unless told otherwise. What holds then: here all is closed, so
/// nothing leaves any more, but bytes that are on their way may land over there until that side closes its end, which
/// it does when its runtime gives us up. So the chunks end in `errc::peer_lost`, never in one that is sent again:
/// nothing is told of them, and over there nobody takes their pages for finished before that.
void libfabric_driver::look_at_bars(steady::time_point now) noexcept
{
    each_path([&](path& p) {
        const auto b = next_bar(p, now);
        if (!b) return;
        if (now >= p.bar_ends) { // nor would it say anything of the others
            for (chunk* c : std::exchange(p.lost, {})) end(*c, errc::peer_lost, 0);
            return barred(p, errc::peer_lost);
        }
        if (now >= p.ask_at) {
            wire::letter l = letter_to(*p.to);
            if (const rail& r = *rails_[p.mine]; r.is_open()) // where the answer may go
                l.records.emplace_back(wire::ping{static_cast<std::uint8_t>(p.mine), r.address()});
            l.records.emplace_back(*b);
            say(*p.to, p.asked, p.mine, l);
            p.ask_at = now + std::min(ask_again * (1 << std::min(p.asked, 8u)), ask_again_most);
            ++p.asked;
        }
        due(std::min(p.ask_at, p.bar_ends));
    });
}

/// Nothing of what it was asked about touches memory any more.
void libfabric_driver::barred(path& p, error_code e) noexcept
{
    p.bar = 0;
    for (chunk* c : std::exchange(p.barring, {})) end(*c, e, 0);
    if (p.owes()) due(steady::now());
}

/// A message of another driver like this one. It is input.
void libfabric_driver::heard(wire::view message) noexcept
{
    const auto l = wire::decode_letter(message);
    contact* const k = l && l->door == door_ ? find(l->from) : nullptr;
    if (!k) {
        ++strays_;
        return;
    }
    wire::letter answers = letter_to(*k);
    for (const wire::record& r : l->records) {
        if (const auto* ping = std::get_if<wire::ping>(&r)) take(*k, *ping);
        if (const auto* barred = std::get_if<wire::barred>(&r)) take(*k, *barred);
        if (const auto* wants = std::get_if<wire::wants>(&r)) take(*k, *wants);
        if (const auto* served = std::get_if<wire::served>(&r)) take(*k, *served);
        const auto* const bar = std::get_if<wire::bar>(&r);
        if (bar && answers.records.size() < 6) answer_bar(*k, *bar, answers);
    }
    if (!answers.records.empty()) answer_to(*k, answers);
}

/// False: not yet.
bool libfabric_driver::answer_bar(contact& k, const wire::bar& b, wire::letter& with)
{
    auto done = take(k, b);
    if (!done) return false;
    // What we lost by closing that is theirs to bar, before they post there again: else each would go on breaking
    // what the other has just begun.
    path& p = k.paths[b.rail % rails()];
    if (const auto ours = next_bar(p, steady::now())) with.records.emplace_back(*ours);
    with.records.emplace_back(std::move(*done));
    return true;
}

/// By each of their rails: any of them may be what this is about, or closed since. Heard twice it is heard once.
void libfabric_driver::answer_to(contact& k, const wire::letter& l) noexcept
{
    const wire::bytes message = wire::encode(l);
    for (const entry& e : k.entries) send_over(k.paths[e.mine], e, std::byte{1}, message);
}

void libfabric_driver::take(contact& k, const wire::ping& p)
{
    if (p.rail >= k.known.rails.size() || p.address.size() != k.known.rails[p.rail].size()) return;
    if (p.address == k.known.rails[p.rail]) return;
    for (entry& e : k.entries)
        if (e.theirs == p.rail) close_entry(k, e, false);
    k.known.rails[p.rail] = p.address;
    for (entry& e : k.entries)
        if (e.theirs == p.rail) e.at = rails_[e.mine]->know(p.address).value_or(FI_ADDR_UNSPEC);
}

/// Nothing: keys are being changed for it. It is answered then, or when it is asked again.
std::optional<wire::barred> libfabric_driver::take(contact& k, const wire::bar& b)
{
    wire::barred done{b.number, {}};
    entry* const e = k.door_of(b.rail, rails());
    if (!e) return done;
    const bool fresh = b.number > e->barred; // it may have been asked twice, and have begun anew since the first time
    e->barred = std::max(e->barred, b.number);
    if (fresh && closes_paths_ && rails_[e->mine]->is_open()) close_entry(k, *e, true);
    const std::uint64_t bit = std::uint64_t{1} << e->mine;
    const auto again = [this, from = k.known.id, b] {
        contact* const asked = find(from);
        if (!asked) return;
        wire::letter l = letter_to(*asked);
        if (answer_bar(*asked, b, l)) answer_to(*asked, l);
    };
    bool changing = false;
    for (const auto& [token, by] : b.all) {
        const auto it = by_token_.find(token);
        if (it == by_token_.end()) continue;
        granted& g = *it->second;
        // By another key than that of now nothing comes in, whoever asked for that to be so.
        if (fresh && !closes_paths_ && by == g.described.keys[e->mine] && !(g.changing & bit)) rekey(g, e->mine, again);
        changing = changing || g.changing & bit;
        std::erase_if(done.keys, [&t = token](const auto& said) { return said.token == t; });
        if (g.mrs[e->mine]) done.keys.push_back({token, g.described.keys[e->mine]});
    }
    if (changing) return std::nullopt;
    return done;
}

/// By the old key nothing comes in any more; without a new one, by none.
void libfabric_driver::rekey(granted& g, std::uint32_t index, std::function<void()> changed)
{
    const std::uint64_t bit = std::uint64_t{1} << index;
    rail* const r = rails_[index].get();
    const segment* const s = g.what;
    r->end_key(std::move(g.mrs[index]), s->base, s->length);
    g.changing |= bit;
    const auto fresh = std::make_shared<handle<fid_mr>>();
    work(
        [r, fresh, base = s->base, length = s->length, rights = rights_of(g.described.access)] {
            try {
                *fresh = r->enroll(base, length, rights);
            } catch (const std::exception&) {
                // Then it is as if it had been withdrawn there.
            }
        },
        [this, fresh, index, bit, token = g.described.token, changed = std::move(changed)] {
            const auto it = by_token_.find(token);
            if (it == by_token_.end()) return; // withdrawn meanwhile; nobody has heard of the new one
            granted& now = *it->second;
            now.changing &= ~bit;
            now.mrs[index] = std::move(*fresh);
            if (now.mrs[index]) now.described.keys[index] = ::fi_mr_key(now.mrs[index].get());
            changed();
        });
}

void libfabric_driver::take(contact& k, const wire::barred& b)
{
    const auto asked = [&](const path& p) { return p.bar != 0 && p.bar == b.number; };
    const auto it = std::find_if(k.paths.begin(), k.paths.end(), asked);
    if (it == k.paths.end()) return;
    std::erase_if(it->barring, [&](chunk* c) {
        key_set& keys = keys_of(*c);
        const auto same = [&](const wire::barred::key& n) { return n.token == keys.what.token; };
        const auto now = std::find_if(b.keys.begin(), b.keys.end(), same);
        if (now != b.keys.end()) keys.what.keys[k.of(*it).theirs] = now->key;
        if (closes_paths_ || now != b.keys.end()) return false;
        end(*c, errc::withdrawn, 0);
        return true;
    });
    barred(*it, stations_[it->mine].fenced ? errc::rail_lost : errc::path_lost);
}

} // namespace wye::ofi
