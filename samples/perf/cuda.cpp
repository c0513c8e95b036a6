// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <wye/wye.hpp>

#include "raw_cuda.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

constexpr std::size_t pages_each = 1024;

enum class way { up, down, both };
constexpr std::string_view name_of(way w) { return w == way::up ? "h2d" : w == way::down ? "d2h" : "both"; }

std::string size_name(std::size_t bytes)
{
    return bytes < 1_MiB ? std::to_string(bytes / 1024) + "KiB" : std::to_string(bytes / 1_MiB) + "MiB";
}

/// An agent with a GPU, a pool on either side, and plain code for the same memory.
class gpu_bench {
public:
    gpu_bench(std::size_t bytes, const settings& s)
        : raw{0}, host_{bytes}, device_{bytes}, agent_{rt_, "perf"}
    {
        agent_.add(wye::drivers::cuda(options(s)));
        for (std::size_t i = 0; i < bytes; i += 8) *reinterpret_cast<std::uint64_t*>(host_.data() + i) = i * 0x9e3779b97f4a7c15;
        run(registered());
    }
    ~gpu_bench()
    {
        host = {};
        device = {};
    }

    raw_cuda raw;
    wye::region host, device;

    wye::agent& agent() { return agent_; }
    std::byte* host_at(std::uint64_t at) const { return host_.data() + at; }
    std::byte* device_at(std::uint64_t at) const { return device_.data() + at; }
    std::size_t size() const { return host_.size(); }
    void run(wye::task<> t)
    {
        spawn(std::move(t));
        rt_.run();
    }
    void spawn(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    }
    void finish() { rt_.run(); }

private:
    static wye::cuda_options options(const settings& s)
    {
        wye::cuda_options o;
        if (s.gather == "kernel") o.gather = wye::gather_by::kernel;
        else if (s.gather == "batch") o.gather = wye::gather_by::batch;
        else if (s.gather == "copies") o.gather = wye::gather_by::copies;
        else if (s.gather != "automatic") throw std::runtime_error{"--gather is automatic, kernel, batch or copies"};
        if (s.gather_blocks != 0) o.gather_blocks = s.gather_blocks;
        if (s.gather_blocks_down != 0) o.gather_blocks_down = s.gather_blocks_down;
        if (s.gather_threads != 0) o.gather_threads = s.gather_threads;
        if (s.gather_list_kib != 0) o.gather_list_bytes = s.gather_list_kib * 1_KiB;
        return o;
    }
    wye::task<> registered()
    {
        host = co_await agent_.register_memory(wye::dram(host_));
        device = co_await agent_.register_memory(device_.memory());
    }

    wye::runtime rt_;
    wye::arena host_;
    wye::gpu_memory device_;
    wye::agent agent_;
};

// ---- Contiguous

struct stream_plan {
    std::size_t bytes, count;
    unsigned at_once;
    way where;
};

/// Copies what is left of `count`, one after the other.
wye::task<> copies(gpu_bench& b, stream_plan p, bool up, std::size_t* next)
{
    while (*next < p.count) {
        const std::uint64_t at = (*next)++ * p.bytes % b.size();
        const wye::slice h = b.host.at(at, p.bytes), d = b.device.at(at, p.bytes);
        co_await wye::copy(up ? h : d, up ? d : h);
    }
}

double ours_rate(gpu_bench& b, const stream_plan& p)
{
    std::size_t up = 0, down = 0;
    const auto begin = clock::now();
    for (unsigned i = 0; i < p.at_once; ++i) {
        if (p.where != way::down) b.spawn(copies(b, p, true, &up));
        if (p.where != way::up) b.spawn(copies(b, p, false, &down));
    }
    b.finish();
    return static_cast<double>((up + down) * p.bytes) / seconds_since(begin) / 1e6;
}

double raw_rate(gpu_bench& b, const stream_plan& p)
{
    std::vector<raw_cuda::copy> list;
    for (std::size_t i = 0; i < p.count; ++i) {
        const std::uint64_t at = i * p.bytes % b.size();
        if (p.where != way::down) list.push_back({b.device_at(at), b.host_at(at), true});
        if (p.where != way::up) list.push_back({b.host_at(at), b.device_at(at), false});
    }
    const auto begin = clock::now();
    b.raw.run(list, p.bytes, p.at_once);
    return static_cast<double>(list.size() * p.bytes) / seconds_since(begin) / 1e6;
}

void contiguous(const settings& s, report& r, gpu_bench& b, way w, std::size_t bytes, unsigned at_once)
{
    std::string name = "cuda/" + std::string{name_of(w)} + "/contiguous/" + size_name(bytes);
    if (at_once > 1) name += "/w" + std::to_string(at_once);
    if (!r.wants(name)) return;
    const stream_plan p{bytes, std::max<std::size_t>(256_MiB / bytes, 4), at_once, w};
    ours_rate(b, p);
    const paired d = alternate(s.seconds, 5, [&] { return ours_rate(b, p); }, [&] { return raw_rate(b, p); });
    r.add({name, "MB/s", d.ours, d.raw, d.ratio, {}, {}});
}

void latency(const settings& s, report& r, gpu_bench& b, way w)
{
    const std::string name = "cuda/" + std::string{name_of(w)} + "/latency/4KiB";
    if (!r.wants(name)) return;
    const stream_plan p{4_KiB, 2000, 1, w};
    const auto micros = [&](double mb_s) { return 4096 / mb_s; };
    ours_rate(b, p);
    const paired d = alternate(s.seconds, 5, [&] { return micros(ours_rate(b, p)); }, [&] { return micros(raw_rate(b, p)); });
    r.add({name, "us", d.ours, d.raw, d.ratio, {}, {}});
}

// ---- Pages

/// Random places of both pools, another list each time.
class page_lists {
public:
    page_lists(gpu_bench& b, std::size_t bytes)
        : host_{b.agent().prepare(wye::blocks_of(b.host, bytes))}, device_{b.agent().prepare(wye::blocks_of(b.device, bytes))}
    {
        std::mt19937 random{7};
        std::vector<std::uint32_t> all(host_.size());
        std::iota(all.begin(), all.end(), 0);
        for (int i = 0; i < 8; ++i) {
            std::shuffle(all.begin(), all.end(), random);
            lists_.emplace_back(all.begin(), all.begin() + pages_each);
        }
    }
    wye::selection host(std::size_t i) const { return host_.select(lists_[i % lists_.size()]); }
    wye::selection device(std::size_t i) const { return device_.select(lists_[(i * 5 + 3) % lists_.size()]); }

private:
    wye::prepared host_, device_;
    std::vector<std::vector<std::uint32_t>> lists_;
};

wye::task<> page_copies(const page_lists& l, bool up, std::size_t count, std::size_t* next)
{
    while (*next < count) {
        const std::size_t i = (*next)++;
        const wye::selection h = l.host(i), d = l.device(i);
        if (up) co_await wye::copy(h, d);
        else co_await wye::copy(d, h);
    }
}

double page_rate(gpu_bench& b, const page_lists& l, std::size_t bytes, way w, unsigned at_once)
{
    const std::size_t count = 8;
    std::size_t up = 0, down = 0;
    const auto begin = clock::now();
    for (unsigned i = 0; i < at_once; ++i) {
        if (w != way::down) b.spawn(page_copies(l, true, count, &up));
        if (w != way::up) b.spawn(page_copies(l, false, count, &down));
    }
    b.finish();
    return static_cast<double>((up + down) * pages_each * bytes) / seconds_since(begin) / 1e6;
}

void scattered(const settings& s, report& r, gpu_bench& b, way w, std::size_t bytes, unsigned at_once)
{
    std::string name = "cuda/" + std::string{name_of(w)} + "/scattered/" + size_name(bytes);
    if (at_once > 1) name += "/w" + std::to_string(at_once);
    if (!r.wants(name)) return;
    const page_lists l{b, bytes};
    const stream_plan whole{16_MiB, 16, 4, w};
    page_rate(b, l, bytes, w, at_once);
    const paired d = alternate(s.seconds, 5, [&] { return page_rate(b, l, bytes, w, at_once); }, [&] { return raw_rate(b, whole); });
    r.add({name, "MB/s", d.ours, d.raw, d.ratio, {}, "raw: contiguous"});
}

// ---- Beside a kernel

wye::task<> pages_while(gpu_bench& b, const page_lists& l, bool up, std::size_t* bytes)
{
    for (std::size_t i = 0; b.raw.computing(); ++i) {
        const wye::selection h = l.host(i), d = l.device(i);
        if (up) co_await wye::copy(h, d);
        else co_await wye::copy(d, h);
        *bytes += pages_each * 32_KiB;
    }
}

void beside(const settings& s, report& r, gpu_bench& b, way w)
{
    const std::string name = "cuda/" + std::string{name_of(w)} + "/kernel_beside/32KiB";
    if (!r.wants(name) || !b.raw.can_compute()) return;
    const page_lists l{b, 32_KiB};
    std::size_t moved = 0;
    double seconds = 0;
    const auto with = [&] {
        b.raw.begin_compute();
        const auto begin = clock::now();
        if (w != way::down) b.spawn(pages_while(b, l, true, &moved));
        if (w != way::up) b.spawn(pages_while(b, l, false, &moved));
        b.finish();
        seconds += seconds_since(begin);
        return b.raw.end_compute();
    };
    const auto alone = [&] {
        b.raw.begin_compute();
        return b.raw.end_compute();
    };
    alone();
    with();
    moved = 0;
    seconds = 0;
    const paired d = alternate(s.seconds, 5, with, alone);
    r.add({name, "ms", d.ours, d.raw, d.ratio, {},
           "raw: alone; " + std::to_string(static_cast<int>(static_cast<double>(moved) / seconds / 1e6)) + " MB/s beside it"});
}

} // namespace

void run_cuda(const settings& s, report& r)
{
    const wye::cuda_facts facts = wye::read_cuda();
    if (!facts.missing.empty()) throw std::runtime_error{"no GPU: " + facts.missing};
    gpu_bench b{2_GiB, s};
    for (const way w : {way::up, way::down}) latency(s, r, b, w);
    for (const way w : {way::up, way::down, way::both}) {
        for (const std::size_t bytes : {1_MiB, 16_MiB, 256_MiB}) contiguous(s, r, b, w, bytes, 1);
        for (const std::size_t bytes : {1_MiB, 16_MiB}) contiguous(s, r, b, w, bytes, 4);
    }
    for (const way w : {way::up, way::down, way::both}) {
        for (const std::size_t bytes : {4_KiB, 8_KiB, 16_KiB, 32_KiB, 64_KiB, 128_KiB}) scattered(s, r, b, w, bytes, 1);
        for (const std::size_t bytes : {8_KiB, 32_KiB}) scattered(s, r, b, w, bytes, 2);
    }
    for (const way w : {way::up, way::down, way::both}) beside(s, r, b, w);
}

} // namespace perf
