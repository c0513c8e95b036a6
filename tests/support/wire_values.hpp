// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <utility>
#include <variant>

#include <peers/wire.hpp>

namespace wire = wye::detail::wire;

/// What could go over the wire, drawn from a seed: often small, sometimes as large as it may be.
class wire_values {
public:
    enum class sizes { any, least, most };

    explicit wire_values(unsigned seed, sizes s = sizes::any) : random_(seed), sizes_(s) {}

    std::uint64_t number()
    {
        switch (random_() % 4) {
        case 0: return 0;
        case 1: return ~std::uint64_t{0};
        case 2: return random_() % 1000;
        default: return std::uint64_t{random_()} << 32 | random_();
        }
    }
    bool coin() { return random_() % 2 != 0; }
    std::size_t between(std::size_t least, std::size_t most)
    {
        if (sizes_ != sizes::any) return sizes_ == sizes::least ? least : most;
        switch (random_() % 16) {
        case 0: return least;
        case 1: return most;
        case 2: return least + random_() % (most - least + 1);
        default: return least + random_() % (std::min<std::size_t>(most - least, 20) + 1);
        }
    }

    std::string text(std::size_t least, std::size_t most)
    {
        std::string s(between(least, most), ' ');
        for (char& c : s) c = static_cast<char>(random_());
        return s;
    }
    std::string name() { return text(1, wire::most_name); }
    wire::bytes block(std::size_t most)
    {
        wire::bytes b(between(0, most));
        fill(b);
        return b;
    }
    template <class Bytes>
    void fill(Bytes& b)
    {
        for (std::byte& c : b) c = static_cast<std::byte>(random_());
    }
    template <class Array>
    Array drawn()
    {
        Array a;
        fill(a);
        return a;
    }

    wire::incarnation life() { return {number(), number()}; }
    wire::way way() { return {name(), block(wire::most_address)}; }
    wire::publication publication()
    {
        wire::publication p{.name = name(),
                            .tier = static_cast<wye::tier>(random_() % wye::tier_count),
                            .access = coin() ? wye::access::read_only : wye::access::read_write,
                            .device = static_cast<std::int32_t>(number()),
                            .length = number(),
                            .epoch = number(),
                            .edition = number(),
                            .grants = {}};
        for (std::size_t n = few(); n; --n) p.grants.push_back({unlike(p.grants), block(wire::most_description)});
        return p;
    }
    wire::metadata metadata()
    {
        wire::metadata m{.name = name(), .life = life(), .longest_gap = number(), .ways = {}, .published = {}};
        for (std::size_t n = few(); n; --n) m.ways.push_back({unlike(m.ways), block(wire::most_address)});
        for (std::size_t n = few(); n; --n) {
            m.published.push_back(publication());
            m.published.back().name.front() = static_cast<char>('0' + n);
        }
        return m;
    }

    wire::record record() { return record(random_() % std::variant_size_v<wire::record>); }
    wire::record record(std::size_t kind)
    {
        switch (kind) {
        case 0: return hello();
        case 1: return challenge();
        case 2: return wire::answer{drawn<wire::digest>()};
        case 3: return wire::welcome{};
        case 4: return wire::refusal{static_cast<std::uint8_t>(random_())};
        case 5: return wire::interest{name(), number(), number()};
        case 6: return update();
        case 7: return wire::drained{name(), number(), number()};
        case 8: return notify();
        case 9: return wire::goodbye{};
        case 10: return wire::current{name(), number(), number()};
        case 11: return put();
        case 12: return wire::rejection{number(), static_cast<std::uint16_t>(number()), static_cast<std::uint8_t>(random_())};
        case 13: return wire::lend{word(), access(), number(), block(wire::most_description)};
        case 14: return wire::unlend{word()};
        case 15: return errand();
        default: return reply();
        }
    }
    wire::frame_header header() { return {number(), number(), number(), number(), coin(), coin()}; }

private:
    wire::update update()
    {
        wire::update u{publication()};
        if (u.now.grants.size() > 1) u.now.grants.resize(1); // as they are said
        return u;
    }
    wire::hello hello()
    {
        wire::hello h;
        h.to = life();
        h.name = name();
        h.life = life();
        h.longest_gap = number();
        h.back = way();
        h.token = number();
        fill(h.fresh);
        return h;
    }
    wire::challenge challenge()
    {
        wire::challenge c;
        c.token = number();
        fill(c.fresh);
        fill(c.proof);
        c.longest_gap = number();
        return c;
    }
    std::uint32_t word() { return static_cast<std::uint32_t>(number()); }
    wye::access access() { return coin() ? wye::access::read_only : wye::access::read_write; }
    wire::errand errand()
    {
        wire::errand e;
        for (std::uint64_t* n : {&e.number, &e.epoch, &e.at, &e.length, &e.memory_at, &e.session, &e.total, &e.extent_at,
                                 &e.extent_length})
            *n = number();
        for (bool* b : {&e.writes, &e.sole, &e.verify, &e.has_checksum}) *b = coin();
        e.key = texts_.emplace_back(text(0, wire::most_key));
        e.memory = word();
        e.step = static_cast<wye::step>(random_() % 4);
        e.priority = static_cast<wye::priority>(random_() % wye::priority_count);
        e.checksum = word();
        return e;
    }
    wire::reply reply()
    {
        wire::reply r;
        for (std::uint64_t* n : {&r.number, &r.bytes, &r.session, &r.total}) *n = number();
        r.category = static_cast<std::uint8_t>(random_());
        r.error = static_cast<std::int32_t>(number());
        r.has_checksum = coin();
        r.checksum = word();
        return r;
    }
    wire::notify notify() { return {text(0, wire::most_key), block(wire::most_payload), coin()}; }

    /// Together they fill a frame at most. What it borrows lives as long as this does.
    wire::put put()
    {
        constexpr std::size_t beside = wire::frame_header_bytes + 3 + 2 * 8 + 3 * 2;
        const std::string& key = texts_.emplace_back(text(0, wire::most_key));
        const wire::bytes& payload = blocks_.emplace_back(block(wire::most_payload));
        const wire::bytes& what = blocks_.emplace_back(block(wire::most_frame - beside - key.size() - payload.size()));
        return {number(), number(), what, key, payload};
    }

    std::size_t few()
    {
        if (sizes_ != sizes::any) return sizes_ == sizes::least ? 0 : wire::most_ways;
        return random_() % 8 == 0 ? wire::most_ways : random_() % 3;
    }
    /// A fabric that is not in the list.
    template <class List>
    std::string unlike(const List& list)
    {
        std::string fabric = name();
        fabric.front() = static_cast<char>('a' + list.size());
        return fabric;
    }

    std::mt19937 random_;
    sizes sizes_;
    std::deque<std::string> texts_;
    std::deque<wire::bytes> blocks_;
};
