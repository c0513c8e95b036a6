// SPDX-License-Identifier: Apache-2.0
// Reads over tcp. libfabric 1.17 brings a process down when a connection ends with the response to a read half received,
// so nobody reads: who has the bytes is asked to write them. docs/decisions/0018-reads-are-served.md.
#include <algorithm>

#include <rdma/fi_errno.h>

#include "driver.hpp"
#include "errors.hpp"

namespace wye::ofi {

namespace {

using how = wire::served::how;

constexpr std::size_t most_wanted = 1024;          // by one peer on one rail, before it is told no
constexpr std::size_t told_every = 64 << 10;       // bytes that are written before their reader hears of them
constexpr std::size_t sends_for_others = 16;       // that stay free for messages

/// Says which slot of which rail it is, beside which question.
constexpr std::uint64_t number_of(std::uint64_t question, std::uint32_t rail, std::size_t index) noexcept
{
    return question << 24 | std::uint64_t{rail} << 16 | index;
}

} // namespace

/// Opens the memory to the owner's write for as long as that takes, and to nothing else.
ssize_t libfabric_driver::ask(path& p, chunk& c) noexcept
{
    rail& r = *rails_[p.mine];
    slot* const s = r.take(slot::use::asked);
    if (!s) return -FI_EAGAIN;
    try {
        s->open = r.enroll({c.to.data(), c.to.length}, FI_REMOTE_WRITE);
        p.asks.push_back(s);
    } catch (const system_error& e) {
        r.give_back(*s);
        return -std::max(1, e.code().value());
    } catch (const std::bad_alloc&) {
        r.give_back(*s);
        return -FI_ENOMEM;
    }
    s->by = &p;
    s->c = &c;
    ++p.out;
    ++p.reads;
    if (p.asks.size() == 1) p.patience_ends = steady::now() + options_.connect_within;
    urge(p);
    fresh_ = true;
    return 0;
}

/// Those that came together go together. Whether there are none left.
bool libfabric_driver::send_asks(path& p, steady::time_point now) noexcept
{
    rail& r = *rails_[p.mine];
    while (!p.asks.empty()) {
        const std::size_t n = std::min(p.asks.size(), wire::most_wants);
        wire::wants m{static_cast<std::uint8_t>(p.mine), {}};
        for (std::size_t i = 0; i < n; ++i) {
            slot& s = *p.asks[i];
            const chunk& c = *s.c;
            m.all.push_back({number_of(last_ask_ + 1 + i, p.mine, r.index_of(s)), keys_of(c).what.token, c.from.offset,
                             c.from.length, ::fi_mr_key(s.open.get()), r.base_of(c.to.data())});
        }
        wire::letter l = letter_to(*p.to);
        l.records.emplace_back(std::move(m));
        if (!send_over(p, std::byte{1}, wire::encode(l))) break;
        for (std::size_t i = 0; i < n; ++i) p.asks[i]->number = number_of(++last_ask_, p.mine, r.index_of(*p.asks[i]));
        p.asks.erase(p.asks.begin(), p.asks.begin() + static_cast<std::ptrdiff_t>(n));
    }
    if (!p.asks.empty() && now >= p.patience_ends)
        for (slot* s : std::exchange(p.asks, {})) end(answered(*s), errc::path_lost, 0);
    return p.asks.empty();
}

/// Nobody writes there any more.
chunk& libfabric_driver::answered(slot& s) noexcept
{
    path& p = *s.by;
    chunk& c = *s.c;
    --p.out;
    --p.reads;
    rails_[p.mine]->give_back(s);
    return c;
}

/// Our end of the way is closed.
void libfabric_driver::end_asks(path& p) noexcept
{
    p.asks.clear();
    if (p.reads == 0) return;
    for (slot* s : rails_[p.mine]->in_use(slot::use::asked))
        if (s->by == &p) failed(p, answered(*s), 0, FI_ECANCELED);
}

/// Input.
void libfabric_driver::take(contact& k, const wire::served& m) noexcept
{
    for (const auto& [which, became] : m.all) {
        const auto on = static_cast<std::uint32_t>(which >> 16 & 0xff);
        slot* const s = on < rails() ? rails_[on]->at(which & 0xffff) : nullptr;
        if (!s || s->what != slot::use::asked || s->number != which || s->by->to != &k) continue; // it has ended
        path& p = *s->by;
        if (became == how::broken) {
            broke(p); // and this with it
            continue;
        }
        chunk& c = answered(*s);
        proved(p);
        end(c, became == how::written ? error_code{} : became == how::withdrawn ? errc::withdrawn : errc::out_of_range,
            became == how::written ? c.from.length : 0);
    }
}

/// Input.
void libfabric_driver::take(contact& k, const wire::wants& m)
{
    entry* const e = k.door_of(m.rail, rails());
    if (!e || !asks_for_reads_) return;
    for (const wire::wants::want& w : m.all)
        if (e->wanted.size() < most_wanted) e->wanted.push_back(w);
        else verdicts_.push_back({&k, {w.number, how::broken}});
    e->serves = true;
    if (std::find(hungry_.begin(), hungry_.end(), e) == hungry_.end()) hungry_.push_back(e);
}

/// Writes, and says so right after, before anything else of the provider's is looked at: so both go by one connection,
/// and it has the message delivered after the writes (FI_ORDER_SAW in fi_endpoint(3)). What it did not take the message
/// for is written again. Whether all is done.
bool libfabric_driver::serve(entry& e, turn t)
{
    rail& r = *rails_[e.mine];
    path& p = e.of->paths[e.mine];
    while (!e.wanted.empty() && r.is_open() && r.spare_sends() > sends_for_others && !t.over()) {
        wire::served m;
        std::size_t bytes = 0;
        while (m.all.size() < std::min(e.wanted.size(), wire::most_served) && bytes < told_every) {
            const wire::wants::want& w = e.wanted[m.all.size()];
            const auto became = write_wanted(e, w);
            if (!became) break;
            bytes += w.length;
            m.all.push_back(*became);
        }
        const auto n = static_cast<std::ptrdiff_t>(m.all.size());
        wire::letter l = letter_to(*e.of);
        l.records.emplace_back(std::move(m));
        if (n == 0 || !send_over(p, e, std::byte{1}, wire::encode(l))) return false;
        e.wanted.erase(e.wanted.begin(), e.wanted.begin() + n);
    }
    return e.wanted.empty();
}

/// Nothing: not now.
std::optional<wire::served::one> libfabric_driver::write_wanted(entry& e, const wire::wants::want& w) noexcept
{
    const auto it = by_token_.find(w.token);
    if (it == by_token_.end()) return wire::served::one{w.number, how::withdrawn};
    const granted& g = *it->second;
    if (w.offset > g.what->length || w.length > g.what->length - w.offset)
        return wire::served::one{w.number, how::out_of_range};
    rail& r = *rails_[e.mine];
    slot* const s = r.take(slot::use::serving);
    if (!s || e.at == FI_ADDR_UNSPEC) {
        if (s) r.give_back(*s);
        return std::nullopt;
    }
    s->by = &e.of->paths[e.mine];
    s->to = &e;
    s->key = w.key;
    s->number = w.number;
    s->token = w.token;
    const ssize_t result = r.write(*s, {g.what, w.offset, w.length}, *g.mrs[e.mine], e.at, w.at, false);
    if (result == 0) {
        ++s->by->out;
        return wire::served::one{w.number, how::written};
    }
    r.give_back(*s);
    if (result == -FI_EAGAIN) return std::nullopt;
    return wire::served::one{w.number, how::broken};
}

/// The reader need hear it once of each way: all that it asked for there ends with it.
void libfabric_driver::failed_to_serve(entry& e, std::uint64_t about) noexcept
{
    e.wanted.clear();
    if (std::exchange(e.serves, false) && e.of->numbers != 0) verdicts_.push_back({e.of, {about, how::broken}});
}

/// When this returns, nothing is read by that grant any more. Its readers have had long enough to let go of it.
void libfabric_driver::stop_serving(std::uint64_t token) noexcept
{
    for (const auto& r : rails_)
        for (slot* s : r->in_use(slot::use::serving))
            if (s->what == slot::use::serving && s->token == token) close_entry(*s->to->of, *s->to, true);
}

/// Whose turn did not come is first next time.
std::size_t libfabric_driver::serve_all(turn t)
{
    std::size_t n = 0;
    std::vector<entry*> fed;
    for (entry* e : std::exchange(hungry_, {})) {
        const std::size_t before = e->wanted.size();
        if (!serve(*e, t)) (e->wanted.size() < before ? fed : hungry_).push_back(e);
        n += before - e->wanted.size();
    }
    hungry_.insert(hungry_.end(), fed.begin(), fed.end());
    for (verdict& v : std::exchange(verdicts_, {})) {
        wire::letter l = letter_to(*v.to);
        l.records.emplace_back(wire::served{{v.about}});
        if (say(*v.to, 0, 0, l)) ++n;
        else verdicts_.push_back(v);
    }
    return n;
}

} // namespace wye::ofi
