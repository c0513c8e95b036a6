// SPDX-License-Identifier: Apache-2.0
// What a simulated NIC knows of other agents: addresses, keys, and messages, which may be lost.

#include <algorithm>
#include <cstring>

#include "rails_driver.hpp"

namespace wye::sim::detail {

namespace {

template <class T>
std::vector<std::byte> as_bytes_of(const T& value)
{
    const auto all = std::as_bytes(std::span{&value, 1});
    return {all.begin(), all.end()};
}

template <class T>
std::optional<T> from_bytes(std::span<const std::byte> bytes)
{
    if (bytes.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

} // namespace

std::vector<std::byte> rails_driver::address()
{
    listens_ = true;
    machine_.in.endpoints[id_] = this;
    return as_bytes_of(id_);
}

void rails_driver::grant(segment& s, access a, std::function<void(error_code, key)> done)
{
    universe& u = machine_.in;
    ++pending_;
    if (s.tier == tier::vram && !nic_.model.hmem) return answer([done = std::move(done)] { done(errc::not_supported, {}); });
    if (strikes(fault_kind::registration))
        return answer([done = std::move(done)] { done(make_error_code(boost::system::errc::not_enough_memory), {}); });
    const std::uint64_t id = ++u.doors_made;
    u.doors[id] = {&machine_, id_, &s, s.base, s.length, a};
    answer([done = std::move(done), id] { done({}, {id, as_bytes_of(id)}); });
}

void rails_driver::withdraw(std::uint64_t id) noexcept { machine_.in.doors.erase(id); }

void rails_driver::dismiss(segment& s) noexcept
{
    if (enlisted_.erase(&s) != 1) complain("dismissed what was not enlisted");
    std::erase_if(machine_.in.doors, [&](const auto& d) { return d.second.what == &s; });
}

void rails_driver::admit(std::span<const std::byte> address, std::function<void(error_code, std::uint32_t)> done)
{
    ++pending_;
    const auto id = from_bytes<std::uint64_t>(address);
    universe& u = machine_.in;
    const auto it = id ? u.homes.find(*id) : u.homes.end();
    if (it == u.homes.end()) return answer([done = std::move(done)] { done(errc::bad_metadata, 0); });
    auto free = std::find_if(known_.begin(), known_.end(), [](const auto& a) { return a.endpoint == 0; });
    if (free == known_.end()) free = known_.insert(known_.end(), acquaintance{});
    *free = {*id, it->second};
    const auto number = static_cast<std::uint32_t>(free - known_.begin() + 1);
    answer([done = std::move(done), number] { done({}, number); });
}

void rails_driver::sever(std::uint32_t peer, std::function<void()> severed)
{
    ++pending_;
    machine_.in.at(machine_.in.now() + nic_.model.fence_time, [it = self_, peer, severed = std::move(severed)]() mutable {
        if (!*it) return;
        rails_driver& d = **it;
        for (auto& [id, l] : d.loans_)
            if (l.peer == peer && !l.over) d.end(id, errc::peer_lost);
        d.answer([&d, peer, severed = std::move(severed)] {
            d.known_.at(peer - 1) = {};
            severed();
        });
    });
}

std::unique_ptr<segment> rails_driver::import(std::uint32_t peer, wye::tier t, std::int32_t device, std::uint64_t length,
                                              std::span<const std::byte> description)
{
    const auto id = from_bytes<std::uint64_t>(description);
    if (!id || peer == 0 || peer > known_.size() || t > tier::vram) return nullptr;
    machine& there = *known_[peer - 1].on;
    auto s = std::make_unique<remote>(t, there, *id);
    s->length = length;
    s->device = device;
    s->reach = static_cast<std::uint32_t>(1 + std::min(nic_.rails.size(), there.nic.rails.size()));
    return s;
}

bool rails_driver::renew(segment& s, std::span<const std::byte> description, std::function<void()> drained)
{
    const auto id = from_bytes<std::uint64_t>(description);
    if (!id) return false;
    renewed_.push_back({std::exchange(static_cast<remote&>(s).key, *id), std::move(drained)});
    see_renewed();
    return true;
}

/// Who waits for the last chunk by an old key.
void rails_driver::see_renewed()
{
    for (std::size_t i = 0; i < renewed_.size();) {
        const auto by_it = [&](const auto& l) { return l.second.key == renewed_[i].key; };
        if (std::any_of(loans_.begin(), loans_.end(), by_it)) {
            ++i;
            continue;
        }
        const auto drained = std::move(renewed_[i].drained);
        renewed_.erase(renewed_.begin() + static_cast<std::ptrdiff_t>(i));
        drained();
    }
}

bool rails_driver::send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte> message) noexcept
{
    universe& u = machine_.in;
    const acquaintance to = known_.at(peer - 1);
    const std::size_t common = std::min(nic_.rails.size(), to.on->nic.rails.size());
    auto index = static_cast<std::uint32_t>((peer + attempt) % common);
    for (std::size_t i = 0; i < common && !endpoints_[index].open; ++i) index = static_cast<std::uint32_t>((index + 1) % common);
    const rail& mine = nic_.rails[index];
    u.note({5, ns(u.now()), index, message.size()});
    if (message.size() > 8192) complain("a message of more than 8 KiB");
    if (!endpoints_[index].open || strikes(fault_kind::lose)) return true;

    nic_.processor_free = std::max(nic_.processor_free, u.now()) + nic_.model.post_cost;
    const double wire = static_cast<double>(message.size()) / mine.model.bytes_per_second;
    time_point at = nic_.processor_free + mine.model.latency + duration{static_cast<duration::rep>(wire * 1e9)};
    if (hazard* const h = strikes(fault_kind::reorder)) at += some(*h);
    const auto arrive = [&u, from = &machine_, to, index, copy = std::vector(message.begin(), message.end())] {
        const auto usable = [&](const machine* m) { return m->nic.rails[index].state == rail_state::up; };
        const auto it = u.endpoints.find(to.endpoint);
        if (it != u.endpoints.end() && usable(from) && usable(to.on)) it->second->deliver(copy);
    };
    u.at(at, arrive);
    if (hazard* const h = strikes(fault_kind::twice)) u.at(at + some(*h), arrive);
    return true;
}

void rails_driver::deliver(const std::vector<std::byte>& message) { inbox_.push_back(message); }

std::unique_ptr<segment> rails_driver::reach(machine& there, const slice& theirs)
{
    universe& u = machine_.in;
    const std::uint64_t id = ++u.doors_made;
    u.doors[id] = {&there, 0, theirs.of, theirs.data(), theirs.length, access::read_write};
    const auto same = [&](const auto& a) { return a.on == &there && a.endpoint == ~std::uint64_t{0}; };
    auto known = std::find_if(known_.begin(), known_.end(), same);
    if (known == known_.end()) known = known_.insert(known_.end(), {~std::uint64_t{0}, &there});
    const auto number = static_cast<std::uint32_t>(known - known_.begin() + 1);
    auto s = import(number, theirs.tier(), theirs.of->device, theirs.length, as_bytes_of(id));
    s->home = this;
    s->peer = number;
    return s;
}

void rails_driver::die() noexcept
{
    if (std::exchange(dead_, true)) return;
    machine_.in.endpoints.erase(id_);
    for (const auto& [id, l] : loans_) let_go(l); // others may have its place
}

void rails_driver::bury() noexcept
{
    for (auto& [id, l] : loans_)
        if (!l.over) end(id, errc::peer_lost);
}

} // namespace wye::sim::detail
