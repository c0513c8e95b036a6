// SPDX-License-Identifier: Apache-2.0
#pragma once

// The runtime's side of the driver seam, as far as the file driver's tests need it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wye/driver.hpp>
#include <wye/drivers.hpp>
#include <wye/file.hpp>

namespace seam {

using namespace wye::literals;

/// A chunk that remembers how it ended. `chunk::done` of these tests fills it in.
struct loan : wye::chunk {
    bool over = false;
    wye::error_code error;
    std::size_t bytes = 0;
    unsigned turn = 0; ///< how many had ended before
    std::function<void()> then;
};
inline unsigned ended = 0;

inline auto all_over(const std::deque<loan>& loans)
{
    return [&loans] { return std::all_of(loans.begin(), loans.end(), [](const loan& l) { return l.over; }); };
}

/// DRAM as the runtime would register it, page-aligned.
class dram : public wye::segment {
public:
    explicit dram(std::size_t bytes) : segment{wye::tier::dram}
    {
        void* const m = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m == MAP_FAILED) throw std::bad_alloc{};
        base = static_cast<std::byte*>(m);
        length = bytes;
    }
    ~dram() override { ::munmap(base, length); }
    /// Bytes that tell where they are; a different `seed`, different bytes.
    void fill(std::uint32_t seed)
    {
        for (std::uint64_t i = 0; i < length; ++i) base[i] = pattern(seed, i);
    }
    static std::byte pattern(std::uint32_t seed, std::uint64_t at)
    {
        return static_cast<std::byte>(((at + seed) * 2654435761u) >> 13);
    }
    wye::slice at(std::uint64_t offset, std::uint64_t bytes) { return {this, offset, bytes}; }
};

/// A directory that goes with what is in it. In the working directory, which is on a disk where /tmp may not
/// be.
class scratch {
public:
    scratch()
    {
        char name[] = "file_driver_test.XXXXXX";
        if (!::mkdtemp(name)) throw std::runtime_error{"no scratch directory"};
        path_ = name;
    }
    scratch(const scratch&) = delete;
    ~scratch()
    {
        const std::string command = "rm -rf " + path_;
        [[maybe_unused]] const int status = std::system(command.c_str());
    }
    std::string operator/(const char* name) const { return path_ + "/" + name; }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

inline std::uint64_t size_of(const std::string& path)
{
    struct stat s {};
    return ::stat(path.c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : ~0ull;
}

inline bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

/// Read past the driver.
inline std::vector<std::byte> contents(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    std::vector<std::byte> all(size_of(path));
    in.read(reinterpret_cast<char*>(all.data()), static_cast<std::streamsize>(all.size()));
    return all;
}

inline void make_file(const std::string& path, std::size_t bytes, std::uint32_t seed)
{
    dram d{bytes};
    d.fill(seed);
    std::ofstream out{path, std::ios::binary | std::ios::trunc};
    out.write(reinterpret_cast<const char*>(d.base), static_cast<std::streamsize>(bytes));
}

struct outcome {
    wye::error_code error;
    std::uint64_t bytes = 0;
};

/// A driver and the loop that drives it.
class world {
public:
    explicit world(wye::drivers::file_engine e, wye::drivers::file_driver_options o = {})
    {
        o.engine = e;
        driver = wye::drivers::file(o);
    }

    std::size_t pass()
    {
        driver->flush();
        return driver->poll(wye::turn{});
    }
    template <class Done>
    void until(Done done)
    {
        while (!done()) pass();
    }

    std::unique_ptr<wye::segment> open(const std::string& path, const wye::file_options& options,
                                       wye::error_code& error)
    {
        std::unique_ptr<wye::segment> file;
        bool over = false;
        driver->open_file(path, options, [&](wye::error_code e, std::unique_ptr<wye::segment> s) {
            error = e, file = std::move(s), over = true;
        });
        until([&] { return over; });
        return file;
    }
    std::unique_ptr<wye::segment> open(const std::string& path, wye::caching c = wye::caching::direct)
    {
        wye::file_options options;
        options.caching = c;
        wye::error_code error;
        auto file = open(path, options, error);
        if (!file) throw wye::system_error{error, path};
        return file;
    }
    wye::error_code sync(wye::segment& file)
    {
        std::optional<wye::error_code> result;
        driver->sync(file, [&](wye::error_code e) { result = e; });
        until([&] { return result.has_value(); });
        return *result;
    }
    wye::error_code enlist(wye::segment& memory)
    {
        std::optional<wye::error_code> result;
        driver->enlist(memory, [&](wye::error_code e) { result = e; });
        until([&] { return result.has_value(); });
        return *result;
    }

    void submit(loan& l, wye::slice from, wye::slice to)
    {
        l.from = from, l.to = to;
        while (!driver->submit(l)) pass();
    }
    /// As the runtime does: what came short is asked for again, until nothing comes.
    outcome copy(wye::slice from, wye::slice to)
    {
        outcome all;
        while (all.bytes < from.length) {
            loan l;
            submit(l, from.sub(all.bytes, from.length - all.bytes), to.sub(all.bytes, to.length - all.bytes));
            until([&] { return l.over; });
            all.bytes += l.bytes;
            all.error = l.error;
            if (l.error || l.bytes == 0) break;
        }
        return all;
    }

    std::unique_ptr<wye::driver> driver;
};

inline wye::slice at(const std::unique_ptr<wye::segment>& file, std::uint64_t offset, std::uint64_t length)
{
    return {file.get(), offset, length};
}

} // namespace seam
