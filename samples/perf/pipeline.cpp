// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <unistd.h>

#include <wye/wye.hpp>

#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

/// A device of a fixed rate. Pieces pass one after the other, each in its time, whether or not anyone looks.
/// No bytes are moved: it takes only time.
class throttled final : public wye::driver {
public:
    using accepts = bool (*)(const wye::slice& from, const wye::slice& to);
    throttled(std::string_view name, double bytes_per_second, accepts a)
        : name_{name}, rate_{bytes_per_second}, accepts_{a} {}

    std::string_view name() const noexcept override { return name_; }
    wye::limits limits() const noexcept override
    {
        wye::limits l;
        l.chunk_bytes = 512_KiB;
        l.window_chunks = 16;
        l.window_bytes = 8_MiB;
        l.bytes_per_second = rate_;
        return l;
    }
    bool carries(const wye::slice& from, const wye::slice& to) const noexcept override
    {
        return accepts_(from, to);
    }
    bool submit(wye::chunk& c) noexcept override
    {
        const auto takes = static_cast<std::int64_t>(static_cast<double>(c.from.length) / rate_ * 1e9);
        free_at_ = std::max(free_at_, clock::now()) + std::chrono::nanoseconds{takes};
        c.scratch[0] = static_cast<std::uint64_t>(free_at_.time_since_epoch().count());
        c.next = nullptr;
        (first_ ? last_->next : first_) = &c;
        last_ = &c;
        return true;
    }
    std::size_t poll(wye::turn) noexcept override
    {
        const auto now = static_cast<std::uint64_t>(clock::now().time_since_epoch().count());
        std::size_t n = 0;
        for (; first_ && first_->scratch[0] <= now; ++n) {
            wye::chunk& c = *first_;
            first_ = c.next;
            c.done();
        }
        return n;
    }

private:
    std::string_view name_;
    double rate_;
    accepts accepts_;
    clock::time_point free_at_{};
    wye::chunk* first_ = nullptr;
    wye::chunk* last_ = nullptr;
};

/// Copies `bytes` bytes in transfers of `each`, `at_once` of them under way.
struct plan {
    std::uint64_t bytes, each;
    unsigned at_once;
    std::size_t pairs = 5; ///< measured, at least
};

/// Runs tasks of one agent, and times copies.
class bench {
public:
    explicit bench(bool default_drivers) : agent_{rt_, "perf", options(default_drivers)} {}

    wye::agent& agent() { return agent_; }

    void run(wye::task<> t)
    {
        spawn(std::move(t));
        rt_.run();
    }
    /// MB/s from the one to the other, each at least `plan.bytes` long.
    double rate(wye::slice from, wye::slice to, const plan& p)
    {
        next_ = 0;
        const auto begin = clock::now();
        for (unsigned i = 0; i < p.at_once; ++i) spawn(copies(from, to, p));
        rt_.run();
        return static_cast<double>(p.bytes) / seconds_since(begin) / 1e6;
    }

private:
    static wye::agent_options options(bool default_drivers)
    {
        wye::agent_options o;
        o.default_drivers = default_drivers;
        return o;
    }
    void spawn(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    }
    wye::task<> copies(wye::slice from, wye::slice to, plan p)
    {
        while (next_ < p.bytes) {
            const std::uint64_t at = std::exchange(next_, next_ + p.each);
            co_await wye::copy(from.sub(at, p.each), to.sub(at, p.each));
        }
    }

    wye::runtime rt_;
    wye::agent agent_;
    std::uint64_t next_ = 0;
};

/// The route in one, and the slower of its hops alone.
void compare(const std::string& name, const settings& s, report& r, bench& b, const plan& p, wye::slice from,
             wye::slice between, wye::slice to)
{
    const auto slower_hop = [&] { return std::min(b.rate(from, between, p), b.rate(between, to, p)); };
    b.rate(from, to, p);
    const paired d = alternate(s.seconds, p.pairs, [&] { return b.rate(from, to, p); }, slower_hop);
    r.add({name, "MB/s", d.ours, d.raw, d.ratio, {}, "raw: the slower hop alone"});
}

// ---- Two devices of the same rate

constexpr double throttle = 1e9;
constexpr plan large{64_MiB, 64_MiB, 1}, small{64_MiB, 1_MiB, 8};

bool is_dram(const wye::slice& s) { return s.tier() == wye::tier::dram; }
bool is_vram(const wye::slice& s, std::int32_t device)
{
    return s.tier() == wye::tier::vram && s.of->device == device;
}

struct three_regions {
    wye::region source, between, target;
};

wye::task<> register_devices(wye::agent& agent, wye::arena& memory, three_regions& r)
{
    r.source = co_await agent.register_memory(wye::vram(memory.data(), memory.size(), 0));
    r.between = co_await agent.register_memory(wye::dram(memory));
    r.target = co_await agent.register_memory(wye::vram(memory.data(), memory.size(), 1));
}

void compare_throttled(const settings& s, report& r)
{
    if (!r.wants("pipeline/two_hops_equal") && !r.wants("pipeline/two_hops_equal/1MiB")) return;
    wye::arena memory{64_MiB};
    bench b{false};
    b.agent().add(std::make_unique<throttled>("source", throttle, [](const auto& from, const auto& to) {
        return is_vram(from, 0) && is_dram(to);
    }));
    b.agent().add(std::make_unique<throttled>("target", throttle, [](const auto& from, const auto& to) {
        return is_dram(from) && is_vram(to, 1);
    }));
    three_regions regions;
    b.run(register_devices(b.agent(), memory, regions));
    const auto each = [&](const char* name, const plan& p) {
        if (r.wants(name)) compare(name, s, r, b, p, regions.source, regions.between, regions.target);
    };
    each("pipeline/two_hops_equal", large);
    each("pipeline/two_hops_equal/1MiB", small);
}

// ---- Real files

constexpr plan file_plan{128_MiB, 16_MiB, 2};

/// A driver of a given rate: pieces are handed to another no sooner than they would have had their turn. Must be the agent's
/// first, since the other goes by its place.
class paced final : public wye::driver {
public:
    paced(std::unique_ptr<wye::driver> by, double bytes_per_second) : by_{std::move(by)}, rate_{bytes_per_second} {}

    std::string_view name() const noexcept override { return "paced"; }
    wye::limits limits() const noexcept override { return by_->limits(); }
    bool carries(const wye::slice& from, const wye::slice& to) const noexcept override { return by_->carries(from, to); }
    void enlist(wye::segment& s, std::function<void(wye::error_code)> done) override { by_->enlist(s, std::move(done)); }
    void dismiss(wye::segment& s) noexcept override { by_->dismiss(s); }
    bool busy() const noexcept override { return by_->busy(); }
    bool submit(wye::chunk& c) noexcept override
    {
        const auto takes = static_cast<std::int64_t>(static_cast<double>(c.from.length) / rate_ * 1e9);
        free_at_ = std::max(free_at_, clock::now()) + std::chrono::nanoseconds{takes};
        c.scratch[0] = static_cast<std::uint64_t>(free_at_.time_since_epoch().count());
        c.next = nullptr;
        (first_ ? last_->next : first_) = &c;
        last_ = &c;
        return true;
    }
    std::size_t poll(wye::turn t) noexcept override
    {
        const auto now = static_cast<std::uint64_t>(clock::now().time_since_epoch().count());
        while (first_ && first_->scratch[0] <= now) {
            wye::chunk& c = *first_;
            wye::chunk* const next = c.next;
            const std::uint64_t due = c.scratch[0];
            if (!by_->submit(c)) {
                c.scratch[0] = due;
                c.next = next;
                break;
            }
            first_ = next;
        }
        by_->flush();
        return by_->poll(t);
    }

private:
    std::unique_ptr<wye::driver> by_;
    double rate_;
    clock::time_point free_at_{};
    wye::chunk* first_ = nullptr;
    wye::chunk* last_ = nullptr;
};

/// Memory that plays VRAM, or a GPU's.
class vram {
public:
    vram(bool gpu, std::size_t bytes) : gpu_{gpu ? wye::gpu_memory{bytes} : wye::gpu_memory{}}, host_{gpu ? 0 : bytes} {}
    wye::memory memory() const { return gpu_.size() ? gpu_.memory() : wye::vram(host_.data(), host_.size()); }

private:
    wye::gpu_memory gpu_;
    wye::arena host_;
};

struct real_ends {
    wye::region vram, dram;
    wye::file source, target;
};

wye::task<> open_ends(wye::agent& agent, std::string directory, wye::arena& dram, vram& v, real_ends& ends)
{
    ends.dram = co_await agent.register_memory(wye::dram(dram));
    ends.vram = co_await agent.register_memory(v.memory());
    wye::file_options options;
    options.temporary = true;
    options.preallocate = dram.size();
    const std::string path = directory + "/wye-perf-pipeline-" + std::to_string(::getpid());
    ends.source = co_await agent.open_file(path + "-source", options);
    ends.target = co_await agent.open_file(path + "-target", options);
    co_await wye::copy(ends.dram, ends.source.at(0, dram.size()));
    co_await wye::copy(ends.dram, ends.target.at(0, dram.size()));
}

struct file_names {
    std::string to_vram = "pipeline/file_to_vram", to_file = "pipeline/vram_to_file", files = "pipeline/file_to_file";
};

void compare_ends(const settings& s, report& r, bench& b, const plan& p, const file_names& n, wye::arena& dram, vram& v)
{
    real_ends ends;
    b.run(open_ends(b.agent(), s.directory, dram, v, ends));
    const wye::slice source = ends.source.at(0, p.bytes), target = ends.target.at(0, p.bytes);
    if (!n.to_vram.empty() && r.wants(n.to_vram)) compare(n.to_vram, s, r, b, p, source, ends.dram, ends.vram);
    if (!n.to_file.empty() && r.wants(n.to_file)) compare(n.to_file, s, r, b, p, ends.vram, ends.dram, target);
    if (!n.files.empty() && r.wants(n.files)) compare(n.files, s, r, b, p, source, ends.dram, target);
}

void compare_files(const settings& s, report& r)
{
    const file_names n;
    if (!r.wants(n.to_vram) && !r.wants(n.to_file) && !r.wants(n.files)) return;
    const bool gpu = s.vram == "gpu";
    const plan p = gpu ? plan{s.file_mib * 1_MiB, 64_MiB, 2, 3} : file_plan;
    wye::arena dram{p.bytes};
    vram v{gpu, p.bytes};
    bench b{true};
    b.agent().add(gpu ? wye::drivers::cuda() : wye::drivers::vram_standin());
    compare_ends(s, r, b, p, n, dram, v);
}

struct cufile_names {
    std::string to_vram = "pipeline/file_to_vram/cufile", to_file = "pipeline/vram_to_file/cufile";
};

void compare_straight(const settings& s, report& r, const cufile_names& n)
{
    wye::cufile_options always;
    always.mode = wye::cufile_mode::always;
    auto cufile = wye::drivers::cufile(always); // throws where it is not real
    const plan p{s.file_mib * 1_MiB, 64_MiB, 2, 3};
    wye::arena dram{p.bytes};
    vram v{true, p.bytes};
    bench direct{true}, staged{true};
    direct.agent().add(wye::drivers::cuda());
    direct.agent().add(std::move(cufile));
    staged.agent().add(wye::drivers::cuda());
    real_ends a, b;
    direct.run(open_ends(direct.agent(), s.directory, dram, v, a));
    const wye::route_plan route = direct.agent().explain(a.source.at(0, p.bytes), a.vram);
    if (route.hops.size() != 1) throw wye::system_error(wye::errc::not_supported, route.note);
    staged.run(open_ends(staged.agent(), s.directory, dram, v, b));
    const auto compare_both = [&](const std::string& name, bool up) {
        if (!r.wants(name)) return;
        const auto rate = [&](bench& by, const real_ends& e) {
            return up ? by.rate(e.source.at(0, p.bytes), e.vram, p) : by.rate(e.vram, e.target.at(0, p.bytes), p);
        };
        rate(direct, a);
        rate(staged, b);
        const paired d = alternate(s.seconds, p.pairs, [&] { return rate(direct, a); }, [&] { return rate(staged, b); });
        r.add({name, "MB/s", d.ours, d.raw, d.ratio, {}, "ours: straight by cuFile, raw: staged"});
    };
    compare_both(n.to_vram, true);
    compare_both(n.to_file, false);
}

/// Straight by cuFile, and staged: which is faster here. Where cuFile is not real, a line says why.
void compare_cufile(const settings& s, report& r)
{
    const cufile_names n;
    if (s.vram != "gpu" || (!r.wants(n.to_vram) && !r.wants(n.to_file))) return;
    try {
        compare_straight(s, r, n);
    } catch (const wye::system_error& e) {
        for (const std::string& name : {n.to_vram, n.to_file})
            if (r.wants(name)) r.add({name, "MB/s", {}, {}, {}, {}, std::string{"skipped: "} + e.what()});
    }
}

/// The GPU as slow as the files are: serial code would get half of that.
void compare_equal(const settings& s, report& r)
{
    file_names n;
    n.to_vram += "/equal";
    n.to_file += "/equal";
    n.files.clear();
    if (s.vram != "gpu" || (!r.wants(n.to_vram) && !r.wants(n.to_file))) return;
    const plan p{s.file_mib * 1_MiB, 64_MiB, 2, 3};
    wye::arena dram{p.bytes};
    vram v{true, p.bytes};
    for (const bool up : {true, false}) {
        double rate = 0;
        {
            bench alone{true};
            alone.agent().add(wye::drivers::cuda());
            real_ends ends;
            alone.run(open_ends(alone.agent(), s.directory, dram, v, ends));
            const wye::slice f = up ? ends.source.at(0, p.bytes) : ends.target.at(0, p.bytes);
            rate = (up ? alone.rate(f, ends.dram, p) : alone.rate(ends.dram, f, p)) * 1e6;
        }
        bench b{false};
        b.agent().add(std::make_unique<paced>(wye::drivers::cuda(), rate));
        b.agent().add(wye::drivers::file());
        file_names one = n;
        (up ? one.to_file : one.to_vram).clear();
        compare_ends(s, r, b, p, one, dram, v);
    }
}

} // namespace

void run_pipeline(const settings& s, report& r)
{
    if (s.vram != "gpu" && s.vram != "standin") throw std::runtime_error{"--vram is gpu or standin"};
    if (s.vram == "gpu")
        if (const std::string missing = wye::read_cuda().missing; !missing.empty()) throw std::runtime_error{"no GPU: " + missing};
    compare_throttled(s, r);
    compare_files(s, r);
    compare_equal(s, r);
    compare_cufile(s, r);
}

} // namespace perf
