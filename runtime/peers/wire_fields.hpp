// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <type_traits>
#include <vector>

#include "wire.hpp"

/// The fields of each thing, in the order in which they go over the wire: said once, for counting, writing and reading.
/// Published versions know this order; what is new goes into records and sections of its own.
namespace wye::detail::wire {

template <class T, class U>
concept some = std::same_as<std::remove_const_t<T>, U>; ///< constant or not

/// Whether no two have the same fabric. There are few.
template <class T>
bool fabrics_differ(const std::vector<T>& list) noexcept
{
    for (auto a = list.begin(); a != list.end(); ++a)
        if (std::any_of(list.begin(), a, [&](const T& b) { return b.fabric == a->fabric; })) return false;
    return true;
}

template <class V>
void fields(V& v, some<incarnation> auto& i)
{
    v.number(i.high);
    v.number(i.low);
}

template <class V>
void fields(V& v, some<way> auto& w)
{
    v.name(w.fabric);
    v.block(w.address, most_address);
}

inline constexpr std::size_t least_grant = 1 + 1 + 2;

template <class V>
void fields(V& v, some<grant> auto& g)
{
    v.name(g.fabric);
    v.block(g.description, most_description);
}

template <class V>
void fields(V& v, some<publication> auto& p)
{
    v.name(p.name);
    v.choice(p.tier, wye::tier::object);
    v.choice(p.access, wye::access::read_write);
    v.number(p.device);
    v.number(p.length);
    v.number(p.epoch);
    v.number(p.edition);
    v.count(p.grants, most_ways, least_grant);
    for (auto& g : p.grants) fields(v, g);
    v.require([&] { return fabrics_differ(p.grants); });
}

/// But for its lists: each of what they hold is a section of its own.
template <class V>
void fields(V& v, some<metadata> auto& m)
{
    v.name(m.name);
    fields(v, m.life);
    v.number(m.longest_gap);
}

template <class V>
void fields(V& v, some<hello> auto& h)
{
    fields(v, h.to);
    v.name(h.name);
    fields(v, h.life);
    v.number(h.longest_gap);
    fields(v, h.back);
    v.number(h.token);
    v.raw(h.fresh);
}

template <class V>
void fields(V& v, some<challenge> auto& c)
{
    v.number(c.token);
    v.raw(c.fresh);
    v.raw(c.proof);
    v.number(c.longest_gap);
}

template <class V>
void fields(V& v, some<answer> auto& a)
{
    v.raw(a.proof);
}

template <class V>
void fields(V&, some<welcome> auto&) noexcept {}

template <class V>
void fields(V& v, some<refusal> auto& r)
{
    v.number(r.why);
}

template <class V, class T>
    requires some<T, interest> || some<T, current> || some<T, drained>
void fields(V& v, T& t)
{
    v.name(t.name);
    v.number(t.epoch);
    v.number(t.edition);
}

template <class V>
void fields(V& v, some<update> auto& u)
{
    fields(v, u.now);
}

template <class V>
void fields(V& v, some<notify> auto& n)
{
    v.block(n.key, most_key);
    v.block(n.payload, most_payload);
    v.flag(n.aborted);
}

template <class V>
void fields(V&, some<goodbye> auto&) noexcept {}

template <class V>
void fields(V& v, some<put> auto& p)
{
    v.number(p.epoch);
    v.number(p.at);
    v.block(p.what, most_frame);
    v.block(p.key, most_key);
    v.block(p.payload, most_payload);
}

template <class V>
void fields(V& v, some<rejection> auto& r)
{
    v.number(r.frame);
    v.number(r.record);
    v.number(r.why);
}

template <class V>
void fields(V& v, some<lend> auto& l)
{
    v.number(l.number);
    v.choice(l.access, wye::access::read_write);
    v.number(l.length);
    v.block(l.description, most_description);
}

template <class V>
void fields(V& v, some<unlend> auto& u)
{
    v.number(u.number);
}

template <class V>
void fields(V& v, some<errand> auto& e)
{
    v.number(e.number);
    v.number(e.epoch);
    v.block(e.key, most_key);
    v.number(e.at);
    v.number(e.length);
    v.number(e.memory);
    v.number(e.memory_at);
    v.choice(e.step, wye::step::abandon);
    v.flag(e.writes);
    v.flag(e.sole);
    v.choice(e.priority, wye::priority::background);
    v.number(e.session);
    v.number(e.total);
    v.flag(e.verify);
    v.number(e.extent_at);
    v.number(e.extent_length);
    v.flag(e.has_checksum);
    v.number(e.checksum);
}

template <class V>
void fields(V& v, some<reply> auto& r)
{
    v.number(r.number);
    v.number(r.category);
    v.number(r.error);
    v.number(r.bytes);
    v.number(r.session);
    v.number(r.total);
    v.flag(r.has_checksum);
    v.number(r.checksum);
}

} // namespace wye::detail::wire
