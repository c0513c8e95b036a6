// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <wye/libfabric.hpp>

#include "support/driver_seam.hpp"

/// Two drivers that know each other, without a runtime: the test polls each of them when it likes, and so decides who
/// is silent. Include it in one file of a program, as `driver_seam.hpp`.
namespace wye {

inline std::ostream& boost_test_print_type(std::ostream& out, errc e) { return out << make_error_code(e).message(); }

inline std::vector<std::vector<std::byte>> heard;
inline std::uint64_t told_lost = 0; ///< rails

void fabric::received(std::span<const std::byte> m) noexcept { heard.emplace_back(m.begin(), m.end()); }
void driver::lost(std::uint32_t rail) noexcept { told_lost |= std::uint64_t{1} << rail; }

namespace seam {

using bytes = std::vector<std::byte>;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

inline libfabric_options loopback(std::uint32_t rails)
{
    libfabric_options o;
    for (std::uint32_t i = 1; i <= rails; ++i) o.rails.push_back("127.0.0." + std::to_string(i));
    o.connect_within = 2s;
    o.bar_within = 3s;
    return o;
}

/// Memory as the runtime would enlist it.
struct area : segment {
    explicit area(std::size_t n, std::byte with = {}) : segment{tier::dram}, content(n, with)
    {
        base = content.data();
        length = n;
    }
    bytes content;
};

/// Polls all of them until `over`, or so long.
template <class Over>
bool poll(std::initializer_list<fabric*> all, Over over, std::chrono::milliseconds longest = 30s)
{
    for (const auto end = steady::now() + longest; !over();) {
        if (steady::now() > end) return false;
        for (fabric* f : all)
            if (f) f->poll({});
    }
    return true;
}

/// For a while.
inline void poll_for(std::initializer_list<fabric*> all, std::chrono::milliseconds time)
{
    poll(all, [] { return false; }, time);
}

struct two {
    two(std::size_t length, const libfabric_options& ours, const libfabric_options& theirs,
        access rights = access::read_write)
        : here{make_libfabric(ours)}, there{make_libfabric(theirs)}, from{length, std::byte{0x5a}}, pool{length}
    {
        bool ready = false;
        here->enlist(from, [&](error_code) { ready = true; });
        there->enlist(pool, [](error_code) {});
        there->grant(pool, rights, [this](error_code, fabric::key k) { key = std::move(k); });
        here->admit(there->address(), [this](error_code e, std::uint32_t n) { admitted(e, n, them); });
        there->admit(here->address(), [this](error_code e, std::uint32_t n) { admitted(e, n, us); });
        if (!poll({here.get(), there.get()}, [&] { return ready && them != 0 && us != 0 && !key.description.empty(); }))
            throw std::runtime_error{"they do not come to know each other"};
        kv = here->import(them, tier::dram, 0, length, key.description);
        kv->peer = them;
        kv->home = here.get();
        kv->access = rights;
    }
    ~two()
    {
        here->dismiss(from);
        if (there) there->dismiss(pool);
    }
    static void admitted(error_code e, std::uint32_t n, std::uint32_t& number)
    {
        if (e) throw system_error(e, "admit");
        number = n;
    }

    /// A piece of the write from `from` to the same place of `pool`, or of the read.
    chunk& piece(std::size_t at, std::size_t n, std::uint32_t rail, bool write = true)
    {
        chunk& c = chunks.emplace_back();
        c.from = {&from, at, n};
        c.to = {kv.get(), at, n};
        if (!write) std::swap(c.from, c.to);
        c.rail = rail;
        return c;
    }
    chunk& go(std::size_t at, std::size_t n, std::uint32_t rail, bool write = true)
    {
        chunk& c = piece(at, n, rail, write);
        const auto taken = [&] { return here->submit(c); };
        if (!poll({here.get(), there.get()}, taken)) throw std::runtime_error{"never taken"};
        return c;
    }
    bool all_over() const
    {
        for (const chunk& c : chunks)
            if (c.ends == 0) return false;
        return true;
    }
    bool both(auto over, std::chrono::milliseconds longest = 30s)
    {
        return poll({here.get(), there.get()}, over, longest);
    }

    std::unique_ptr<fabric> here, there;
    area from, pool;
    fabric::key key;
    std::uint32_t them = 0, us = 0; // their number here, ours there
    std::unique_ptr<segment> kv;
    std::deque<chunk> chunks;
};

} // namespace seam
} // namespace wye
