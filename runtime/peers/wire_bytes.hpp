// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "wire.hpp"

/// What visits the fields of a thing (wire_fields.hpp) to count, write or read them: all three have the same
/// functions, so that they cannot disagree.
namespace wye::detail::wire {

/// Little-endian on any host; to as many bytes as the number has.
template <std::integral T>
void store(std::byte* to, T value) noexcept
{
    const auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(bits >> (8 * i));
}

template <std::integral T>
T load(const std::byte* from) noexcept
{
    std::make_unsigned_t<T> bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        bits = static_cast<decltype(bits)>(bits | std::to_integer<decltype(bits)>(from[i]) << (8 * i));
    return static_cast<T>(bits);
}

/// Counts the bytes that a `writer` would write.
class sizer {
public:
    std::size_t bytes() const noexcept { return bytes_; }

    template <std::integral T>
    void number(const T&) noexcept { bytes_ += sizeof(T); }
    void flag(const bool&) noexcept { bytes_ += 1; }
    template <class E>
    void choice(const E&, E) noexcept { bytes_ += 1; }
    void name(std::string_view text) noexcept { bytes_ += 1 + text.size(); }
    template <class Bytes>
    void block(const Bytes& b, std::size_t) noexcept { bytes_ += 2 + b.size(); }
    template <std::size_t n>
    void raw(const std::array<std::byte, n>&) noexcept { bytes_ += n; }
    template <class T>
    void count(const std::vector<T>&, std::size_t, std::size_t) noexcept { bytes_ += 1; }
    template <class Condition>
    void require(Condition) noexcept {}

private:
    std::size_t bytes_ = 0;
};

/// Appends. What is out of bounds is the caller's bug.
class writer {
public:
    explicit writer(bytes& out) noexcept : out_(out) {}

    template <std::integral T>
    void number(const T& value)
    {
        std::array<std::byte, sizeof(T)> stored;
        store(stored.data(), value);
        raw(stored);
    }
    void flag(const bool& set) { number<std::uint8_t>(set); }
    template <class E>
    void choice(const E& e, [[maybe_unused]] E last)
    {
        assert(e <= last);
        number(static_cast<std::uint8_t>(e));
    }
    void name(std::string_view text)
    {
        assert(!text.empty() && text.size() <= std::numeric_limits<std::uint8_t>::max());
        number(static_cast<std::uint8_t>(text.size()));
        append(std::as_bytes(std::span{text}));
    }
    template <class Bytes> // a string or bytes
    void block(const Bytes& b, [[maybe_unused]] std::size_t most)
    {
        assert(b.size() <= most);
        number(static_cast<std::uint16_t>(b.size()));
        append(std::as_bytes(std::span{b}));
    }
    template <std::size_t n>
    void raw(const std::array<std::byte, n>& from) { append(from); }
    template <class T>
    void count(const std::vector<T>& list, [[maybe_unused]] std::size_t most, std::size_t)
    {
        assert(list.size() <= most);
        number(static_cast<std::uint8_t>(list.size()));
    }
    template <class Condition>
    void require([[maybe_unused]] Condition holds) { assert(holds()); }
    void append(view from)
    {
        // Not insert: g++ 12 warns of its copies once it sees how the vector began.
        const std::size_t at = out_.size();
        out_.resize(at + from.size());
        std::copy(from.begin(), from.end(), out_.begin() + static_cast<std::ptrdiff_t>(at));
    }

private:
    bytes& out_;
};

/// Takes from the front of what it was given, and never beyond its end. The first thing that is missing or out of
/// bounds fails it for good, and from then on all that it gives is zero or empty: one look at the end is enough.
class reader {
public:
    explicit reader(view in) noexcept : rest_(in) {}

    bool good() const noexcept { return good_; }
    bool empty() const noexcept { return rest_.empty(); }
    /// Whether all was well, and nothing is left over.
    bool complete() const noexcept { return good_ && rest_.empty(); }

    void fail() noexcept
    {
        good_ = false;
        rest_ = {};
    }
    view take(std::size_t n) noexcept
    {
        if (n > rest_.size()) {
            fail();
            return {};
        }
        const view taken = rest_.first(n);
        rest_ = rest_.subspan(n);
        return taken;
    }
    template <std::integral T>
    T take() noexcept
    {
        const view from = take(sizeof(T));
        return from.empty() ? T{} : load<T>(from.data());
    }

    template <std::integral T>
    void number(T& value) noexcept { value = take<T>(); }
    void flag(bool& set) noexcept
    {
        const auto value = take<std::uint8_t>();
        if (value > 1) fail();
        set = value == 1;
    }
    template <class E>
    void choice(E& e, E last) noexcept
    {
        const auto value = take<std::uint8_t>();
        if (value > static_cast<std::uint8_t>(last)) return fail();
        e = static_cast<E>(value);
    }
    void name(std::string& text)
    {
        const view from = take(take<std::uint8_t>());
        if (from.empty()) return fail();
        assign(text, from);
    }
    template <class Bytes>
    void block(Bytes& b, std::size_t most)
    {
        const auto length = take<std::uint16_t>();
        if (length > most) return fail();
        assign(b, take(length));
    }
    template <std::size_t n>
    void raw(std::array<std::byte, n>& to) noexcept
    {
        const view from = take(n);
        std::copy(from.begin(), from.end(), to.begin());
    }
    /// Makes as many as are said to follow, if there can be: one takes `least` bytes.
    template <class T>
    void count(std::vector<T>& list, std::size_t most, std::size_t least)
    {
        const std::size_t n = take<std::uint8_t>();
        if (n > most || n * least > rest_.size()) return fail();
        list.resize(n);
    }
    template <class Condition>
    void require(Condition holds)
    {
        if (good_ && !holds()) fail();
    }

private:
    static void assign(std::string& to, view from)
    {
        to.assign(reinterpret_cast<const char*>(from.data()), from.size());
    }
    static void assign(bytes& to, view from) { to.assign(from.begin(), from.end()); }
    static void assign(view& to, view from) noexcept { to = from; }
    static void assign(std::string_view& to, view from) noexcept
    {
        to = {reinterpret_cast<const char*>(from.data()), from.size()};
    }

    view rest_;
    bool good_ = true;
};

} // namespace wye::detail::wire
