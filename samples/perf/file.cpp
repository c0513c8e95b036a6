// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <exception>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <wye/wye.hpp>

#include "raw_file.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

std::string size_name(std::size_t bytes)
{
    return bytes >= 1_MiB ? std::to_string(bytes / 1_MiB) + "MiB" : std::to_string(bytes / 1_KiB) + "KiB";
}

std::string name_of(const load& l)
{
    return std::string{"file/"} + (l.write ? "write/" : "read/") + (l.direct ? "direct/" : "cached/") +
           size_name(l.bytes) + "/qd" + std::to_string(l.depth);
}

std::vector<load> loads()
{
    std::vector<load> all;
    for (const bool write : {false, true})
        for (const bool direct : {true, false}) {
            if (direct) for (const unsigned depth : {8u, 32u}) all.push_back({write, direct, 4_KiB, depth});
            else all.push_back({write, direct, 4_KiB, 1});
            for (const std::size_t bytes : {64_KiB, 1_MiB, 4_MiB})
                for (const unsigned depth : {8u, 32u}) all.push_back({write, direct, bytes, depth});
        }
    return all;
}

constexpr std::size_t buffer_bytes = 32 * 4_MiB; ///< for the deepest of the largest

/// What a load needs, for both sides: the same file, the same memory.
class bench {
public:
    explicit bench(const settings& s)
        : direct_{s.directory, s.file_mib * 1_MiB}, cached_{s.directory, s.file_mib * 1_MiB},
          buffers_{buffer_bytes}
    {
        spawn(open());
        rt_.run();
    }

    const test_file& file_for(const load& l) const { return l.direct ? direct_ : cached_; }

    /// Brings file and page cache into the state that the load supposes.
    void prepare(const load& l) const
    {
        if (l.direct) file_for(l).cool();
        else if (!l.write) file_for(l).warm();
    }

    double megabytes_per_second_ours(const load& l, std::size_t operations)
    {
        settle(l);
        offsets_ = random_offsets(l, operations);
        next_ = 0;
        const auto begin = clock::now();
        for (unsigned slot = 0; slot < l.depth; ++slot) spawn(work(l, slot));
        rt_.run();
        return rate(l, operations, seconds_since(begin));
    }
    double megabytes_per_second_raw(method m, const load& l, std::size_t operations)
    {
        settle(l);
        return rate(l, operations, run_raw(m, l, file_for(l), buffers_, random_offsets(l, operations)));
    }

private:
    /// Whatever it throws comes out of `run`.
    void spawn(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    }

    wye::task<> open()
    {
        memory_ = co_await agent_.register_memory(wye::dram(buffers_));
        wye::file_options options;
        options.create = false;
        open_direct_ = co_await agent_.open_file(direct_.path(), options);
        options.caching = wye::caching::buffered;
        open_cached_ = co_await agent_.open_file(cached_.path(), options);
    }

    wye::task<> work(load l, unsigned slot)
    {
        const wye::slice mine = memory_.block(slot, l.bytes);
        const wye::file& file = l.direct ? open_direct_ : open_cached_;
        while (next_ < offsets_.size()) {
            const wye::slice there = file.at(offsets_[next_++], l.bytes);
            if (l.write) co_await wye::copy(mine, there);
            else co_await wye::copy(there, mine);
        }
    }

    /// What earlier writes left dirty must not be paid for by whoever comes next.
    void settle(const load& l) const { if (l.write) file_for(l).sync(); }

    std::vector<std::uint64_t> random_offsets(const load& l, std::size_t n)
    {
        std::vector<std::uint64_t> offsets(n);
        std::uniform_int_distribution<std::uint64_t> blocks{0, file_for(l).size() / l.bytes - 1};
        for (std::uint64_t& o : offsets) o = blocks(random_) * l.bytes;
        return offsets;
    }
    static double rate(const load& l, std::size_t operations, double seconds)
    {
        return static_cast<double>(l.bytes * operations) / seconds / 1e6;
    }

    test_file direct_, cached_;
    wye::arena buffers_;
    wye::runtime rt_;
    wye::agent agent_{rt_, "perf"};
    wye::region memory_;
    wye::file open_direct_, open_cached_;
    std::vector<std::uint64_t> offsets_;
    std::size_t next_ = 0;
    std::mt19937_64 random_{7};
};

constexpr std::size_t slices = 18; ///< that the time of a case is cut into

/// So many operations that a slice takes its share of the time, and the ends of a slice weigh little.
std::size_t operations_of_slice(const load& l, double megabytes_per_second, double seconds)
{
    const double wanted = megabytes_per_second * 1e6 * seconds / slices / static_cast<double>(l.bytes);
    return std::max<std::size_t>(static_cast<std::size_t>(wanted), 4 * l.depth);
}

struct best_raw {
    method how{};
    double rate = 0;
};

/// The method of plain code that is fastest here: by the best of three rounds each, since a disturbance only
/// ever slows one down.
best_raw find_best(bench& b, const load& l, double seconds)
{
    best_raw best;
    for (int round = 0; round < 3; ++round) {
        for (const method m : methods) {
            if (!can(m, l)) continue;
            const double guess = b.megabytes_per_second_raw(m, l, 4 * l.depth);
            const double rate = b.megabytes_per_second_raw(m, l, operations_of_slice(l, guess, seconds));
            if (rate > best.rate) best = {m, rate};
        }
    }
    return best;
}

std::optional<double> against_fio(bench& b, const load& l, method m, std::size_t operations)
{
    std::vector<double> ratios;
    for (int i = 0; i < 3; ++i) {
        const double raw = b.megabytes_per_second_raw(m, l, operations);
        if (const auto fio = run_fio(l, b.file_for(l))) ratios.push_back(raw / *fio);
    }
    if (ratios.empty()) return {};
    return median(std::move(ratios));
}

result measure(bench& b, const settings& s, const load& l)
{
    b.prepare(l);
    result r{name_of(l), "MB/s", {}, {}, {}, {}, {}};
    if (!s.against_raw) {
        const std::size_t n = operations_of_slice(l, b.megabytes_per_second_ours(l, 4 * l.depth), s.seconds);
        r.ours = median(repeat(s.seconds, 5, [&] { return b.megabytes_per_second_ours(l, n); }));
        return r;
    }
    const best_raw best = find_best(b, l, s.seconds);
    const std::size_t n = operations_of_slice(l, best.rate, s.seconds);
    const paired p = alternate(s.seconds, 5, [&] { return b.megabytes_per_second_ours(l, n); },
                               [&] { return b.megabytes_per_second_raw(best.how, l, n); });
    r.ours = p.ours;
    r.raw = p.raw;
    r.ratio = p.ratio;
    r.note = std::string{"raw: "} + name_of(best.how);
    if (s.check_raw) r.raw_over_tool = against_fio(b, l, best.how, n);
    return r;
}

} // namespace

void run_file(const settings& s, report& r)
{
    if (s.file_mib < 64) throw std::runtime_error{"--file-mib must be at least 64"};
    bench b{s};
    for (const load& l : loads())
        if (r.wants(name_of(l))) r.add(measure(b, s, l));
}

} // namespace perf
