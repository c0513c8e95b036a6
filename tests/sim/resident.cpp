// SPDX-License-Identifier: Apache-2.0
#include "resident.hpp"

#include <algorithm>

#include "content.hpp"

namespace wye::sweep {

namespace {

constexpr int most_tries = 1000; // to do what is refused for want of memory now and then

bool is_source(const stretch& a) { return a.tier != tier::file && resident::read_only(a.name); }

} // namespace

// Areas.

std::optional<std::uint64_t> stretch::take(dice& d, std::uint64_t length)
{
    if (d.one_in(2))
        if (const auto used = recycle(d, length)) return used;
    if (used_ + length + gap > size()) return recycle(d, length);
    const std::uint64_t at = std::exchange(used_, used_ + length + gap);
    if (length != 0) places_[at] = {length, std::nullopt};
    return at;
}

/// A place that was used before, as pages are.
std::optional<std::uint64_t> stretch::recycle(dice& d, std::uint64_t length)
{
    if (places_.empty() || length == 0) return std::nullopt;
    auto it = places_.lower_bound(d.below(used_));
    if (it == places_.end()) it = places_.begin();
    auto& [at, p] = *it;
    if (!p.scribbled || p.length < length || !holds(at, at + p.length, *p.scribbled)) return std::nullopt;
    const place rest{p.length - length, p.scribbled};
    p = {length, std::nullopt};
    if (rest.length != 0) places_[at + length] = rest;
    return at;
}

void stretch::give_back(std::uint64_t at, std::uint64_t length)
{
    const auto it = places_.find(at);
    if (it == places_.end() || it->second.scribbled || it->second.length != length) return;
    it->second.scribbled = static_cast<std::byte>(++ink_);
    std::fill_n(data(at), length, *it->second.scribbled);
}

bool stretch::holds(std::uint64_t from, std::uint64_t to, std::byte b) const
{
    return first_other({data(from), data(to)}, b) == to - from;
}

std::ptrdiff_t stretch::stray() const
{
    std::uint64_t upto = 0;
    const auto differs = [&](std::uint64_t to, std::byte b) -> std::ptrdiff_t {
        const std::size_t n = first_other({data(upto), data(to)}, b);
        return n == to - upto ? -1 : static_cast<std::ptrdiff_t>(upto + n);
    };
    for (const auto& [at, p] : places_) {
        if (const auto s = differs(at, blank); s >= 0) return s;
        upto = at;
        if (const auto s = p.scribbled ? differs(at + p.length, *p.scribbled) : -1; s >= 0) return s;
        upto = at + p.length;
    }
    return differs(size(), blank);
}

// Residents.

resident::resident(sim::world& w, sim::host h, const meeting& m, std::size_t i, std::size_t life)
    : called{"agent" + std::to_string(i)}, index{i}, host_index{m.agents[i]}, agent{&w.spawn(called, h, m.agent)}, world_{w},
      dice_{m.seed, 1000 + i + 100 * life}, path_{called + '.' + std::to_string(life)}, area_bytes_{m.area_bytes}, p5_{m.what == dealings::p5}
{
    for (std::size_t n = 0; n < names; ++n) now_[n] = &make(n);
    const std::size_t small = std::min<std::size_t>(area_bytes_, 512_KiB);
    local[0] = &areas_.emplace_back(small, tier::dram);
    local[1] = &areas_.emplace_back(small, tier::vram);
    for (const bool source : {true, false}) {
        bytes& content = *h.file(path_ + (source ? ".in" : ".out"), true);
        content.assign(small, std::byte{0xcd});
        stretch& a = areas_.emplace_back(content);
        if (source) draw_over(content, dice_.next());
        (source ? file_source : local[2]) = &a;
    }
    for (std::size_t k = 0; k < 3; ++k) local[k]->name = names + k;
    file_source->name = 0;
}

stretch& resident::make(std::size_t n)
{
    // In the world that is as large as a p5 one source and one pool are, and no more.
    const bool big = p5_ && n == (index == 0 ? 1u : 3u);
    const std::size_t length = p5_ && !big ? 512_KiB : area_bytes_;
    stretch& a = areas_.emplace_back(length + 64 * areas_.size(), n % 2 ? tier::vram : tier::dram);
    a.name = n;
    if (read_only(n)) draw_over(a.own, dice_.next());
    sums_.push_back(read_only(n) ? checksum(a.own) : 0);
    return a;
}

task<> resident::enlist(stretch& a)
{
    const memory m{a.tier, a.own.data(), a.own.size(), a.tier == tier::vram ? static_cast<std::int32_t>(dice_.below(2)) : 0};
    for (int tries = 0; !a.as; ++tries) {
        if (!here()) throw system_error(errc::shut_down); // it left while this was tried
        try {
            a.as = co_await agent->register_memory(m);
        } catch (const system_error& e) {
            if (e.code() != boost::system::errc::not_enough_memory || tries == most_tries) throw;
        }
    }
}

task<> resident::publish(std::size_t n, stretch& a)
{
    const std::string as{name[n]};
    for (int tries = 0;; ++tries) {
        if (!here()) throw system_error(errc::shut_down);
        try {
            co_await agent->publish(as, a.as, read_only(n) ? access::read_only : access::read_write);
            break;
        } catch (const system_error& e) {
            if (e.code() != boost::system::errc::not_enough_memory || tries == most_tries) throw;
        }
    }
}

task<> resident::open()
{
    for (stretch& a : areas_)
        if (a.tier != tier::file) co_await enlist(a);
    for (std::size_t n = 0; n < names; ++n) {
        co_await publish(n, *now_[n]);
        now_[n]->reachable = true;
    }
    in_ = co_await agent->open_file(path_ + ".in");
    out_ = co_await agent->open_file(path_ + ".out");
    bucket_ = co_await agent->open_bucket("sim:" + path_);
}

stretch* resident::area_of(std::size_t n, std::uint64_t length)
{
    const auto is = [&](const stretch& a) { return a.name == n && a.tier != tier::file && a.size() == length; };
    const auto it = std::find_if(areas_.begin(), areas_.end(), is);
    return it == areas_.end() ? nullptr : &*it;
}

acquaintance* resident::known(const resident& whom)
{
    // There may be several connections between two: the latest knows the latest.
    const auto is = [&](const acquaintance& a) { return a.whom == &whom && a.it.alive(); };
    const auto it = std::find_if(acquaintances.rbegin(), acquaintances.rend(), is);
    return it == acquaintances.rend() ? nullptr : &*it;
}

void resident::tidy()
{
    for (acquaintance& a : acquaintances)
        if (a.it && !a.it.alive() && a.in_flight == 0) {
            a.kept.clear();
            a.it.reset();
        }
}

slice resident::at(const stretch& a, std::uint64_t offset, std::uint64_t length) const
{
    if (a.tier == tier::file) return (&a == file_source ? in_ : out_).at(offset, length);
    return a.as.at(offset, length);
}

object resident::put(std::uint64_t length, const std::byte*& content)
{
    bytes b(length);
    draw_over(b, dice_.next());
    const std::string key = "source/" + std::to_string(++keys_);
    world_.put(path_ + '/' + key, {std::move(b), 0, false});
    content = sources_.emplace_back(world_.object(path_ + '/' + key))->data.data();
    return bucket_.object(key);
}

object resident::new_object(std::string& key)
{
    const std::string name_there = "target/" + std::to_string(++keys_);
    key = path_ + '/' + name_there;
    return bucket_.object(name_there);
}

std::string resident::stray() const
{
    std::size_t made = 0;
    for (const stretch& a : areas_) {
        const std::size_t i = a.name < names && &a != file_source ? made++ : 0;
        if (&a == file_source) continue;
        const bool wrong = is_source(a) ? checksum(a.own) != sums_[i] : a.stray() >= 0;
        if (!wrong) continue;
        const std::string what = a.name < names ? std::string{name[a.name]} : "what it keeps";
        return "stray bytes at " + called + ", " + what + (is_source(a) ? "" : " at " + std::to_string(a.stray()));
    }
    return {};
}

void resident::close()
{
    for (acquaintance& a : acquaintances) {
        a.kept.clear();
        a.it.reset();
    }
    for (stretch& a : areas_) a.as.reset();
    in_ = {};
    out_ = {};
    bucket_ = {};
}

} // namespace wye::sweep
