// SPDX-License-Identifier: Apache-2.0
// What others have published, as it is reached from here.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "engine.hpp"
#include "peers.hpp"

namespace wye {

namespace {

[[noreturn]] void still_in_use(const detail::link& l)
{
    std::fprintf(stderr, "wye: peer %s is let go with transfers in flight, which would go on touching its memory\n",
                 l.name.c_str());
    std::abort();
}

} // namespace

peer::peer(detail::link& l) noexcept : link_{&l} { ++l.handles; }

void peer::reset() noexcept
{
    detail::link* const l = std::exchange(link_, nullptr);
    if (!l) return;
    if (!l->of) { // the agent went first
        if (--l->handles == 0) delete l;
        return;
    }
    if (l->handles == 1 && l->in_use()) still_in_use(*l);
    l->of->let_go(*l);
}

const std::string& peer::name() const noexcept { return link_->name; }
bool peer::alive() const noexcept { return link_ && link_->of && link_->alive(); }

object peer::object(std::string_view bucket, std::string_view key) const
{
    if (!alive()) throw system_error(errc::peer_lost, link_ ? link_->name : std::string{});
    return wye::object{detail::segment_handle{link_->of->object(*link_, bucket, key), false}};
}

slice peer::published(std::string_view name) const
{
    if (!alive()) throw system_error(errc::peer_lost, link_ ? link_->name : std::string{});
    const auto it = link_->theirs.find(name);
    if (it == link_->theirs.end() || !it->second.now)
        throw system_error(errc::not_found, link_->name + " has not published " + std::string{name});
    if (detail::is_object(*it->second.now))
        throw system_error(errc::not_supported, std::string{name} + " is a bucket: name an object of it");
    return {it->second.now.get(), 0, it->second.now->length};
}

std::uint64_t peer::epoch(std::string_view name) const noexcept
{
    if (!alive()) return 0;
    const auto it = link_->theirs.find(name);
    return it == link_->theirs.end() || !it->second.now ? 0 : it->second.epoch;
}

namespace detail {

namespace {

/// From now on copies to or from it fail before their first byte.
void turn_away(segment& s, standing why) noexcept
{
    s.standing = why;
    s.length = 0;
}

const wire::grant* key_of(const link& l, const wire::publication& p) noexcept
{
    const auto ours = [&](const wire::grant& g) { return g.fabric == l.by->name(); };
    const auto it = std::find_if(p.grants.begin(), p.grants.end(), ours);
    return it == p.grants.end() ? nullptr : &*it;
}

} // namespace

/// What metadata said, on a connection that has just been made. Each name counts as known once the peer has said how it is.
void peers::offer(link& l, std::vector<wire::publication> all)
{
    for (const wire::publication& p : all) {
        std::unique_ptr<segment> s = import(l, p);
        if (!s) continue;
        say(l, wire::interest{p.name, p.epoch, p.edition});
        ++l.unsettled;
        l.asked.emplace(p.name, p);
        l.theirs[p.name] = {std::move(s), p.epoch, p.edition, {}};
    }
}

/// On one that is there, it is only asked for: the peer may have given it up, and its keys are for those whom it knows.
void peers::ask(link& l, const std::vector<wire::publication>& all)
{
    for (const wire::publication& p : all) {
        reached& r = l.theirs[p.name];
        // Of changes we are told, but not of what is there again after it was withdrawn, which may be yet to be heard.
        if (!r.older_than(p) || !key_of(l, p) || !l.asked.emplace(p.name, p).second) continue;
        say(l, wire::interest{p.name, p.epoch, p.edition});
        ++l.unsettled;
    }
}

/// It is as the metadata said.
void peers::current(link& l, const wire::current& c)
{
    const auto a = l.asked.find(c.name);
    if (a == l.asked.end()) return;
    reached& r = l.theirs[c.name];
    if (r.older_than(a->second)) change(l, r, a->second);
    l.asked.erase(a);
    settled(l, c.name);
}

driver* peers::asked() const noexcept { return errands_; }

/// What stands for something that the peer serves.
std::unique_ptr<segment> peers::stand_in(link&, const wire::publication& p)
{
    if (!errands_ || p.tier == tier::dram) return nullptr;
    auto s = std::make_unique<far_segment>(p.tier, p.name);
    s->length = p.length;
    s->device = p.device;
    s->home = errands_;
    return s;
}

/// Null when it has no key for us, or one that makes no sense.
std::unique_ptr<segment> peers::import(link& l, const wire::publication& p)
{
    const wire::grant* const key = key_of(l, p);
    if (!key) return nullptr;
    std::unique_ptr<segment> s = key->description.empty()
                                     ? stand_in(l, p)
                                     : l.by->import(l.number, p.tier, p.device, p.length, key->description);
    if (!s) return nullptr;
    s->access = p.access;
    if (!s->served) s->home = l.by;
    s->peer = l.number;
    s->via = &l;
    s->epoch = p.epoch;
    engine_.adopt(*s);
    return s;
}

/// Something else lies behind a name now, or there are other keys to it, or nobody gets in.
void peers::update(link& l, const wire::publication& p)
{
    const auto it = l.theirs.find(p.name);
    if (it == l.theirs.end() || l.state != link_state::open) return;
    const auto a = l.asked.find(p.name);
    // What is older than what was asked about is not the answer, which is yet to come.
    if (a != l.asked.end() && !reached{nullptr, p.epoch, p.edition, {}}.older_than(a->second)) {
        l.asked.erase(a);
        settled(l, p.name);
    }
    if (it->second.older_than(p)) change(l, it->second, p); // else it was overtaken
}

void peers::change(link& l, reached& r, const wire::publication& p)
{
    const wire::grant* const key = key_of(l, p);
    const bool other = p.epoch != r.epoch || !r.now;
    r.edition = p.edition;
    r.epoch = p.epoch;
    if (!other && key) {
        const auto done = [this, token = l.token, name = p.name, edition = p.edition] {
            link* const known = find(token);
            if (!known) return;
            for (drain& d : known->drains)
                if (d.name == name && d.edition == edition) d.renewed = true;
        };
        l.drains.push_back({p.name, p.epoch, p.edition, false});
        if (r.now->served || !l.by->renew(*r.now, key->description, done)) done();
    } else {
        if (r.now) {
            const standing why = key ? standing::stale : standing::withdrawn;
            turn_away(*r.now, why);
            turn_away_objects(l, &p.name, why);
            r.before.push_back(std::move(r.now));
        }
        if (key) r.now = import(l, p);
        l.drains.push_back({p.name, p.epoch, p.edition, true});
    }
    if (std::find(draining_.begin(), draining_.end(), &l) == draining_.end()) draining_.push_back(&l);
}

/// Says of which keys nothing is under way any more.
std::size_t peers::see_drains(link& l)
{
    const auto over = [&](const drain& d) {
        const reached& r = l.theirs.at(d.name);
        const auto left = [](const auto& s) { return s->in_flight == 0; };
        const auto used = [&](const far_segment& s) {
            return s.name() == d.name && s.standing != standing::good && s.in_flight != 0;
        };
        return d.renewed && std::all_of(r.before.begin(), r.before.end(), left) &&
               std::none_of(l.objects.begin(), l.objects.end(), used);
    };
    std::size_t n = 0;
    for (auto d = l.drains.begin(); d != l.drains.end();) {
        // What is said of one goes for all before it.
        const auto same = [&](const drain& earlier) { return earlier.name == d->name; };
        if (!over(*d) || std::any_of(l.drains.begin(), d, same)) {
            ++d;
            continue;
        }
        if (l.state == link_state::open) say(l, wire::drained{d->name, d->epoch, d->edition});
        d = l.drains.erase(d);
        ++n;
    }
    return n;
}

/// Objects below that bucket, or below any.
void peers::turn_away_objects(link& l, const std::string* name, standing why) noexcept
{
    for (far_segment& s : l.objects)
        if (s.standing == standing::good && (!name || s.name() == *name)) s.standing = why;
}

/// A name for an object below a bucket of the peer's.
std::unique_ptr<segment> peers::object(link& l, std::string_view bucket, std::string_view key)
{
    const auto it = l.theirs.find(bucket);
    const segment* const root = it == l.theirs.end() ? nullptr : it->second.now.get();
    if (!root) throw system_error(errc::not_found, l.name + " has not published " + std::string{bucket});
    if (!is_object(*root)) throw system_error(errc::not_supported, std::string{bucket} + " of " + l.name + " is no bucket");
    if (key.empty() || key.size() > wire::most_key) throw system_error(errc::bad_name, std::string{key.substr(0, 80)});
    auto s = std::make_unique<far_segment>(tier::object, std::string{bucket}, std::string{key});
    s->length = segment::unbounded;
    s->access = root->access;
    s->home = root->home;
    s->peer = root->peer;
    s->via = &l;
    s->epoch = root->epoch;
    engine_.adopt(*s);
    l.objects.push_back(*s);
    return s;
}

/// Nothing of that peer's is reached any more.
void peers::strand(link& l) noexcept
{
    turn_away_objects(l, nullptr, standing::lost);
    serving_.strand(l);
    for (auto& [name, r] : l.theirs)
        if (r.now) turn_away(*r.now, standing::lost);
    for (drain& d : l.drains) d.renewed = true;
}

} // namespace detail
} // namespace wye
