// SPDX-License-Identifier: Apache-2.0
#include "stage.hpp"

#include <algorithm>

#include "content.hpp"

namespace wye::sweep {

namespace {

constexpr int most_tries = 1000; // to register memory that is refused now and then
constexpr auto between_tries = std::chrono::microseconds{10};

bytes pattern(std::size_t n, std::uint64_t seed)
{
    bytes v(n);
    draw_over(v, seed);
    return v;
}

} // namespace

tenant::tenant(sim::world& w, sim::host h, const scenario& s, std::size_t i)
    : agent{&w.spawn("agent" + std::to_string(i), h, s.agent)}, world_{w}, host_{h}, dice_{s.seed, 100 + i},
      name_{"t" + std::to_string(i)}, area_bytes_{s.area_bytes}
{
    constexpr tier tiers[areas] = {tier::dram, tier::vram, tier::vram, tier::file};
    for (std::size_t k = 0; k < areas; ++k) {
        area& a = area_[k];
        a.tier = tiers[k];
        a.content = k == file_area ? host_.file(name_, true) : &a.own;
        *a.content = pattern(area_bytes_, dice_.next());
        a.shadow = *a.content;
    }
}

task<> tenant::open()
{
    for (std::size_t k = 0; k < file_area; ++k) {
        bytes& b = area_[k].own;
        const memory m{area_[k].tier, b.data(), b.size(), k == 2 ? 1 : 0};
        for (int tries = 0; !regions_[k]; ++tries) {
            if (tries != 0) co_await agent->runtime().sleep(between_tries); // a burst of refusals passes with time
            try {
                regions_[k] = co_await agent->register_memory(m);
            } catch (const system_error& e) {
                if (e.code() != boost::system::errc::not_enough_memory || tries == most_tries) throw;
            }
        }
    }
    file_ = co_await agent->open_file(name_);
    bucket_ = co_await agent->open_bucket("sim:" + name_);
}

void tenant::close()
{
    names.clear();
    for (region& r : regions_) r.reset();
    file_ = {};
    bucket_ = {};
}

slice tenant::at(tier t, std::uint64_t offset, std::uint64_t length) const
{
    if (t == tier::file) return file_.at(offset, length);
    return regions_[t == tier::dram ? 0 : 1].at(offset, length);
}

std::optional<slice> tenant::place(std::size_t k, std::uint64_t length)
{
    area& a = area_[k];
    if (a.used + length + gap > area_bytes_) return std::nullopt;
    const std::uint64_t offset = std::exchange(a.used, a.used + length + gap);
    return k == file_area ? file_.at(offset, length) : regions_[k].at(offset, length);
}

const area& tenant::area_of(const slice& s) const
{
    for (std::size_t k = 0; k < file_area; ++k)
        if (regions_[k].at(0, 0).of == s.of) return area_[k];
    return area_[file_area];
}

bytes tenant::content(const slice& s) const
{
    const auto begin = area_of(s).content->begin() + static_cast<std::ptrdiff_t>(s.offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(s.length)};
}

bool tenant::choose(plan& p, bool verify, std::uint64_t length)
{
    return choose_source(p, verify, length) && choose_target(p, verify);
}

bool tenant::choose_source(plan& p, bool verify, std::uint64_t length)
{
    p.length = length;
    const std::size_t kind = dice_.below(areas + 2);
    if (kind >= areas) {
        if (!verify || !old_one(p)) new_object(p, verify);
        return true;
    }
    if (verify && kind == file_area) return old_one(p);
    const auto s = place(kind, length);
    if (!s) return false;
    p.from = *s;
    p.expected = content(*s);
    return true;
}

/// What was written under `verify` before, and perhaps has changed since.
bool tenant::old_one(plan& p)
{
    if (written_.empty()) return false;
    written w = std::move(written_.back());
    written_.pop_back();
    p.expected = std::move(w.content);
    p.length = p.expected.size();
    p.rotten = w.rotten;
    p.from = w.where;
    if (w.key.empty()) return true;
    p.from = names.emplace_back(bucket_.object(w.key));
    return true;
}

void tenant::new_object(plan& p, bool verify)
{
    const std::string key = "source/" + std::to_string(++keys_);
    p.expected = pattern(p.length, dice_.next());
    sim::stored_object o{p.expected, checksum(p.expected), true};
    if (verify && p.length != 0 && dice_.one_in(4)) o.data[dice_.below(p.length)] ^= std::byte{1}, p.doomed = errc::corrupt;
    if (verify && p.length != 0 && dice_.one_in(6)) o.has_checksum = false, p.doomed = errc::unverified;
    p.from = names.emplace_back(bucket_.object(key));
    if (verify || p.length == 0 || dice_.one_in(2)) {
        if (p.length != 0 && dice_.one_in(10)) o.data.push_back({}), p.doomed = errc::length_mismatch;
        else if (p.length > 1 && dice_.one_in(10)) o.data.pop_back(), p.doomed = errc::short_transfer;
    } else { // a range
        const std::size_t before = dice_.below(5000);
        o.data.insert(o.data.begin(), before, std::byte{9});
        o.data.insert(o.data.end(), dice_.below(5000), std::byte{9});
        p.from.offset = before;
        p.from.length = p.length;
    }
    if (p.length != 0 && dice_.one_in(12)) p.doomed = errc::not_found;
    else world_.put(object_key(key), std::move(o));
}

bool tenant::choose_target(plan& p, bool verify)
{
    const std::size_t kind = dice_.below(areas + 1);
    if (kind < areas) {
        const auto s = place(kind, p.length);
        if (!s) return false;
        p.to = *s;
        p.area = area_[kind].content;
        return true;
    }
    const std::string key = "target/" + std::to_string(++keys_);
    p.key = object_key(key);
    p.to = names.emplace_back(bucket_.object(key));
    if (p.from.length == slice::whole && p.doomed != errc::not_found) { // the object decides
        const auto source = world_.object(std::string{p.from.of->describe()});
        if (!p.rotten) p.expected = source->data;
        p.length = p.expected.size();
        p.doomed.reset();
        if (verify && p.length != 0 && !source->has_checksum) p.doomed = errc::unverified;
        else if (verify && !p.rotten && p.length != 0 && source->checksum != checksum(source->data)) p.doomed = errc::corrupt;
    }
    if (dice_.one_in(2)) world_.put(p.key, {bytes(77, std::byte{3}), 0, false});
    p.before = world_.object(p.key);
    return true;
}

std::deque<plan> tenant::pages(std::size_t n, std::uint64_t page_bytes)
{
    std::deque<plan> all;
    const std::size_t kinds[2] = {dice_.below(areas), dice_.below(areas)};
    std::optional<slice> sides[2];
    for (std::size_t k = 0; k < 2; ++k)
        if (!(sides[k] = place(kinds[k], n * page_bytes))) return all;
    std::vector<std::size_t> order(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = i;
    for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[dice_.below(i)]);
    for (std::size_t i = 0; i < n; ++i) {
        plan& p = all.emplace_back();
        p.length = page_bytes;
        p.from = sides[0]->block(order[i], page_bytes);
        p.to = sides[1]->block(i, page_bytes);
        p.expected = content(p.from);
        p.area = area_[kinds[1]].content;
    }
    return all;
}

void tenant::ended(const plan& p, bool well, bool verify)
{
    const bool rotten = p.flips_written != 0;
    if (p.key.empty()) {
        area& a = const_cast<area&>(area_of(p.to));
        const bytes now = content(p.to);
        std::copy(now.begin(), now.end(), a.shadow.begin() + static_cast<std::ptrdiff_t>(p.to.offset));
    }
    if (!well || !verify || p.length == 0) return;
    if (p.key.empty() && p.to.tier() == tier::file) written_.push_back({.where = p.to, .content = p.expected, .rotten = rotten});
    if (!p.key.empty()) written_.push_back({.key = p.key.substr(name_.size() + 1), .content = p.expected, .rotten = rotten});
}

std::string tenant::strays() const
{
    for (const area& a : area_) {
        const bool same_size = a.content->size() == a.shadow.size();
        const std::size_t at = same_size ? first_difference(*a.content, a.shadow) : std::min(a.content->size(), a.shadow.size());
        if (!same_size || at != a.shadow.size())
            return "stray bytes in " + std::string{name_of(a.tier)} + " at " + std::to_string(at);
    }
    return {};
}

} // namespace wye::sweep
