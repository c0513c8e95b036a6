// SPDX-License-Identifier: Apache-2.0
// Memory, who may reach it, and who others are.
#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include <rdma/fi_errno.h>

#include "driver.hpp"
#include "errors.hpp"

namespace wye::ofi {

namespace {

std::uint64_t draw_token()
{
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
}

/// The rails that our rails lead to, and those that lead to ours.
std::vector<entry> entries_between(std::uint32_t ours, std::uint32_t theirs)
{
    std::vector<entry> all;
    for (std::uint32_t i = 0; i < ours; ++i) all.push_back({i, i % theirs});
    for (std::uint32_t i = 0; i < theirs; ++i)
        if (i % ours % theirs != i) all.push_back({i % ours, i});
    return all;
}

} // namespace

/// Registers on these rails.
void libfabric_driver::enroll(segment& s, std::uint64_t on, std::uint64_t remote, std::function<void(error_code, mrs)> done)
{
    struct state {
        error_code error;
        mrs got;
    };
    const auto it = std::make_shared<state>();
    work(
        [this, it, memory = stretch{s}, on, remote] {
            try {
                for (std::uint32_t r = 0; r < rails(); ++r)
                    it->got.push_back(on >> r & 1 ? rails_[r]->enroll(memory, remote) : handle<fid_mr>{});
            } catch (const system_error& e) {
                it->error = e.code();
            } catch (const std::bad_alloc&) {
                it->error = make_error_code(boost::system::errc::not_enough_memory);
            }
        },
        [it, done = std::move(done)] { done(it->error, std::move(it->got)); });
}

/// A GPU's memory with the rails near it, if there is more than one to lose: registering takes long, and the way over the
/// others leads through the processor. What the provider refuses (memory of another kind, no way from NIC to GPU) is for
/// other drivers to carry.
void libfabric_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    const bool vram = s.tier == tier::vram;
    if ((s.tier != tier::dram && !(vram && gpu_memory_)) || s.length == 0) return done({});
    const std::uint64_t near = near_.of(s), all = every_rail();
    const std::uint64_t on = vram && std::popcount(near) > 1 ? near : all;
    enroll(s, on, 0, [this, &s, vram, near, on, done = std::move(done)](error_code e, mrs got) {
        if (!e) {
            auto& it = enlisted_[&s] = std::make_unique<enlisted>(enlisted{std::move(got)});
            s.notes[id()] = reinterpret_cast<std::uintptr_t>(it.get());
            if (vram || near) s.reach = 1 + sort_of({on, near ? near : on});
        }
        done(vram ? error_code{} : e);
    });
}

/// Which of the sorts of memory that there are: it is remembered by that how copies go.
std::uint32_t libfabric_driver::sort_of(sort wanted)
{
    const auto it = std::find(sorts_.begin(), sorts_.end(), wanted);
    if (it == sorts_.end()) return sorts_.push_back(wanted), static_cast<std::uint32_t>(sorts_.size() - 1);
    return static_cast<std::uint32_t>(it - sorts_.begin());
}

void libfabric_driver::dismiss(segment& s) noexcept
{
    if (off_loop_ && !off_loop_->idle()) { // it may be being registered just now, for a grant
        off_loop_->wait();
        off_loop_->reap();
    }
    for (auto it = granted_.begin(); it != granted_.end();) {
        const bool of_it = it->second.what == &s;
        if (of_it) ungrant(it->second);
        it = of_it ? granted_.erase(it) : std::next(it);
    }
    enlisted_.erase(&s);
    s.notes[id()] = 0;
}

void libfabric_driver::grant(segment& s, access a, std::function<void(error_code, key)> done)
{
    if (s.length == 0 || (s.tier != tier::dram && !s.notes[id()])) return answer([done = std::move(done)] { done(errc::not_supported, {}); });
    enroll(s, every_rail(), rights_of(a), [this, &s, a, done = std::move(done)](error_code e, mrs got) {
        if (e) return answer([done, e] { done(e, {}); });
        granted g{&s, {draw_token(), s.length, rails_.front()->base_of(s.base), a, {}}, std::move(got)};
        for (const auto& mr : g.mrs) g.described.keys.push_back(::fi_mr_key(mr.get()));
        key k{++last_grant_, wire::encode(g.described)};
        auto& it = granted_.emplace(k.id, std::move(g)).first->second;
        by_token_[it.described.token] = &it;
        answer([done, k = std::move(k)] { done({}, k); });
    });
}

/// A message that is half received has had its key looked at: `cut_off` ends that.
void libfabric_driver::withdraw(std::uint64_t id) noexcept
{
    const auto it = granted_.find(id);
    if (it == granted_.end()) return;
    ungrant(it->second);
    granted_.erase(it);
}

void libfabric_driver::ungrant(granted& g) noexcept
{
    stop_serving(g.described.token);
    by_token_.erase(g.described.token);
    for (std::uint32_t r = 0; r < rails(); ++r) rails_[r]->end_key(std::move(g.mrs[r]), stretch{*g.what});
}

/// What others may do by themselves. Where they ask to be written to they need not read.
std::uint64_t libfabric_driver::rights_of(access a) const noexcept
{
    const std::uint64_t read = asks_for_reads_ ? 0 : FI_REMOTE_READ;
    return a == access::read_write ? read | FI_REMOTE_WRITE : read;
}

std::vector<std::byte> libfabric_driver::address()
{
    listens_ = true;
    wire::address a{id_here_, door_, provider_, {}};
    for (const auto& r : rails_) a.rails.push_back(r->address());
    return wire::encode(a);
}

contact* libfabric_driver::find(std::uint64_t id) noexcept
{
    const auto it = std::find_if(contacts_.begin(), contacts_.end(), [&](const auto& k) { return k->known.id == id; });
    return it == contacts_.end() ? nullptr : it->get();
}

contact& libfabric_driver::meet(wire::address a)
{
    contact& k = *contacts_.emplace_back(std::make_unique<contact>());
    k.known = std::move(a);
    const auto theirs = static_cast<std::uint32_t>(k.known.rails.size());
    k.entries = entries_between(rails(), theirs);
    for (entry& e : k.entries) e.of = &k;
    for (entry& e : k.entries) e.at = rails_[e.mine]->know(k.known.rails[e.theirs]).value_or(FI_ADDR_UNSPEC);
    k.paths.resize(rails());
    for (std::uint32_t i = 0; i < rails(); ++i) {
        k.paths[i].to = &k;
        k.paths[i].mine = i;
        k.paths[i].over = i;
    }
    return k;
}

/// Nobody stands for it any more. It stays until what was posted to it has completed.
void libfabric_driver::part(contact& k) noexcept
{
    for (entry& e : k.entries) close_entry(k, e, false);
    for (path& p : k.paths) std::erase(eager_, &p);
    for (entry& e : k.entries) std::erase(hungry_, &e);
    std::erase_if(verdicts_, [&](const verdict& v) { return v.to == &k; });
    const auto it = std::find_if(contacts_.begin(), contacts_.end(), [&](const auto& c) { return c.get() == &k; });
    fading_.push_back(std::move(*it));
    contacts_.erase(it);
}

std::uint32_t libfabric_driver::number_for(contact& k)
{
    auto free = std::find_if(numbers_.begin(), numbers_.end(), [](const number& n) { return !n.of; });
    if (free == numbers_.end()) free = numbers_.insert(numbers_.end(), number{});
    *free = {&k};
    ++k.numbers;
    return static_cast<std::uint32_t>(free - numbers_.begin() + 1);
}

void libfabric_driver::admit(std::span<const std::byte> bytes, std::function<void(error_code, std::uint32_t)> done)
{
    auto a = wire::decode_address(bytes);
    const auto refuse = [&](errc e) { answer([done = std::move(done), e] { done(e, 0); }); };
    if (!a || a->id == id_here_) return refuse(errc::bad_metadata);
    if (a->provider != provider_) return refuse(errc::no_route);
    contact* k = find(a->id);
    if (k && k->known.door != a->door) return refuse(errc::bad_metadata);
    if (!k) k = &meet(std::move(*a));
    const std::uint32_t n = number_for(*k);
    for (path& p : k->paths)
        if (!p.proven) begin_ping(p);
    admissions_.push_back({n, steady::now() + options_.connect_within, std::move(done)});
}

/// Those whose ways have all been tried: a first chunk that had to wait for its connection would look like a lost rail.
/// While no rail is open, as just after another peer was lost, nothing has been tried.
std::size_t libfabric_driver::see_admissions(steady::time_point now) noexcept
{
    std::size_t seen = 0;
    const bool none = std::none_of(rails_.begin(), rails_.end(), [](const auto& r) { return r->is_open(); });
    for (std::size_t i = 0; i < admissions_.size();) {
        admission& a = admissions_[i];
        contact& k = *numbers_[a.number - 1].of;
        const auto tried = [&](const path& p) { return p.proven || !rails_[p.mine]->is_open(); };
        const bool any = std::any_of(k.paths.begin(), k.paths.end(), [](const path& p) { return p.proven; });
        if ((none || !std::all_of(k.paths.begin(), k.paths.end(), tried)) && now < a.ends) {
            ++i;
            continue;
        }
        for (path& p : k.paths)
            if (p.openings.empty() && !stations_[p.mine].opened) p.wants_ping = false;
        const std::uint32_t n = a.number;
        answer([done = std::move(a.admitted), n, any] { any ? done({}, n) : done(errc::peer_lost, 0); });
        admissions_.erase(admissions_.begin() + static_cast<std::ptrdiff_t>(i));
        ++seen;
        if (any) continue;
        numbers_[n - 1] = {};
        if (--k.numbers == 0) part(k);
    }
    return seen;
}

std::unique_ptr<segment> libfabric_driver::import(std::uint32_t peer, wye::tier t, std::int32_t device,
                                                  std::uint64_t length, std::span<const std::byte> description)
{
    auto d = wire::decode_description(description);
    if (!d || peer == 0 || peer > numbers_.size() || !numbers_[peer - 1].of || t > tier::vram) return nullptr;
    contact& k = *numbers_[peer - 1].of;
    if (d->keys.size() != k.known.rails.size() || length > d->length) return nullptr;
    const auto theirs = static_cast<std::uint32_t>(k.known.rails.size());
    auto s = std::make_unique<remote>(t, std::make_shared<key_set>(key_set{&k, peer, std::move(*d)}));
    s->length = length;
    s->device = device;
    s->reach = 1 + theirs; // how many they have decides which of ours lead where
    return s;
}

bool libfabric_driver::renew(segment& s, std::span<const std::byte> description, std::function<void()> drained)
{
    auto& r = static_cast<remote&>(s);
    auto d = wire::decode_description(description);
    if (!d || d->keys.size() != r.keys->what.keys.size() || d->length < r.keys->what.length) return false;
    auto fresh = std::make_shared<key_set>(key_set{r.keys->of, r.keys->number, std::move(*d)});
    renewed_.push_back({std::exchange(r.keys, std::move(fresh)), std::move(drained)});
    return true;
}

std::size_t libfabric_driver::see_drained() noexcept
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < renewed_.size();) {
        if (renewed_[i].old->out != 0) {
            ++i;
            continue;
        }
        answer(std::move(renewed_[i].drained));
        renewed_.erase(renewed_.begin() + static_cast<std::ptrdiff_t>(i));
        ++n;
    }
    return n;
}

bool libfabric_driver::send_over(path& p, const entry& e, std::byte kind, std::span<const std::byte> message) noexcept
{
    rail& r = *rails_[p.mine];
    if (!r.is_open() || e.at == FI_ADDR_UNSPEC || message.size() > wire::most_message) return false;
    slot* const s = r.take(slot::use::send);
    if (!s) return false;
    s->by = &p;
    s->bytes[0] = kind;
    std::memcpy(s->bytes + 1, message.data(), message.size());
    if (r.send(*s, 1 + message.size(), e.at) < 0) {
        r.give_back(*s);
        return false;
    }
    ++p.out;
    return true;
}

bool libfabric_driver::send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte> message) noexcept
{
    const number& to = numbers_[peer - 1];
    if (message.size() > wire::most_message || !to.of || to.severed) return false;
    contact& k = *to.of;
    for (std::uint32_t i = 0; i < rails(); ++i)
        if (send_over(k.paths[(peer + attempt + i) % rails()], std::byte{0}, message)) return true;
    return false;
}

/// Messages that have come. What makes no sense is dropped.
std::size_t libfabric_driver::hear(turn t) noexcept
{
    std::size_t n = 0;
    while (!arrived_.empty() && !(n != 0 && t.over())) {
        const arrival a = arrived_.front();
        arrived_.pop_front();
        const wire::view all{a.in->bytes, a.in->length};
        if (!all.empty() && all[0] == std::byte{0}) received(all.subspan(1));
        else if (!all.empty() && all[0] == std::byte{1}) heard(all.subspan(1));
        rail& r = *rails_[a.rail];
        if (r.is_open() && r.endpoint() == a.endpoint) r.receive(*a.in); // another has it from its beginning
        ++n;
    }
    return n;
}

} // namespace wye::ofi
