// SPDX-License-Identifier: Apache-2.0
// What agents do with each other: copies of all kinds, and words.
#include "encounter.hpp"

#include <algorithm>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t drams = 0, vrams = 1, sources = 0, pools = 2; // names of what is published

bytes some_payload(dice& d)
{
    bytes b(d.one_in(2) ? 0 : d.between(1, d.one_in(8) ? 4096 : 64));
    for (std::byte& x : b) x = static_cast<std::byte>(d.next());
    return b;
}

} // namespace

std::uint64_t encounter::some_length()
{
    switch (scene_.what) {
    case dealings::large: return 64_KiB + dice_.below(1_MiB);
    case dealings::tiny: return 1 + dice_.below(512);
    case dealings::p5: return 20_MiB - dice_.below(1_MiB);
    default: break;
    }
    switch (dice_.below(10)) {
    case 0: return 0;
    case 1: return 1 + dice_.below(100);
    case 2: return 4_KiB * (1 + dice_.below(4));
    default: return 1 + dice_.below(20'000);
    }
}

void encounter::choose_options(deal& d)
{
    d.options.priority = static_cast<priority>(dice_.below(priority_count));
    if (dice_.one_in(scene_.what == dealings::deadlines ? 1 : 8))
        d.options.deadline = duration{static_cast<duration::rep>(dice_.scale(1, 1e8))};
    if (dice_.one_in(2)) d.options.status = d.status;
    if (dice_.one_in(3)) return;
    d.notify = "n" + std::to_string(deals_.size());
    d.payload = some_payload(dice_);
    d.options.notify = d.notify;
    d.options.payload = d.payload;
}

/// Memory of the other side's, by a name of its own choice: as it is now, or as it was.
std::optional<slice> encounter::published(deal& d, part& p, acquaintance& a, std::size_t name, stretch*& found)
{
    slice all;
    if (dice_.one_in(8) && !a.kept.empty()) {
        std::tie(all, found) = a.kept[dice_.below(a.kept.size())];
        if (resident::read_only(found->name) != resident::read_only(name)) return std::nullopt;
    } else {
        try {
            all = a.it.published(resident::name[name]);
        } catch (const system_error& e) {
            const stretch& now = a.whom->now(name);
            // Nor is what could not be given new keys to, when a peer left without a word.
            const bool out = scene_.any(sim::fault_kind::registration) || now.withdrawing || !now.reachable || now.again || now.out.contains(d.by) || !a.it.alive();
            expect(out || excused(*d.by, *a.whom), "what is published is not found: " + std::string{e.what()});
            return std::nullopt;
        }
        found = a.whom->area_of(name, all.length);
        if (!found) return fail("a slice of nothing"), std::nullopt;
        if (a.kept.size() < 8) a.kept.emplace_back(all, found);
    }
    p.with = &a;
    p.barred = found->barred.contains(d.by);
    return all;
}

/// Something that cannot be done: it reaches past the end.
bool encounter::doom(part& p, const slice& all)
{
    p.to = all.sub(p.into->size() - p.length / 2, p.length);
    p.doomed = {errc::out_of_range};
    return p.closed = true;
}

bool encounter::choose_source(deal& d, part& p, std::uint64_t length)
{
    resident& r = *d.by;
    p.length = length;
    const std::size_t kind = scene_.what == dealings::p5 ? vrams : dice_.below(8);
    if (kind == 7 && length != 0) {
        p.from = d.objects.emplace_back(r.put(length, p.expected));
        p.from.length = length;
        return true;
    }
    stretch& a = kind == 6 ? *r.file_source : r.now(sources + (kind % 2 ? vrams : drams));
    if (length > a.size()) return false;
    const std::uint64_t offset = dice_.below(a.size() - length + 1);
    p.from = r.at(a, offset, length);
    p.expected = a.data(offset);
    return true;
}

bool encounter::choose_target(deal& d, part& p)
{
    resident& r = *d.by;
    const std::size_t kind = dice_.below(8);
    if (kind == 7) {
        p.to = d.objects.emplace_back(r.new_object(p.key));
        return true;
    }
    stretch& a = *r.local[kind == 6 ? 2 : kind % 2];
    const auto offset = a.take(dice_, p.length);
    if (!offset) return false;
    p.into = &a;
    p.at = *offset;
    p.to = r.at(a, *offset, p.length);
    return true;
}

bool encounter::write(deal& d, part& p, acquaintance& a, std::uint64_t length)
{
    stretch* target = nullptr;
    const bool forbidden = dice_.one_in(24);
    const std::size_t name = (forbidden ? sources : pools) + (scene_.what == dealings::p5 ? vrams : dice_.below(2));
    const auto all = published(d, p, a, name, target);
    if (!all || !choose_source(d, p, length) || length > target->size()) return false;
    p.into = target;
    p.to = all->sub(0, length);
    if (forbidden) {
        p.doomed = {errc::read_only, errc::no_route};
        p.closed = true;
        return true;
    }
    if (dice_.one_in(24) && length > 1) return doom(p, *all);
    if (target->closed) return p.closed = true; // nothing may come there
    const auto offset = target->take(dice_, length);
    if (!offset) return false;
    p.at = *offset;
    p.to = all->sub(*offset, length);
    return true;
}

bool encounter::read(deal& d, part& p, acquaintance& a, std::uint64_t length)
{
    const auto all = published(d, p, a, sources + dice_.below(2), p.out_of);
    if (!all || length > p.out_of->size()) return false;
    const std::uint64_t offset = dice_.below(p.out_of->size() - length + 1);
    p.length = length;
    p.from = all->sub(offset, length);
    p.expected = p.out_of->data(offset);
    return choose_target(d, p);
}

/// Pages of one source to pages of one pool, in no order.
bool encounter::choose_pages(deal& d, resident& with)
{
    acquaintance* const a = d.by->known(with);
    if (!a) return false;
    const bool p5 = scene_.what == dealings::p5;
    const std::size_t n = p5 ? dice_.between(40, 150) : dice_.between(10, 100);
    const std::size_t name = pools + (p5 ? vrams : dice_.below(2));
    for (std::size_t i = 0; i < n; ++i) {
        part p;
        stretch* target = nullptr;
        const auto all = published(d, p, *a, name, target);
        stretch& source = d.by->now(sources + (p5 ? vrams : drams));
        if (!all || target->closed || target->size() < scene_.page_bytes || source.size() < scene_.page_bytes) break;
        const auto offset = target->take(dice_, scene_.page_bytes);
        if (!offset) break;
        const std::uint64_t from = dice_.below(source.size() / scene_.page_bytes) * scene_.page_bytes;
        p.length = scene_.page_bytes;
        p.from = d.by->at(source, from, p.length);
        p.expected = source.data(from);
        p.into = target;
        p.at = *offset;
        p.to = all->sub(*offset, p.length);
        d.parts.push_back(std::move(p));
    }
    return !d.parts.empty();
}

bool encounter::choose(deal& d, resident& with)
{
    const bool storm = scene_.what == dealings::pages || (scene_.what == dealings::p5 && !dice_.one_in(3));
    if (storm) return choose_pages(d, with);
    const bool single = dice_.one_in(2) || scene_.what == dealings::large || scene_.what == dealings::p5;
    for (std::size_t n = single ? 1 : dice_.between(1, 8); n != 0; --n) {
        // Another peer may have part in it, too.
        resident* const whom = dice_.one_in(8) ? &some_agent() : &with;
        acquaintance* const a = d.by->known(*whom);
        if (!a) continue;
        part p;
        const bool out = scene_.what == dealings::p5 || !dice_.one_in(3);
        const bool made = out ? write(d, p, *a, some_length()) : read(d, p, *a, some_length());
        if (made) d.parts.push_back(std::move(p));
        else if (p.into && !p.closed && p.to.of) p.into->give_back(p.at, p.length);
    }
    return !d.parts.empty();
}

task<> encounter::deals(encounter& self, resident& who, resident& with)
{
    acquaintance* found = nullptr;
    co_await acquainted(self, who, with, found);
    if (!found || !who.here()) co_return;
    who.tidy();
    deal& d = self.deals_.emplace_back();
    d.by = &who;
    if (self.choose(d, with)) self.begin(d);
    else self.deals_.pop_back();
}

template <class Over>
void encounter::begin_prepared(deal& d, Over over)
{
    std::vector<slice> from, to;
    std::vector<std::uint32_t> indices;
    for (const transfer& x : d.batch) {
        indices.push_back(static_cast<std::uint32_t>(from.size()));
        from.push_back(x.from);
        to.push_back(x.to);
    }
    try {
        const prepared a = d.by->agent->prepare(std::move(from)), b = d.by->agent->prepare(std::move(to));
        copy(a.select(indices), b.select(indices), d.options, std::move(over));
    } catch (const system_error&) { // what is withdrawn has no length any more
        copy(std::span<const transfer>{d.batch}, d.options, std::move(over));
    }
}

void encounter::begin(deal& d)
{
    d.status.resize(d.parts.size());
    choose_options(d);
    d.begun = world_->now();
    if (d.options.deadline.count()) d.due = d.begun + d.options.deadline;
    for (part& p : d.parts) {
        d.batch.push_back({p.from, p.to});
        p.served = p.to.of && p.to.of->served;
        ++p.with->in_flight;
        const auto same = [&](const deal::listener& l) { return l.who == p.with->whom; };
        if (!d.notify.empty() && std::none_of(d.tells.begin(), d.tells.end(), same)) d.tells.push_back({p.with->whom});
    }
    for (deal::listener& l : d.tells) {
        l.named = dice_.one_in(3);
        if (!l.who->here()) continue;
        const duration deadline = dice_.one_in(6) ? duration{static_cast<duration::rep>(dice_.scale(1e3, 1e8))} : duration{};
        asio::co_spawn(l.who->agent->runtime(), hears(*this, d, l, deadline), [](std::exception_ptr) {});
    }
    ++live_;
    ++verdict_.operations;
    auto over = asio::bind_cancellation_slot(d.signal.slot(), [this, &d](error_code e, std::size_t n) { ended(d, e, n); });
    const transfer one = d.batch.front();
    if (d.batch.size() == 1 && dice_.one_in(2)) {
        copy(one.from, one.to, d.options, std::move(over));
    } else if (dice_.one_in(4) && std::none_of(d.parts.begin(), d.parts.end(), [](const part& p) { return p.closed; })) {
        begin_prepared(d, std::move(over));
    } else {
        copy(std::span<const transfer>{d.batch}, d.options, std::move(over));
    }
    d.batch.clear(); // it is read when the operation begins, and not after
    d.objects.clear();
    if (dice_.one_in(scene_.what == dealings::cancellations ? 1 : 10))
        world_->at(world_->now() + duration{static_cast<duration::rep>(dice_.scale(100, 1e6))}, [this, &d] { cancel(d); });
}

void encounter::cancel(deal& d)
{
    if (d.ends || d.cancelled || d.orphaned || d.by->left) return;
    d.cancelled = world_->now();
    d.signal.emit(asio::cancellation_type::terminal);
}

/// Beside any copy.
task<> encounter::says(encounter& self, resident& who, resident& with)
{
    acquaintance* found = nullptr;
    co_await acquainted(self, who, with, found);
    if (!found || !who.here() || !with.here()) co_return;
    deal& d = self.deals_.emplace_back();
    d.by = &who;
    d.notify = "w" + std::to_string(self.deals_.size());
    d.payload = some_payload(self.dice_);
    deal::listener& l = d.tells.emplace_back();
    l.who = &with;
    asio::co_spawn(with.agent->runtime(), hears(self, d, l, {}), [](std::exception_ptr) {});
    ++found->in_flight;
    ++self.verdict_.operations;
    d.begun = self.world_->now();
    try {
        co_await who.agent->notify(found->it, d.notify, d.payload);
    } catch (const system_error& e) {
        d.error = e.code();
        self.expect(e.code() == errc::peer_lost && self.excused(who, with), "a word is lost: " + std::string{e.what()});
    }
    ++d.ends;
    --found->in_flight;
    if (!d.error) self.expect(l.told == 1 || !with.here(), "a word was said and not heard");
    self.judge_time(d);
}

} // namespace wye::sweep
