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
        return look_by(steady::now());
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
    look_by(steady::now());
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
        if (!rails_[index]->is_open()) reopen(index);
    } catch (const system_error& e) {
        return answer([opened = std::move(opened), e = e.code()] { opened(e); });
    }
    if (contacts_.empty()) return answer([opened = std::move(opened)] { opened({}); });
    stations_[index].opened = std::move(opened);
    stations_[index].opening_ends = steady::now() + options_.connect_within;
    look_by(stations_[index].opening_ends);
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
    look_by(p.openings.back().ends);
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

} // namespace wye::ofi
