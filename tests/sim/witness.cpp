// SPDX-License-Identifier: Apache-2.0
// Who sees what becomes of deals, and says what is against the contracts (docs/overview.md).
#include "encounter.hpp"

#include <algorithm>

#include <boost/asio/error.hpp>

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using sim::fault_kind;

std::string encounter::describe(const deal& d, const part& p) const
{
    const std::string where = !p.key.empty() ? p.key : std::to_string(p.at);
    return std::to_string(p.length) + " bytes of " + d.by->called + (p.out_of ? " from " : " to ") + p.with->whom->called +
           ", at " + where + (p.into ? " of area " + std::to_string(p.into->name) : "") + ", begun at " +
           std::to_string(d.begun.count()) + " ns" + (d.notify.empty() ? "" : ", " + d.notify);
}

/// Whether one of them may think the other lost, or be it.
bool encounter::excused(const resident& a, const resident& b) const
{
    return scene_.may_lose_peers() || scene_.any(fault_kind::clock_jump) || !a.here() || !b.here() || a.slept || b.slept;
}

bool encounter::arrived(const part& p) const
{
    if (!p.doomed.empty()) return false;
    if (p.length == 0) return true;
    if (p.into) return std::equal(p.expected, p.expected + p.length, p.into->data(p.at));
    const auto o = world_->object(p.key);
    return o && o->data.size() == p.length && std::equal(p.expected, p.expected + p.length, o->data.data());
}

/// Whether this may be what became of it.
bool encounter::fair(const deal& d, const part& p, const error_code& e) const
{
    if (!e) return p.doomed.empty() && (p.length == 0 || (!p.barred && right(p)));
    const stretch* const there = p.out_of ? p.out_of : p.into;
    const bool excuse = excused(*d.by, *p.with->whom);
    if (e == asio::error::operation_aborted) return d.cancelled || d.by->left;
    if (e == errc::deadline_missed) return world_->now() >= d.due;
    if (std::find_if(p.doomed.begin(), p.doomed.end(), [&](errc x) { return e == x; }) != p.doomed.end()) return true;
    if (e == errc::peer_lost) // a peer that is lost takes with it all of the copies that it has part in
        return excuse || std::any_of(d.parts.begin(), d.parts.end(), [&](const part& o) { return excused(*d.by, *o.with->whom); });
    if (e == errc::stale_epoch) return there && there->withdrawing;
    if (e == errc::withdrawn) return excuse || (there && (there->withdrawing || there->out.contains(d.by)));
    if (e == errc::rail_lost) // a dead peer may look like dead rails, and time that jumps is up at once
        return scene_.may_lose_rails() || scene_.any(fault_kind::clock_jump) || !p.with->whom->here();
    if (e == errc::shut_down || e == errc::invalid_slice) return d.by->left;
    // What devices say of themselves; staging memory may be refused.
    for (const fault_kind k : {fault_kind::io_error, fault_kind::registration, fault_kind::unavailable, fault_kind::shorten})
        if (scene_.any(k) && e.category() != wye_category()) return true;
    return e == errc::short_transfer && scene_.any(fault_kind::shorten);
}

/// Whether it was one message, of which nobody says what became of it: it may still be read there, bytes, word and all, until that side
/// knows, too. By then its owner, who was told nothing, does not use the pages.
bool encounter::may_be_late(const deal& d, const error_code& e)
{
    const bool little = d.parts.size() == 1 && d.parts.front().length <= 8_KiB;
    return e == errc::peer_lost && little && !d.notify.empty() && d.parts.front().into && !d.parts.front().out_of;
}

/// Its owner uses it again.
void encounter::close(part& p)
{
    if (std::exchange(p.closed, true)) return;
    p.right = arrived(p);
    if (p.into) p.into->give_back(p.at, p.length);
}

void encounter::judge(const deal& d, const error_code& e, std::size_t n)
{
    std::uint64_t total = 0;
    bool all_well = true, somebody = false;
    for (std::size_t i = 0; i < d.parts.size(); ++i) {
        const part& p = d.parts[i];
        total += p.length;
        const bool has_status = !d.options.status.empty();
        const error_code own = has_status ? d.status[i] : e;
        const bool told_only = has_status && !own && e == errc::peer_lost; // all came, and the word of it did not
        if ((has_status || !e) && !fair(d, p, own)) fail(describe(d, p) + ": " + own.message());
        all_well = all_well && (!own || told_only);
        somebody = somebody || fair(d, p, e);
    }
    if (!somebody) fail("nobody's error: " + e.message() + ", of " + describe(d, d.parts.front()));
    if (!e && !all_well) fail("a success of which a part failed: " + describe(d, d.parts.front()));
    if (e ? n > total : n != total) fail(std::to_string(n) + " bytes said of " + std::to_string(total));
}

/// It ends in time, whatever happens.
void encounter::judge_time(const deal& d)
{
    if (scene_.any(fault_kind::clock_jump)) return;
    const duration took = world_->now() - d.begun;
    if (took > scene_.patience()) fail("a deal takes " + std::to_string(took.count()) + " ns");
}

void encounter::judge_telling(const deal& d, const error_code& e, std::size_t n)
{
    std::uint64_t total = 0;
    for (const part& p : d.parts) total += p.length;
    // All came, and one of those to be told is lost; or nobody here knows what came.
    const bool word_only = e == errc::peer_lost && (n == total || may_be_late(d, e));
    for (const deal::listener& l : d.tells) {
        if (!l.who->here() || l.deaf) {
            expect(!l.deaf || e, "a success of what somebody thought lost");
            continue;
        }
        const std::string who = ", " + l.who->called + " of " + describe(d, d.parts.front());
        if (!e) expect(l.told == 1 && !l.aborted, "nobody was told of its last byte" + who);
        else if (n == 0) expect(l.told == 0 || l.aborted || word_only, "told of a success" + who); // some byte may have been on its way
        else if (!excused(*d.by, *l.who)) expect(l.told == 1 && (l.aborted || word_only), "nobody was told that it failed (" + e.message() + ")" + who);
        else expect(l.told == 0 || l.aborted || word_only, "told of a success" + who);
    }
}

void encounter::ended(deal& d, error_code e, std::size_t n)
{
    if (closing_ || d.orphaned) return;
    expect(++d.ends == 1, "ended twice");
    if (d.ends != 1) return;
    --live_;
    d.error = e;
    judge(d, e, n);
    judge_time(d);
    judge_telling(d, e, n);
    verdict_.bytes += n;
    ++(!e ? verdict_.succeeded
          : e == asio::error::operation_aborted ? verdict_.cancelled
          : e == errc::deadline_missed ? verdict_.missed : verdict_.failed);
    for (part& p : d.parts) {
        // What a peer does by itself it may go on with, until it knows that we are lost to each other, and its owner is told.
        const bool goes_on = e && p.served && excused(*d.by, *p.with->whom);
        if (!may_be_late(d, e) && !goes_on) close(p);
        --p.with->in_flight;
    }
}

/// Waits for word of a deal, and then for another, which must not come.
task<> encounter::hears(encounter& self, deal& d, deal::listener& l, duration deadline)
{
    agent& here = *l.who->agent;
    const duration due = self.world_->now() + deadline;
    for (bool once = true;; once = false) {
        const wanted w{.key = d.notify,
                       .peer = once && l.named ? std::string_view{d.by->called} : std::string_view{},
                       .count = 1,
                       .deadline = once ? deadline : duration{}};
        error_code e;
        notification n;
        try {
            n = co_await here.notified(w);
        } catch (const system_error& failed) {
            e = failed.code();
        }
        if (self.closing_ || !l.who->here()) co_return;
        if (!e) self.told(d, l, n);
        else if (e == errc::deadline_missed) self.expect(deadline.count() && self.world_->now() >= due, "a wait ends early");
        else if (e == errc::peer_lost) self.deaf(d, l);
        else self.fail("a wait ends in " + e.message());
    }
}

void encounter::told(deal& d, deal::listener& l, const notification& n)
{
    expect(++l.told == 1, "told twice of " + d.notify);
    expect(!l.deaf, "told by somebody who was lost, of " + d.notify);
    expect(n.peer == d.by->called && n.key == d.notify && n.payload == d.payload, "told something else");
    l.aborted = n.aborted;
    if (n.aborted) return expect(!d.parts.empty(), "a word that was aborted");
    for (const part& p : d.parts)
        if (p.length != 0 && !right(p)) fail("told before the last byte of " + describe(d, p));
}

/// It thinks the other side lost: from now on nothing of that comes in.
void encounter::deaf(deal& d, deal::listener& l)
{
    const auto earlier = [&](const resident& r) { return &r != d.by && r.index == d.by->index; };
    if (std::any_of(residents_.begin(), residents_.end(), earlier)) return; // of that name another life was lost
    l.deaf = true;
    expect(l.named && excused(*d.by, *l.who), "a wait ends for a peer that is there");
    for (part& p : d.parts)
        if (p.with->whom == l.who && p.into && !p.out_of) close(p);
}

} // namespace wye::sweep
