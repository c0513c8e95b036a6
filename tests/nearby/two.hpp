// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include <wye/same_host.hpp>

#include "support/driver_seam.hpp"

/// Two drivers of one process that know each other, without a runtime: the test polls each of them when it likes. Include
/// it in one file of a program, as `driver_seam.hpp`.
namespace wye {

inline std::ostream& boost_test_print_type(std::ostream& out, errc e) { return out << make_error_code(e).message(); }

inline std::vector<std::vector<std::byte>> heard;
inline std::vector<std::uint32_t> went; ///< peers, as their fabrics said
inline std::function<void()> on_message;

void fabric::received(std::span<const std::byte> m) noexcept
{
    heard.emplace_back(m.begin(), m.end());
    if (on_message) on_message();
}
void fabric::gone(std::uint32_t peer) noexcept { went.push_back(peer); }

namespace seam {

using bytes = std::vector<std::byte>;
using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Memory as the runtime would have it.
struct area : segment {
    explicit area(std::size_t n, std::byte with = {}) : segment{tier::dram}, content(n, with)
    {
        base = content.data();
        length = n;
    }
    bytes content;
};

inline bytes pattern(std::size_t n, std::uint64_t seed)
{
    bytes b(n);
    for (std::byte& x : b) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x = static_cast<std::byte>(seed >> 56);
    }
    return b;
}

/// Polls all of them until `over`, or so long.
template <class Over>
bool poll(std::initializer_list<fabric*> all, Over over, std::chrono::milliseconds longest = 20s)
{
    for (const auto end = steady::now() + longest; !over();) {
        if (steady::now() > end) return false;
        for (fabric* f : all)
            if (f) f->poll({});
    }
    return true;
}

/// The number by which it is admitted, or why it is not.
inline error_code admit(fabric& f, const bytes& address, std::uint32_t& number)
{
    error_code failed = errc::shut_down;
    f.admit(address, [&](error_code e, std::uint32_t n) {
        failed = e;
        number = n;
    });
    poll({&f}, [&] { return failed != errc::shut_down; });
    return failed;
}

inline fabric::key grant(fabric& f, segment& s, access rights)
{
    fabric::key key;
    f.grant(s, rights, [&](error_code, fabric::key k) { key = std::move(k); });
    return key;
}

struct two {
    explicit two(std::size_t length, access rights = access::read_write, const same_host_options& o = {})
        : here{make_same_host(o)}, there{make_same_host(o)}, from{length}, pool{length}, key{grant(*there, pool, rights)}
    {
        heard.clear();
        went.clear();
        if (admit(*here, there->address(), them) || admit(*there, here->address(), us))
            throw std::runtime_error{"they do not come to know each other"};
        kv = import(key);
    }
    std::unique_ptr<segment> import(const fabric::key& k, std::uint64_t length = 0)
    {
        std::unique_ptr<segment> s = here->import(them, tier::dram, 0, length ? length : pool.length, k.description);
        if (!s) return s;
        s->peer = them;
        s->home = here.get();
        return s;
    }
    /// A piece of the write from `from` to `kv`, or of the read.
    chunk& go(std::size_t at, std::size_t to, std::size_t n, bool write = true)
    {
        chunk& c = chunks.emplace_back();
        c.from = {&from, at, n};
        c.to = {kv.get(), to, n};
        if (!write) std::swap(c.from, c.to);
        if (!here->submit(c)) throw std::runtime_error{"refused"};
        here->flush();
        return c;
    }
    bool both(auto over, std::chrono::milliseconds longest = 20s) { return poll({here.get(), there.get()}, over, longest); }
    error_code move(std::size_t at, std::size_t to, std::size_t n, bool write = true)
    {
        chunk& c = go(at, to, n, write);
        if (!both([&] { return c.ends != 0; })) throw std::runtime_error{"it hangs"};
        const error_code e = c.error;
        if (!e && (c.ends != 1 || c.bytes != n)) throw std::runtime_error{"not all of it, once"};
        chunks.pop_back();
        return e;
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
