// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/mount.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>

#include <wye/drivers.hpp>

#include "support/driver_seam.hpp"

/// Directories to test a directory store in, and the calls of one at the driver seam.
namespace wye::seam {

namespace fs = std::filesystem;
using bytes = std::vector<std::byte>;

inline bytes pattern(std::size_t n, unsigned seed = 1)
{
    std::mt19937 random{seed};
    bytes v(n);
    for (std::byte& b : v) b = static_cast<std::byte>(random());
    return v;
}

struct memory_segment : segment {
    explicit memory_segment(bytes& of) : segment{tier::dram}
    {
        base = of.data();
        length = of.size();
    }
};

/// A directory of its own, gone with everything in it afterwards.
struct temporary_directory {
    temporary_directory()
    {
        std::string name = fs::temp_directory_path() / "wye-directory-XXXXXX";
        if (!::mkdtemp(name.data())) throw std::runtime_error{"mkdtemp"};
        path = name;
    }
    ~temporary_directory()
    {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    /// Files of any kind, the store's own included.
    std::size_t files() const
    {
        const auto all = fs::recursive_directory_iterator{path};
        const auto file = [](const fs::directory_entry& e) { return !e.is_directory(); };
        return static_cast<std::size_t>(std::count_if(begin(all), end(all), file));
    }
    std::string url() const { return "dir:" + path.string(); }

    fs::path path;
};

/// A filesystem of its own, where we may mount one.
struct mounted_directory : temporary_directory {
    mounted_directory(const char* type, const char* options)
        : mounted{::mount("none", path.c_str(), type, MS_NOSUID | MS_NODEV, options) == 0}
    {
    }
    ~mounted_directory()
    {
        if (mounted) ::umount2(path.c_str(), MNT_DETACH);
    }
    bool mounted;
};

inline boost::test_tools::assertion_result may_mount(boost::unit_test::test_unit_id)
{
    const mounted_directory probe{"tmpfs", "size=64k"};
    boost::test_tools::assertion_result result{probe.mounted};
    result.message() << "mounting a filesystem is not permitted here (needs root)";
    return result;
}

/// A driver and one open store.
struct world {
    explicit world(const std::string& url, wye::access a = access::read_write,
                   drivers::directory_options o = {})
        : d{drivers::directory(o)}
    {
        store = open(url, a, failed);
    }
    /// Of another driver.
    world(std::unique_ptr<driver> by, const std::string& url, wye::access a = access::read_write) : d{std::move(by)}
    {
        store = open(url, a, failed);
    }
    std::unique_ptr<object_store> open(const std::string& url, wye::access a, error_code& e)
    {
        std::unique_ptr<object_store> opened;
        bool over = false;
        d->open_store(url, a, [&](error_code failure, std::unique_ptr<object_store> s) {
            e = failure;
            opened = std::move(s);
            over = true;
        });
        drive(*d, [&] { return over; });
        return opened;
    }

    /// One sole PUT.
    error_code put(const std::string& key, bytes data, std::optional<std::uint32_t> sum = {})
    {
        return put(*store->locate(key), std::move(data), sum);
    }
    error_code put(segment& object, bytes data, std::optional<std::uint32_t> sum = {})
    {
        memory_segment memory{data};
        auto c = chunk_of({&memory, 0, data.size()}, {&object, 0, data.size()});
        c.sole = true;
        c.has_checksum = sum.has_value();
        c.checksum = sum.value_or(0);
        move(*d, c);
        return c.error;
    }
    struct reading {
        error_code error;
        bytes data;
        std::optional<std::uint32_t> sum;
    };
    /// One GET of `[offset, offset + length)`.
    reading get(const std::string& key, std::size_t length, std::uint64_t offset = 0, bool whole = false)
    {
        return get(*store->locate(key), length, offset, whole);
    }
    reading get(segment& object, std::size_t length, std::uint64_t offset = 0, bool whole = false)
    {
        reading r;
        r.data.resize(length);
        memory_segment memory{r.data};
        auto c = chunk_of({&object, offset, length}, {&memory, 0, length});
        c.sole = whole;
        move(*d, c);
        r.error = c.error;
        r.data.resize(c.bytes);
        if (c.has_checksum) r.sum = static_cast<std::uint32_t>(c.checksum);
        return r;
    }
    error_code remove(const std::string& key)
    {
        error_code e;
        bool over = false;
        store->remove(key, [&](error_code failure) {
            e = failure;
            over = true;
        });
        drive(*d, [&] { return over; });
        return e;
    }
    std::pair<error_code, object_info> stat(const std::string& key)
    {
        std::pair<error_code, object_info> result;
        bool over = false;
        store->stat(key, [&](error_code e, object_info i) {
            result = {e, std::move(i)};
            over = true;
        });
        drive(*d, [&] { return over; });
        return result;
    }
    object_page page(const std::string& prefix, const std::string& after, std::size_t most)
    {
        object_page result;
        bool over = false;
        store->list(prefix, after, most, [&](error_code e, object_page p) {
            BOOST_TEST(!e, e.message());
            result = std::move(p);
            over = true;
        });
        drive(*d, [&] { return over; });
        BOOST_TEST(result.objects.size() <= most);
        return result;
    }
    std::vector<std::string> list(const std::string& prefix = {}, std::size_t most = 1000)
    {
        std::vector<std::string> keys;
        object_page p;
        do {
            p = page(prefix, keys.empty() ? std::string{} : keys.back(), most);
            for (const object_info& o : p.objects) keys.push_back(o.key);
        } while (p.more);
        return keys;
    }

    static chunk chunk_of(slice from, slice to)
    {
        chunk c;
        c.from = from;
        c.to = to;
        c.total = from.length;
        return c;
    }

    std::unique_ptr<driver> d;
    std::unique_ptr<object_store> store;
    error_code failed;
};

/// An object written or read in pieces, as the runtime does it. One side of the opening chunk is left empty.
struct session {
    session(world& in, const std::string& key, bytes& memory_bytes) : session{in, in.store->locate(key), memory_bytes} {}
    session(world& in, std::unique_ptr<segment> named, bytes& memory_bytes)
        : w{in}, object{std::move(named)}, memory{memory_bytes}
    {
    }
    error_code open_put(std::uint64_t size)
    {
        return control(step::open, {nullptr, 0, size}, {object.get(), 0, size});
    }
    error_code open_get(std::uint64_t length = slice::whole)
    {
        return control(step::open, {object.get(), 0, length}, {nullptr, 0, length});
    }
    error_code commit(std::optional<std::uint32_t> keep = {})
    {
        return control(step::commit, {nullptr, 0, total}, {object.get(), 0, total}, keep);
    }
    error_code abandon() { return control(step::abandon, {nullptr, 0, total}, {object.get(), 0, total}); }
    chunk put_piece(std::uint64_t at, std::size_t n)
    {
        return piece({&memory, at, n}, {object.get(), at, n});
    }
    chunk get_piece(std::uint64_t at, std::size_t n)
    {
        return piece({object.get(), at, n}, {&memory, at, n});
    }

    error_code control(wye::step s, slice from, slice to, std::optional<std::uint32_t> keep = {})
    {
        auto c = piece(from, to);
        c.step = s;
        c.total = from.length;
        c.has_checksum = keep.has_value();
        c.checksum = keep.value_or(0);
        move(*w.d, c);
        id = c.session;
        total = c.total;
        sum = c.has_checksum ? std::optional{static_cast<std::uint32_t>(c.checksum)} : std::nullopt;
        return c.error;
    }
    chunk piece(slice from, slice to) const
    {
        auto c = world::chunk_of(from, to);
        c.session = id;
        return c;
    }

    world& w;
    std::unique_ptr<segment> object;
    memory_segment memory;
    std::uintptr_t id = 0;
    std::uint64_t total = 0;
    std::optional<std::uint32_t> sum;
};

} // namespace wye::seam
