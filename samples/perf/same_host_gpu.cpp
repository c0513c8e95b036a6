// SPDX-License-Identifier: Apache-2.0
// Memory of a GPU written to and read from that of another process on the same GPU, against plain copies out of and into what it
// exports. Two processes, which both poll; nobody over there has a part in the plain code.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wye/same_host.hpp>
#include <wye/wye.hpp>

#include "pinned.hpp"
#include "raw_ipc.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

constexpr std::size_t area_bytes = 512_MiB, pages_each = 1024;

struct moves {
    std::size_t bytes;
    bool reads = false;
    bool scattered = false; ///< 1,024 of these, in random places of both, as one transfer
};
constexpr moves cases[] = {{64_KiB},       {1_MiB},       {16_MiB},       {32_KiB, false, true},
                           {64_KiB, true}, {1_MiB, true}, {16_MiB, true}, {32_KiB, true, true}};

std::string name_of(const moves& m)
{
    const bool large = m.bytes >= 1_MiB;
    const std::string size = std::to_string(m.bytes / (large ? 1_MiB : 1_KiB)) + (large ? "MiB" : "KiB");
    return std::string{"fabric/same_host/vram/"} + (m.reads ? "read/" : "") + (m.scattered ? "scattered/" : "") + size;
}

wye::agent_options knowing_it()
{
    wye::agent_options o;
    o.peers.secret = "perf";
    return o;
}

void add_ways(wye::agent& a)
{
    a.add(wye::drivers::cuda());
    wye::same_host_options o;
    o.gpus = wye::drivers::cuda_sharing();
    a.add(wye::make_same_host(o));
}

void spawn(wye::runtime& rt, wye::task<> t)
{
    asio::co_spawn(rt, std::move(t), [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    });
}

/// What the other process says of itself, and then its metadata.
struct introduction {
    bool has_gpu = false;
    raw_ipc::handle landed{};
    std::uint64_t bytes = 0; ///< of metadata
};

void put(int fd, const void* from, std::size_t n)
{
    if (::write(fd, from, n) != static_cast<ssize_t>(n)) ::_exit(1);
}

/// The other process: serves until `input` ends.
wye::task<> serve(wye::agent& there, wye::region& pool, wye::memory m, raw_ipc::handle plain, int output,
                  asio::posix::stream_descriptor& input)
{
    pool = co_await there.register_memory(m);
    co_await there.publish("kv", pool);
    const std::vector<std::byte> how = there.metadata();
    const introduction about{true, plain, how.size()};
    put(output, &about, sizeof about);
    put(output, how.data(), how.size());
    char end;
    try {
        co_await asio::async_read(input, asio::buffer(&end, 1), asio::use_awaitable);
    } catch (const boost::system::system_error&) {
        ::_exit(0);
    }
}

void be_the_other(int input, int output)
{
    if (!wye::read_cuda().missing.empty()) {
        const introduction none;
        put(output, &none, sizeof none);
        return;
    }
    const wye::gpu_memory landed{area_bytes};
    const raw_ipc plain;
    wye::runtime rt;
    wye::agent there{rt, "there", knowing_it()};
    add_ways(there);
    wye::region pool;
    asio::posix::stream_descriptor told{rt.io(), input};
    spawn(rt, serve(there, pool, landed.memory(), plain.handle_of(landed.data()), output, told));
    const pinned apart{1}; // the driver library's threads are where they like
    rt.run();
}

/// That process, and what it said. Begun before this one has looked for a GPU, which a child could not use then.
class other_process {
public:
    other_process()
    {
        int in[2], out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        id_ = ::fork();
        if (id_ < 0) throw std::runtime_error{"no process"};
        if (id_ == 0) {
            ::close(in[1]);
            ::close(out[0]);
            try {
                be_the_other(in[0], out[1]);
            } catch (const std::exception& e) {
                std::fprintf(stderr, "perf: the other process: %s\n", e.what());
            }
            ::_exit(1);
        }
        ::close(in[0]);
        ::close(out[1]);
        input_ = in[1];
        output_ = out[0];
        take(&about, sizeof about);
        metadata.resize(about.bytes);
        take(metadata.data(), about.bytes);
    }
    ~other_process()
    {
        ::close(input_);
        ::close(output_);
        ::waitpid(id_, nullptr, 0);
    }
    other_process(const other_process&) = delete;

    introduction about;
    std::vector<std::byte> metadata;

private:
    void take(void* to, std::size_t n) const
    {
        for (auto* at = static_cast<char*>(to); n != 0;) {
            const auto got = ::read(output_, at, n);
            if (got <= 0) throw std::runtime_error{"the other process said nothing"};
            at += got;
            n -= static_cast<std::size_t>(got);
        }
    }
    pid_t id_;
    int input_ = -1, output_ = -1;
};

class bench {
public:
    explicit bench(const other_process& other) : memory_{area_bytes}, landed_{raw_.map(other.about.landed)}
    {
        add_ways(here_);
        spawn(rt_, open(other.metadata));
        rt_.run();
        std::iota(order_.begin(), order_.end(), 0);
    }
    ~bench()
    {
        kv_ = {};
        to_ = {};
        pool_ = {};
    }

    /// Whether it goes straight: else what is measured is something else.
    bool goes_straight() { return here_.explain(pool_.at(0, 1_MiB), kv_.sub(0, 1_MiB)).hops.size() == 1; }
    double megabytes_per_second_ours(const moves& m, std::size_t times)
    {
        const auto begin = clock::now();
        spawn(rt_, work(m, times));
        rt_.run();
        return rate(m, times, seconds_since(begin));
    }
    double megabytes_per_second_raw(const moves& m, std::size_t times)
    {
        std::vector<raw_ipc::copy> all;
        const auto begin = clock::now();
        for (std::size_t i = 0; i < times; ++i) {
            all.clear();
            for (const auto& [ours, theirs] : places(m, i)) {
                std::byte *here = memory_.data() + ours, *there = landed_ + theirs;
                all.push_back(m.reads ? raw_ipc::copy{here, there} : raw_ipc::copy{there, here});
            }
            raw_.run(all, m.bytes);
        }
        return rate(m, times, seconds_since(begin));
    }

private:
    using pair = std::pair<std::size_t, std::size_t>; ///< where it is here, and over there
    wye::task<> open(std::vector<std::byte> metadata)
    {
        pool_ = co_await here_.register_memory(memory_.memory());
        to_ = co_await here_.connect(std::move(metadata));
        kv_ = to_.published("kv");
    }
    std::vector<pair> places(const moves& m, std::size_t i)
    {
        if (!m.scattered) return {pair{i * m.bytes % area_bytes, i * m.bytes % area_bytes}};
        std::vector<pair> all;
        std::shuffle(order_.begin(), order_.end(), random_);
        for (std::size_t k = 0; k < pages_each; ++k) all.emplace_back(order_[k] * m.bytes, order_[pages_each + k] * m.bytes);
        return all;
    }
    wye::task<> work(moves m, std::size_t times)
    {
        std::vector<wye::transfer> all;
        for (std::size_t i = 0; i < times; ++i) {
            all.clear();
            for (const auto& [ours, theirs] : places(m, i)) {
                const wye::slice here = pool_.at(ours, m.bytes), there = kv_.sub(theirs, m.bytes);
                all.push_back(m.reads ? wye::transfer{there, here} : wye::transfer{here, there});
            }
            if (all.size() == 1) co_await wye::copy(all.front().from, all.front().to);
            else co_await wye::copy(all);
        }
    }
    static double rate(const moves& m, std::size_t times, double seconds)
    {
        return static_cast<double>(m.bytes * times * (m.scattered ? pages_each : 1)) / seconds / 1e6;
    }

    wye::gpu_memory memory_;
    raw_ipc raw_;
    std::byte* landed_;
    wye::runtime rt_;
    wye::agent here_{rt_, "here", knowing_it()};
    wye::region pool_;
    wye::peer to_;
    wye::slice kv_;
    std::vector<std::uint32_t> order_ = std::vector<std::uint32_t>(area_bytes / 32_KiB);
    std::mt19937 random_{7};
};

result measure(bench& b, const settings& s, const moves& m)
{
    const std::size_t times = m.scattered ? 8 : std::max<std::size_t>(64_MiB / m.bytes, 8);
    result r{name_of(m), "MB/s", {}, {}, {}, {}, "two processes on one GPU, each on a processor of its own"};
    b.megabytes_per_second_ours(m, times); // what is exported is opened, rates are learned
    const auto ours = [&] { return b.megabytes_per_second_ours(m, times); };
    if (!s.against_raw) {
        r.ours = median(repeat(s.seconds, 5, ours));
        return r;
    }
    b.megabytes_per_second_raw(m, times);
    const paired p = alternate(s.seconds, 5, ours, [&] { return b.megabytes_per_second_raw(m, times); });
    r.ours = p.ours;
    r.raw = p.raw;
    r.ratio = p.ratio;
    return r;
}

} // namespace

void run_same_host_gpus(const settings& s, report& r)
{
    if (std::ranges::none_of(cases, [&](const moves& m) { return r.wants(name_of(m)); })) return;
    const other_process other;
    if (!other.about.has_gpu)
        return r.add({"fabric/same_host/vram", "MB/s", {}, {}, {}, {}, "skipped: " + wye::read_cuda().missing});
    bench b{other};
    if (!b.goes_straight()) throw std::runtime_error{"processes of this machine do not open each other's GPU memory"};
    const pinned here{0};
    for (const moves& m : cases)
        if (r.wants(name_of(m))) r.add(measure(b, s, m));
}

} // namespace perf
