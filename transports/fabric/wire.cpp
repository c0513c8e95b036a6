// SPDX-License-Identifier: Apache-2.0
#include "wire.hpp"

#include <cstring>

namespace wye::ofi::wire {

namespace {

constexpr std::uint32_t address_magic = 0x6179'6f77, description_magic = 0x6b79'6f77; // "woya", "woyk"
constexpr std::uint8_t version = 1;
constexpr std::size_t most_records = 8;

class writer {
public:
    template <class T>
    writer& number(T value)
    {
        for (std::size_t i = 0; i < sizeof(T); ++i)
            out_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> 8 * i));
        return *this;
    }
    writer& block(view b)
    {
        number(static_cast<std::uint8_t>(b.size()));
        out_.insert(out_.end(), b.begin(), b.end());
        return *this;
    }
    bytes take() { return std::move(out_); }

private:
    bytes out_;
};

/// Takes from the front; the first thing that is missing or out of bounds fails it for good.
class reader {
public:
    explicit reader(view in) noexcept : in_{in} {}

    template <class T>
    T number(std::uint64_t most = ~std::uint64_t{0})
    {
        std::uint64_t value = 0;
        if (in_.size() < sizeof(T)) return fail(), T{};
        for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(in_[i]) << 8 * i;
        in_ = in_.subspan(sizeof(T));
        if (value > most) return fail(), T{};
        return static_cast<T>(value);
    }
    bytes block(std::size_t most)
    {
        const std::size_t n = number<std::uint8_t>(most);
        if (in_.size() < n) return fail(), bytes{};
        bytes b(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(n));
        in_ = in_.subspan(n);
        return b;
    }
    void fail() noexcept
    {
        good_ = false;
        in_ = {};
    }
    bool good() const noexcept { return good_; }
    bool done() const noexcept { return good_ && in_.empty(); }

private:
    view in_;
    bool good_ = true;
};

enum class kind : std::uint8_t { ping = 1, bar, barred, wants, served };

void put(writer& w, const ping& p)
{
    w.number(kind::ping).number(p.rail).block(p.address);
}
void put(writer& w, const bar& b)
{
    w.number(kind::bar).number(b.rail).number(b.number).number(static_cast<std::uint16_t>(b.all.size()));
    for (const auto& [token, key] : b.all) w.number(token).number(key);
}
void put(writer& w, const barred& b)
{
    w.number(kind::barred).number(b.number).number(static_cast<std::uint16_t>(b.keys.size()));
    for (const auto& [token, key] : b.keys) w.number(token).number(key);
}

void put(writer& w, const wants& m)
{
    w.number(kind::wants).number(m.rail).number(static_cast<std::uint16_t>(m.all.size()));
    for (const wants::want& x : m.all)
        w.number(x.number).number(x.token).number(x.offset).number(x.length).number(x.key).number(x.at);
}
void put(writer& w, const served& m)
{
    w.number(kind::served).number(static_cast<std::uint16_t>(m.all.size()));
    for (const auto& [number, became] : m.all) w.number(number).number(became);
}

ping take_ping(reader& r)
{
    ping p;
    p.rail = r.number<std::uint8_t>(most_rails - 1);
    p.address = r.block(most_rail_address);
    return p;
}
bar take_bar(reader& r)
{
    bar b;
    b.rail = r.number<std::uint8_t>(most_rails - 1);
    b.number = r.number<std::uint64_t>();
    const std::size_t n = r.number<std::uint16_t>(most_tokens);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        const std::uint64_t token = r.number<std::uint64_t>();
        b.all.push_back({token, r.number<std::uint64_t>()});
    }
    return b;
}
barred take_barred(reader& r)
{
    barred b;
    b.number = r.number<std::uint64_t>();
    const std::size_t n = r.number<std::uint16_t>(most_tokens);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        const std::uint64_t token = r.number<std::uint64_t>();
        b.keys.push_back({token, r.number<std::uint64_t>()});
    }
    return b;
}
wants take_wants(reader& r)
{
    wants m;
    m.rail = r.number<std::uint8_t>(most_rails - 1);
    const std::size_t n = r.number<std::uint16_t>(most_wants);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        wants::want& x = m.all.emplace_back();
        for (std::uint64_t* field : {&x.number, &x.token, &x.offset, &x.length, &x.key, &x.at})
            *field = r.number<std::uint64_t>();
    }
    return m;
}
served take_served(reader& r)
{
    served m;
    const std::size_t n = r.number<std::uint16_t>(most_served);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        served::one& x = m.all.emplace_back();
        x.number = r.number<std::uint64_t>();
        x.became = r.number<served::how>(static_cast<std::uint64_t>(served::how::broken));
    }
    return m;
}

} // namespace

bytes encode(const address& a)
{
    writer w;
    w.number(address_magic).number(version).number(a.id).number(a.door);
    w.block(std::as_bytes(std::span{a.provider})).number(static_cast<std::uint8_t>(a.rails.size()));
    for (const bytes& r : a.rails) w.block(r);
    return w.take();
}

std::optional<address> decode_address(view in)
{
    reader r{in};
    if (r.number<std::uint32_t>() != address_magic || r.number<std::uint8_t>() != version) return std::nullopt;
    address a;
    a.id = r.number<std::uint64_t>();
    a.door = r.number<std::uint64_t>();
    const bytes name = r.block(most_name);
    a.provider.assign(reinterpret_cast<const char*>(name.data()), name.size());
    const std::size_t n = r.number<std::uint8_t>(most_rails);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        a.rails.push_back(r.block(most_rail_address));
        if (a.rails.back().empty()) return std::nullopt;
    }
    if (!r.done() || a.rails.empty()) return std::nullopt;
    return a;
}

bytes encode(const description& d)
{
    writer w;
    w.number(description_magic).number(version).number(d.access).number(d.token).number(d.length).number(d.base);
    w.number(static_cast<std::uint8_t>(d.keys.size()));
    for (const std::uint64_t k : d.keys) w.number(k);
    return w.take();
}

std::optional<description> decode_description(view in)
{
    reader r{in};
    if (r.number<std::uint32_t>() != description_magic || r.number<std::uint8_t>() != version) return std::nullopt;
    description d;
    d.access = r.number<access>(static_cast<std::uint64_t>(access::read_write));
    d.token = r.number<std::uint64_t>();
    d.length = r.number<std::uint64_t>();
    d.base = r.number<std::uint64_t>(~d.length); // so that no address in it wraps
    const std::size_t n = r.number<std::uint8_t>(most_rails);
    for (std::size_t i = 0; i < n && r.good(); ++i) d.keys.push_back(r.number<std::uint64_t>());
    if (!r.done() || d.keys.empty()) return std::nullopt;
    return d;
}

bytes encode(const letter& l)
{
    writer w;
    w.number(version).number(l.door).number(l.from).number(static_cast<std::uint8_t>(l.records.size()));
    for (const record& r : l.records)
        std::visit([&](const auto& it) { put(w, it); }, r);
    return w.take();
}

std::optional<letter> decode_letter(view in)
{
    reader r{in};
    if (r.number<std::uint8_t>() != version) return std::nullopt;
    letter l;
    l.door = r.number<std::uint64_t>();
    l.from = r.number<std::uint64_t>();
    const std::size_t n = r.number<std::uint8_t>(most_records);
    for (std::size_t i = 0; i < n && r.good(); ++i) {
        switch (r.number<kind>()) {
        case kind::ping: l.records.emplace_back(take_ping(r)); break;
        case kind::bar: l.records.emplace_back(take_bar(r)); break;
        case kind::barred: l.records.emplace_back(take_barred(r)); break;
        case kind::wants: l.records.emplace_back(take_wants(r)); break;
        case kind::served: l.records.emplace_back(take_served(r)); break;
        default: return std::nullopt;
        }
    }
    if (!r.done()) return std::nullopt;
    return l;
}

} // namespace wye::ofi::wire
