// SPDX-License-Identifier: Apache-2.0
// Writes to another agent over libfabric, both on loopback and in one thread, against the same loop in plain code.
#include <algorithm>
#include <exception>
#include <numeric>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <wye/libfabric.hpp>
#include <wye/wye.hpp>

#include "null_fabric.hpp"
#include "raw_fabric.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

struct writes {
    std::size_t bytes;
    unsigned window;
    bool batch = false; ///< all of the window as one transfer
};

constexpr writes cases[] = {{4_KiB, 1}, {4_KiB, 16}, {64_KiB, 16}, {1_MiB, 16}, {16_MiB, 4}, {64_KiB, 1000, true}};
constexpr std::size_t area_bytes = 64_MiB;

std::string name_of(const writes& w)
{
    const bool large = w.bytes >= 1_MiB;
    const std::string size = std::to_string(w.bytes / (large ? 1_MiB : 1_KiB)) + (large ? "MiB" : "KiB");
    return std::string{"fabric/"} + (w.batch ? "batch/" : "write/") + size + "/w" + std::to_string(w.window);
}

wye::libfabric_options one_rail()
{
    wye::libfabric_options o;
    o.provider = "tcp;ofi_rxm";
    return o;
}

wye::agent_options knowing(std::string secret)
{
    wye::agent_options o;
    o.peers.secret = std::move(secret);
    return o;
}

class bench {
public:
    bench() : raw_{area_bytes}, sent_(area_bytes), landed_(area_bytes)
    {
        here_.add(wye::make_libfabric(one_rail()));
        there_.add(wye::make_libfabric(one_rail()));
        spawn(open());
        rt_.run();
    }

    double megabytes_per_second_ours(const writes& w, std::size_t operations)
    {
        left_ = operations;
        const auto begin = clock::now();
        if (w.batch) spawn(batches(w));
        else for (unsigned slot = 0; slot < w.window; ++slot) spawn(work(w, slot));
        rt_.run();
        return rate(w, operations, seconds_since(begin));
    }
    double megabytes_per_second_raw(const writes& w, std::size_t operations)
    {
        return rate(w, operations, raw_.write(w.bytes, std::min(w.window, 64u), operations));
    }

private:
    void spawn(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    }
    wye::task<> open()
    {
        from_ = co_await here_.register_memory(wye::dram(sent_));
        pool_ = co_await there_.register_memory(wye::dram(landed_));
        co_await there_.publish("kv", pool_);
        to_ = co_await here_.connect(there_.metadata());
        kv_ = to_.published("kv");
    }
    wye::task<> work(writes w, unsigned slot)
    {
        for (; left_ != 0;) {
            --left_;
            co_await wye::copy(from_.block(slot, w.bytes), kv_.block(slot, w.bytes));
        }
    }
    wye::task<> batches(writes w)
    {
        std::vector<wye::transfer> all;
        for (unsigned i = 0; i < w.window; ++i) all.push_back({from_.block(i, w.bytes), kv_.block(i, w.bytes)});
        for (; left_ >= w.window; left_ -= w.window) co_await wye::copy(all);
    }
    static double rate(const writes& w, std::size_t operations, double seconds)
    {
        return static_cast<double>(w.bytes * operations) / seconds / 1e6;
    }

    raw_fabric raw_;
    std::vector<std::byte> sent_, landed_;
    wye::runtime rt_;
    wye::agent here_{rt_, "here", knowing("perf")}, there_{rt_, "there", knowing("perf")};
    wye::region from_, pool_;
    wye::peer to_;
    wye::slice kv_;
    std::size_t left_ = 0;
};

/// Pages from a prepared list to a peer over four rails that do nothing.
class null_bench {
public:
    static constexpr std::size_t pages = 1000;

    null_bench() : memory_(pages * 4_KiB)
    {
        auto& mine = here_.add(std::make_unique<null_fabric>(4, nullptr));
        there_.add(std::make_unique<null_fabric>(4, &mine));
        drive(open());
    }
    /// Of one page, from before its `copy` to its completion.
    double nanoseconds(std::size_t batches)
    {
        const auto begin = clock::now();
        drive(work(batches));
        return seconds_since(begin) * 1e9 / static_cast<double>(batches * pages);
    }

private:
    void drive(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
        rt_.run();
    }
    wye::task<> open()
    {
        from_ = co_await here_.register_memory(wye::dram(memory_));
        pool_ = co_await there_.register_memory(wye::dram(memory_));
        co_await there_.publish("kv", pool_);
        to_ = co_await here_.connect(there_.metadata());
        ours_ = here_.prepare(wye::blocks_of(from_, 4_KiB));
        theirs_ = here_.prepare(wye::blocks_of(to_.published("kv"), 4_KiB));
        std::iota(indices_.begin(), indices_.end(), 0);
    }
    wye::task<> work(std::size_t batches)
    {
        for (; batches != 0; --batches) co_await wye::copy(ours_.select(indices_), theirs_.select(indices_));
    }

    std::vector<std::byte> memory_;
    wye::runtime rt_;
    wye::agent here_{rt_, "here", knowing("perf")}, there_{rt_, "there", knowing("perf")};
    wye::region from_, pool_;
    wye::peer to_;
    wye::prepared ours_, theirs_;
    std::vector<std::uint32_t> indices_ = std::vector<std::uint32_t>(pages);
};

void measure_prepared(const settings& s, report& r)
{
    if (!r.wants("fabric/prepared_ns_per_page")) return;
    null_bench b;
    b.nanoseconds(10); // memory is allocated, rates are learned
    result one{"fabric/prepared_ns_per_page", "ns", {}, {}, {}, {}, "4 KiB to a peer, four rails that do nothing; libfabric is not in it"};
    one.ours = median(repeat(s.seconds, 5, [&] { return b.nanoseconds(20); }));
    r.add(one);
}

constexpr std::size_t slices = 18; ///< that the time of a case is cut into

result measure(bench& b, const settings& s, const writes& w)
{
    b.megabytes_per_second_ours(w, w.window); // connections are made, pages are touched
    const double guess = b.megabytes_per_second_raw(w, 4 * w.window);
    const double wanted = guess * 1e6 * s.seconds / slices / static_cast<double>(w.bytes);
    const std::size_t n = std::max<std::size_t>(static_cast<std::size_t>(wanted) / w.window, 4) * w.window;
    result r{name_of(w), "MB/s", {}, {}, {}, {}, "tcp;ofi_rxm, one thread for both ends"};
    if (!s.against_raw) {
        r.ours = median(repeat(s.seconds, 5, [&] { return b.megabytes_per_second_ours(w, n); }));
        return r;
    }
    const paired p = alternate(s.seconds, 5, [&] { return b.megabytes_per_second_ours(w, n); },
                               [&] { return b.megabytes_per_second_raw(w, n); });
    r.ours = p.ours;
    r.raw = p.raw;
    r.ratio = p.ratio;
    return r;
}

} // namespace

void run_fabric(const settings& s, report& r)
{
    measure_prepared(s, r);
    bench b;
    for (const writes& w : cases)
        if (r.wants(name_of(w))) r.add(measure(b, s, w));
}

} // namespace perf
