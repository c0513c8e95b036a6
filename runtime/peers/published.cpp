// SPDX-License-Identifier: Apache-2.0
// What is published here: who holds it, and how keys end. Keys that were given out end only when nobody has anything under
// way by them, or has had long enough to see to it.
#include <algorithm>

#include "engine.hpp"
#include "nanoseconds.hpp"
#include "peers.hpp"

namespace wye::detail {

namespace {

constexpr std::uint64_t next_key_ns = 1'000'000'000; // before a fabric that had none is asked for one again

} // namespace

task<fabric_keys> peers::grant(segment& s, wye::access a)
{
    using granted = std::pair<error_code, fabric::key>;
    fabric_keys keys;
    for (std::size_t i = 0; i < fabrics_.size(); ++i) {
        fabric* const by = fabrics_[i];
        if (s.tier > tier::vram) {
            keys[by] = {};
            continue;
        }
        const auto ask = [by, &s, a](auto done) {
            by->grant(s, a, [done](error_code e, fabric::key k) { done(granted{e, std::move(k)}); });
        };
        granted got = co_await eventually<granted>(engine_.loop(), ask);
        if (s.tier == tier::vram && got.first == errc::not_supported) got = {}; // it does not reach into GPUs
        if (got.first) {
            end_keys(keys);
            throw system_error(got.first, std::string{by->name()});
        }
        keys[by] = std::move(got.second);
    }
    co_return keys;
}

/// There is no key to it: who comes by this fabric asks us.
bool peers::served_by(const fabric& f, const published& p) noexcept
{
    const auto it = p.keys.find(const_cast<fabric*>(&f));
    return it != p.keys.end() && it->second.description.empty();
}

void peers::end_keys(const fabric_keys& keys) noexcept
{
    for (const auto& [f, key] : keys)
        if (!key.description.empty()) f->withdraw(key.id);
}

/// All keys to it.
peers::retired peers::retire_from(const std::string& name, const published& p, std::uint64_t epoch, std::uint64_t edition)
{
    retired r{name, epoch, edition, p.epoch, p.what, p.access, {}, {}, 0, {}};
    for (const auto& [by, key] : p.keys)
        if (!key.description.empty()) r.keys.emplace_back(by, key.id);
    return r;
}

task<> peers::publish(std::string name, segment& s, wye::access a)
{
    if (name.empty() || name.size() > wire::most_name) throw system_error(errc::bad_name, "a name of 1 to 255 bytes");
    listen();
    fabric_keys keys = co_await grant(s, a);
    s.shown = true;
    const auto it = published_.find(name);
    if (it == published_.end()) {
        // A name that was used before goes on from there: whoever remembers it takes nothing for what it was.
        const std::uint64_t epoch = ++last_epoch_;
        by_epoch_[epoch] = published_.insert_or_assign(name, published{&s, a, epoch, 1, std::move(keys), {}}).first;
        co_return;
    }
    published& p = it->second;
    retired old = retire_from(name, p, ++last_epoch_, 1);
    by_epoch_.erase(p.epoch);
    by_epoch_[old.epoch] = it;
    p = {&s, a, old.epoch, old.edition, std::move(keys), std::move(p.barred)};
    tell_holders(name, old, nullptr);
    co_await until_over(std::move(old));
}

task<> peers::unpublish(std::string name)
{
    const auto it = published_.find(name);
    if (it == published_.end()) throw system_error(errc::not_found, name);
    retired old = retire_from(name, it->second, it->second.epoch, it->second.edition + 1);
    by_epoch_.erase(it->second.epoch);
    published_.erase(it);
    tell_holders(name, old, nullptr);
    co_await until_over(std::move(old));
}

/// The peer lets go by itself; if it does not in time, others get new keys and it does not.
task<> peers::revoke(std::string name, std::string peer)
{
    const auto it = published_.find(name);
    if (it == published_.end()) throw system_error(errc::not_found, name);
    published& p = it->second;
    retired wait{name, p.epoch, ++p.edition, p.epoch, p.what, p.access, {}, {}, 0, {}};
    for (const auto& [token, l] : links_) {
        if (l->name != peer || l->state == link_state::lost || l->state == link_state::over) continue;
        p.barred.push_back(l->life); // also one that has not asked for it yet
        // One that has yet to hear its welcome may be held by its peer already.
        if (!l->ours.contains(name)) continue;
        wait.waiting.push_back(l.get());
        l->ours.erase(name); // it is told of no new keys
        say(*l, wire::update{{name, p.what->tier, p.access, p.what->device, 0, p.epoch, p.edition, {}}});
    }
    wait.closes = true;
    co_await until_over(std::move(wait));
}

task<> peers::until_over(retired r)
{
    const auto done = std::make_shared<eventual<bool>>(engine_.loop());
    r.over = [done] { done->set(true); };
    retire(std::move(r));
    co_await eventual<bool>::wait(done);
}

void peers::retire(retired r)
{
    if (r.waiting.empty()) return end(r);
    r.limit = now() + ns(options_.drain_within);
    wake_at(r.limit);
    retired_.push_back(std::move(r));
    if (!ticking_) begin_ticking();
}

/// Ends those that are over.
void peers::each_retired(const std::function<bool(retired&)>& over)
{
    std::vector<retired> ended;
    for (std::size_t i = 0; i < retired_.size();) {
        if (!over(retired_[i])) {
            ++i;
            continue;
        }
        ended.push_back(std::move(retired_[i]));
        retired_.erase(retired_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (retired& r : ended) end(r);
}

/// What it has half sent by a key that has ended must not land either.
void peers::cut_off(const link& l) noexcept
{
    if (l.number != 0 && !l.severing) l.by->cut_off(l.number);
}

/// Nobody gets in by these any more.
void peers::end(retired& r)
{
    for (const auto& [by, id] : r.keys) by->withdraw(id);
    for (const link* l : r.waiting) cut_off(*l);
    serving_.expel(std::exchange(r.over, {}));
}

void peers::end_overdue(std::uint64_t t)
{
    each_retired([&](retired& r) {
        if (r.limit > t) return false;
        r.late = true;
        const auto p = published_.find(r.name);
        if (!r.closes || p == published_.end()) return true;
        // One who was asked to go has not: the lock is changed.
        const std::shared_ptr<void> all{nullptr, [over = std::exchange(r.over, {})](void*) { over(); }};
        for (link* const l : r.waiting) close_way(*l, r.name, p->second, [all] {});
        return true;
    });
}

wire::publication peers::describe(const std::string& name, const published& p, const fabric* by) const
{
    wire::publication d{name, p.what->tier, p.access, p.what->device, p.what->length, p.epoch, p.edition, {}};
    for (const auto& [f, key] : p.keys)
        if (!by || f == by) d.grants.push_back({std::string{f->name()}, key.description});
    return d;
}

wire::bytes peers::metadata(std::span<const std::string_view> names, bool all)
{
    listen();
    wire::metadata m{engine_.name(), life(), ns(options_.longest_gap), {}, {}};
    for (fabric* f : fabrics_) m.ways.push_back({std::string{f->name()}, f->address()});
    for (const std::string_view n : names)
        if (!published_.contains(n)) throw system_error(errc::not_found, std::string{n});
    for (const auto& [name, p] : published_)
        if (all || std::find(names.begin(), names.end(), name) != names.end()) m.published.push_back(describe(name, p, nullptr));
    return wire::encode(m);
}

/// A peer holds this name, as it was when its metadata was made.
void peers::interested(link& l, const wire::interest& i)
{
    l.held_there = true;
    if (l.state == link_state::parting) l.state = link_state::open;
    l.ours[i.name] = {i.epoch, i.edition};
    const auto it = published_.find(i.name);
    const bool barred = it != published_.end() && std::find(it->second.barred.begin(), it->second.barred.end(), l.life) !=
                                                      it->second.barred.end();
    if (it == published_.end() || barred) {
        l.ours.erase(i.name);
        return say(l, wire::update{{i.name, {}, {}, 0, 0, i.epoch, i.edition + 1, {}}});
    }
    const published& p = it->second;
    if (p.epoch == i.epoch && p.edition == i.edition) return say(l, wire::current{i.name, i.epoch, i.edition});
    l.ours[i.name] = {p.epoch, p.edition};
    say(l, wire::update{describe(i.name, p, l.by)});
}

/// Tells those who hold a name how it is now, and has the keys that went before wait for them.
void peers::tell_holders(const std::string& name, retired& old, const link* but)
{
    const auto it = published_.find(name);
    for (const auto& [token, l] : links_) {
        if (l.get() == but || !l->ours.contains(name)) continue;
        old.waiting.push_back(l.get());
        if (it != published_.end()) {
            l->ours[name] = {it->second.epoch, it->second.edition};
            say(*l, wire::update{describe(name, it->second, l->by)});
        } else {
            l->ours.erase(name);
            say(*l, wire::update{{name, {}, {}, 0, 0, old.epoch, old.edition, {}}});
        }
    }
}

/// A peer has nothing under way any more by what is older than this.
void peers::drained(link& l, const wire::drained& d)
{
    each_retired([&](retired& r) {
        if (r.name == d.name && std::pair{r.epoch, r.edition} <= std::pair{d.epoch, d.edition}) std::erase(r.waiting, &l);
        return r.waiting.empty();
    });
}

/// A link ends. One that is lost may have writes under way that nobody hears of: its ways in are closed.
void peers::leaves(link& l, bool lost)
{
    const auto held = std::exchange(l.ours, {});
    ++l.closing;
    serving_.expel([this, token = l.token] {
        if (link* const it = find(token)) --it->closing;
    });
    for (const auto& [name, h] : held)
        if (const auto it = published_.find(name); lost && it != published_.end()) close_way(l, name, it->second, [] {});
    each_retired([&](retired& r) {
        if (std::erase(r.waiting, &l) == 0) return false;
        const auto p = published_.find(r.name);
        if (lost && r.closes && r.over && p != published_.end()) // asked to go, it has gone without a word
            close_way(l, r.name, p->second, std::exchange(r.over, {}));
        return r.waiting.empty();
    });
}

/// Changes the lock: everybody else gets the new key, and once they use it the old one ends.
void peers::close_way(link& l, const std::string& name, published& p, std::function<void()> over)
{
    ++l.closing;
    const auto closed = [this, token = l.token, over = std::move(over)] {
        if (link* const it = find(token)) {
            --it->closing;
            cut_off(*it);
        }
        over();
    };
    // What has a key may be asked for, too. Counted, since a driver may still have a callback of ours when we have gone.
    const bool has_key = !served_by(*l.by, p);
    const auto open = std::make_shared<int>(has_key ? 2 : 1);
    const auto one_less = [open, closed] {
        if (--*open == 0) closed();
    };
    serving_.expel(one_less);
    if (has_key) change_key(*l.by, name, p, l.token, one_less);
}

/// Everybody but this link is told of it, and it is over when the old key has ended.
void peers::change_key(fabric& f, const std::string& name, published& p, std::uint64_t but, std::function<void()> over)
{
    const auto granted = [this, by = &f, name, epoch = p.epoch, but, closed = std::move(over)](error_code e, fabric::key key) {
        const auto it = published_.find(name);
        if (it == published_.end() || it->second.epoch != epoch) { // what it held is on its way out anyway
            if (!e) by->withdraw(key.id);
            const auto same = [&](const retired& r) { return r.name == name; };
            const auto r = std::find_if(retired_.begin(), retired_.end(), same);
            if (r == retired_.end()) return closed();
            r->over = [first = std::move(r->over), closed] {
                if (first) first();
                closed();
            };
            return;
        }
        published& now = it->second;
        retired old{name, epoch, ++now.edition, epoch, now.what, now.access, {}, {}, 0, closed};
        if (auto had = now.keys.extract(by)) old.keys.emplace_back(by, had.mapped().id);
        if (!e) {
            now.keys[by] = std::move(key);
        } else { // safe rather than there
            now.keyless_until = this->now() + next_key_ns;
            wake_at(now.keyless_until);
        }
        tell_holders(name, old, find(but));
        retire(std::move(old));
    };
    f.grant(*p.what, p.access, granted);
}

/// What could not be given new keys when it had to is given some as soon as there are any.
std::uint64_t peers::give_keys(std::uint64_t t)
{
    std::uint64_t next = 0;
    for (auto& [name, p] : published_) {
        if (p.keyless_until != 0 && p.keyless_until <= t) {
            p.keyless_until = 0;
            for (fabric* const f : fabrics_)
                if (!p.keys.contains(f)) change_key(*f, name, p, 0, [] {});
        }
        if (p.keyless_until) next = next ? std::min(next, p.keyless_until) : p.keyless_until;
    }
    return next;
}

void peers::gone(segment& s) noexcept
{
    for (auto it = published_.begin(); it != published_.end();) {
        if (it->second.what != &s) {
            ++it;
            continue;
        }
        retired now = retire_from(it->first, it->second, it->second.epoch, it->second.edition + 1);
        for (const auto& [by, id] : now.keys) by->withdraw(id);
        by_epoch_.erase(it->second.epoch);
        it = published_.erase(it);
        tell_holders(now.name, now, nullptr);
        for (const link* l : now.waiting) cut_off(*l);
        serving_.expel({});
    }
    each_retired([&](const retired& r) { return r.what == &s; });
    if (errands_) errands_->gone(s);
}

} // namespace wye::detail
