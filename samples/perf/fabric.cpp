// SPDX-License-Identifier: Apache-2.0
// Writes to another agent over libfabric, both on loopback and in one thread, against the same loop in plain code. Those to
// another process of this machine are in same_host.cpp.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
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

enum class kind : std::uint8_t {
    write,
    batch,        ///< all of the window as one transfer
    write_notify, ///< each tells the peer, which counts them
};

struct writes {
    std::size_t bytes;
    unsigned window;
    perf::kind kind = perf::kind::write;
};

constexpr writes cases[] = {{4_KiB, 1},   {4_KiB, 16},  {4_KiB, 1, kind::write_notify}, {4_KiB, 16, kind::write_notify},
                            {64_KiB, 16}, {1_MiB, 16},  {16_MiB, 4},                    {64_KiB, 1000, kind::batch}};
constexpr std::size_t area_bytes = 64_MiB, payload_bytes = 64;
constexpr std::size_t at_once = 64; ///< notifications that are counted by one wait

std::string name_of(const writes& w)
{
    constexpr const char* names[] = {"write/", "batch/", "write_notify/"};
    const bool large = w.bytes >= 1_MiB;
    const std::string size = std::to_string(w.bytes / (large ? 1_MiB : 1_KiB)) + (large ? "MiB" : "KiB");
    return std::string{"fabric/"} + names[static_cast<std::size_t>(w.kind)] + size + "/w" + std::to_string(w.window);
}

wye::libfabric_options one_rail(bool polled)
{
    wye::libfabric_options o;
    o.provider = "tcp;ofi_rxm";
    o.waits = polled ? wye::queue_waits::polled : wye::queue_waits::automatic;
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
    explicit bench(bool polled) : raw_{area_bytes, "tcp;ofi_rxm", "127.0.0.1"}, sent_(area_bytes), landed_(area_bytes)
    {
        here_.add(wye::make_libfabric(one_rail(polled)));
        there_.add(wye::make_libfabric(one_rail(polled)));
        spawn(open());
        rt_.run();
    }

    double megabytes_per_second_ours(const writes& w, std::size_t operations)
    {
        left_ = operations;
        options_ = {};
        if (w.kind == kind::write_notify) {
            options_.notify = "page";
            options_.payload = payload_;
            spawn(counted(operations));
        }
        const auto begin = clock::now();
        if (w.kind == kind::batch) spawn(batches(w));
        else for (unsigned slot = 0; slot < w.window; ++slot) spawn(work(w, slot));
        rt_.run();
        return rate(w, operations, seconds_since(begin));
    }
    double megabytes_per_second_raw(const writes& w, std::size_t operations)
    {
        return rate(w, operations, raw_.write(w.bytes, std::min(w.window, 64u), operations, true));
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
            co_await wye::copy(from_.block(slot, w.bytes), kv_.block(slot, w.bytes), options_);
        }
    }
    wye::task<> counted(std::size_t operations)
    {
        for (std::size_t n = 0; operations != 0; operations -= n) {
            n = std::min(operations, at_once);
            const wye::wanted some{.key = "page", .count = static_cast<std::uint32_t>(n)};
            co_await there_.notified(some);
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
    wye::copy_options options_;
    std::vector<std::byte> payload_ = std::vector<std::byte>(payload_bytes, std::byte{7});
};

/// Pages from a prepared list to a peer over rails that do nothing.
class pages_bench {
public:
    static constexpr std::size_t pages = 1000;

    pages_bench(std::unique_ptr<wye::fabric> ours, std::unique_ptr<wye::fabric> theirs) : memory_(pages * 4_KiB)
    {
        here_.add(std::move(ours));
        there_.add(std::move(theirs));
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

constexpr std::size_t batches_at_once = 20, batches_to_warm = 10; // memory is allocated, rates are learned

/// The driver for libfabric over a provider whose writes are over at once and move nothing: all of it is our time but
/// what plain code takes there, too.
void measure_prepared(const settings& s, report& r)
{
    constexpr const char* name = "fabric/prepared_ns_per_page";
    if (!r.wants(name)) return;
    result one{name, "ns", {}, {}, {}, {}, "4 KiB to a peer, four rails of a provider that does nothing"};
    wye::libfabric_options o;
    o.provider = "efa";
    try {
        auto mine = wye::make_libfabric(o);
        const std::string domain = wye::facts_of(*mine).rails.front().domain;
        if (!domain.starts_with("standin")) throw wye::system_error{wye::errc::not_supported, "efa is a real one here"};
        pages_bench b{std::move(mine), wye::make_libfabric(o)};
        raw_fabric raw{pages_bench::pages * 4_KiB, "efa", nullptr};
        b.nanoseconds(batches_to_warm);
        const auto ours = [&] { return b.nanoseconds(batches_at_once); };
        const auto plain = [&] {
            constexpr std::size_t n = batches_at_once * pages_bench::pages;
            return raw.write(4_KiB, 64, n, false) * 1e9 / static_cast<double>(n);
        };
        const paired p = alternate(s.seconds, 5, ours, plain);
        one.ours = p.ours;
        one.raw = p.raw;
        one.ratio = p.ratio;
    } catch (const wye::system_error& e) {
        one.note = std::string{"skipped: "} + e.what();
    }
    r.add(one);
}

/// The same over rails that are no driver at all: the runtime's part of it.
void measure_runtime_of_prepared(const settings& s, report& r)
{
    constexpr const char* name = "fabric/prepared_ns_per_page/runtime";
    if (!r.wants(name)) return;
    auto mine = std::make_unique<null_fabric>(4, nullptr);
    auto theirs = std::make_unique<null_fabric>(4, mine.get());
    pages_bench b{std::move(mine), std::move(theirs)};
    b.nanoseconds(batches_to_warm);
    const double ours = median(repeat(s.seconds, 5, [&] { return b.nanoseconds(batches_at_once); }));
    r.add(name, "ns", ours, "the same without libfabric and its driver");
}

/// libfabric is to find the provider that does nothing, which lies in a folder beside this program. Before it is called
/// for anything; what is set in the environment stays.
void offer_provider()
{
    const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "providers";
    ::setenv("FI_PROVIDER_PATH", beside.c_str(), 0);
    ::setenv("EFA_STANDIN_MOVE", "0", 0);
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
    run_same_host(s, r); // first: it forks
    offer_provider();
    measure_prepared(s, r);
    measure_runtime_of_prepared(s, r);
    if (std::ranges::none_of(cases, [&](const writes& w) { return r.wants(name_of(w)); })) return;
    bench b{s.polled};
    for (const writes& w : cases)
        if (r.wants(name_of(w))) r.add(measure(b, s, w));
}

} // namespace perf
