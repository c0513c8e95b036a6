// SPDX-License-Identifier: Apache-2.0
// A little memory and the word of it, in one message: whose owner puts it where it belongs. As with writes by a NIC, what
// a peer may reach is what it holds, and what it has yet to let go of.
#include <algorithm>
#include <cstring>

#include "engine.hpp"
#include "peers.hpp"

namespace wye::detail {

bool peers::put(link& l, const wire::put& p, stream::told t)
{
    if (l.state != link_state::open || !l.takes_puts || l.talk.crowded()) return false;
    if (p.what.size() > wire::most_frame || wire::frame_header_bytes + wire::size_of(p) > wire::most_frame) return false;
    say(l, p, std::move(t));
    return true;
}

void peers::take(link& l, place at, const wire::put& p)
{
    if (at.frame == 0) return; // it may come twice
    const errc e = land(l, p);
    if (e == errc{})
        return engine_.notes().deliver({l.name, std::string{p.key}, {p.payload.begin(), p.payload.end()}, false});

    // That the frame came means that all of it was taken, so this has to be known first.
    l.talk.withhold(at.frame);
    const auto known = [this, token = l.token, frame = at.frame](errc) {
        if (link* const it = find(token)) it->talk.release(frame);
    };
    say(l, wire::rejection{at.frame, at.record, static_cast<std::uint8_t>(e)}, known);
}

errc peers::land(const link& l, const wire::put& p) noexcept
{
    const segment* s = nullptr;
    if (const errc e = open_to(l, p.epoch, true, s); e != errc{}) return e;
    if (s->tier != tier::dram) return errc::not_supported;
    if (p.at > s->length || p.what.size() > s->length - p.at) return errc::out_of_range;
    if (!p.what.empty()) std::memcpy(s->base + p.at, p.what.data(), p.what.size());
    return {};
}

/// Whether the peer may read there, or write: what lies there, or why not.
errc peers::open_to(const link& l, std::uint64_t epoch, bool writes, const segment*& s) const noexcept
{
    const auto may = [&](const segment* what, wye::access a) {
        s = what;
        return !writes || a == access::read_write ? errc{} : errc::read_only;
    };
    if (const auto it = by_epoch_.find(epoch); it != by_epoch_.end()) {
        const auto& [name, p] = *it->second;
        const bool barred = std::find(p.barred.begin(), p.barred.end(), l.life) != p.barred.end();
        if (!barred && l.ours.contains(name)) return may(p.what, p.access);
    }
    const auto lets_go = [&](const retired& r) {
        return r.was == epoch && !r.late && std::find(r.waiting.begin(), r.waiting.end(), &l) != r.waiting.end();
    };
    const auto r = std::find_if(retired_.begin(), retired_.end(), lets_go);
    return r == retired_.end() ? errc::withdrawn : may(r->what, r->access);
}

} // namespace wye::detail
