// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <boost/asio/co_spawn.hpp>

#include <wye/wye.hpp>

#include "http_server.hpp"
#include "raw_object.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

constexpr std::size_t object_bytes = 256_MiB;
constexpr std::array kinds{requests{false, false}, requests{false, true}, requests{true, false}, requests{true, true}};

std::string name_of(const requests& r)
{
    return std::string{"object/"} + (r.put ? "put/" : "get/") + (r.tls ? "tls/" : "plain/") + "8MiB/qd" + std::to_string(r.connections);
}

/// What a run took, for so many bytes.
struct cost {
    double megabytes_per_second = 0, cpu_seconds_per_gigabyte = 0;
};

double cpu_seconds()
{
    rusage u{};
    ::getrusage(RUSAGE_SELF, &u);
    const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
    return seconds(u.ru_utime) + seconds(u.ru_stime);
}

template <class Run>
cost cost_of(std::uint64_t bytes, Run run)
{
    const double cpu = cpu_seconds();
    const auto begin = clock::now();
    run();
    const double gigabytes = static_cast<double>(bytes) / 1e9;
    return {gigabytes * 1e3 / seconds_since(begin), (cpu_seconds() - cpu) / gigabytes};
}

std::vector<std::uint64_t> offsets_for(const requests& r, std::size_t n)
{
    static std::mt19937_64 random{7};
    std::vector<std::uint64_t> offsets(n);
    for (std::uint64_t& o : offsets) o = random() % (object_bytes / r.bytes) * r.bytes;
    return offsets;
}

/// Our side of one kind of requests: an agent with the S3 driver, the same server, the same memory.
class bench {
public:
    bench(const http_server& server, const requests& r, const wye::arena& memory) : what_{r}
    {
        wye::s3_options o;
        o.endpoint = server.endpoint(r.tls);
        o.authorities = r.tls ? server.certificate() : "";
        o.anonymous = true;   // nginx checks nothing, and libcurl signs nothing
        o.checksums = false;  // nor does it sum anything
        o.proxy = "none";
        o.connections = r.connections;
        o.part_bytes = r.bytes;
        agent_.add(wye::make_s3(o));
        spawn(open(memory));
        rt_.run();
    }

    void run(std::span<const std::uint64_t> offsets)
    {
        offsets_ = offsets;
        next_ = 0;
        for (unsigned slot = 0; slot < what_.connections; ++slot) spawn(work(slot));
        rt_.run();
    }

private:
    /// Whatever it throws comes out of `run`.
    void spawn(wye::task<> t)
    {
        asio::co_spawn(rt_, std::move(t), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    }
    wye::task<> open(const wye::arena& memory)
    {
        memory_ = co_await agent_.register_memory(wye::dram(memory));
        bucket_ = co_await agent_.open_bucket("s3://bucket");
        data_.emplace(bucket_.object("data"));
    }
    wye::task<> work(unsigned slot)
    {
        const wye::slice mine = memory_.block(slot, what_.bytes);
        const std::string key = "ours" + std::to_string(slot);
        while (next_ < offsets_.size()) {
            const std::uint64_t at = offsets_[next_++];
            if (what_.put) {
                const wye::object target = bucket_.object(key);
                co_await wye::copy(mine, target);
            } else {
                co_await wye::copy(data_->range(at, what_.bytes), mine);
            }
        }
    }

    requests what_;
    wye::runtime rt_;
    wye::agent agent_{rt_, "perf"};
    wye::region memory_;
    wye::bucket bucket_;
    std::optional<wye::object> data_;
    std::span<const std::uint64_t> offsets_;
    std::size_t next_ = 0;
};

void add(report& r, const requests& what, const std::vector<cost>& ours, const std::vector<cost>& raw, const std::string& note)
{
    const auto one = [&](const char* suffix, const char* unit, double cost::*part) {
        std::vector<double> a, b, ratios;
        for (std::size_t i = 0; i < ours.size(); ++i) {
            a.push_back(ours[i].*part);
            if (raw.empty()) continue;
            b.push_back(raw[i].*part);
            ratios.push_back(a.back() / b.back());
        }
        result line{name_of(what) + suffix, unit, median(a), {}, {}, {}, note};
        if (!raw.empty()) line.raw = median(b), line.ratio = median(ratios);
        r.add(line);
    };
    one("", "MB/s", &cost::megabytes_per_second);
    one("/cpu", "s/GB", &cost::cpu_seconds_per_gigabyte);
}

#ifdef WYE_HAS_CURL

/// The size of libcurl's buffers that is fastest here, by the best of three rounds each.
long best_buffers(raw_client& raw, const requests& r)
{
    long best = 0;
    double best_rate = 0;
    for (int round = 0; round < 3; ++round)
        for (const long bytes : {16L << 10, 64L << 10, 256L << 10, 512L << 10}) {
            raw.use_buffers(bytes);
            const auto offsets = offsets_for(r, 4 * r.connections);
            const double rate = cost_of(offsets.size() * r.bytes, [&] { raw.run(offsets); }).megabytes_per_second;
            if (rate > best_rate) best = bytes, best_rate = rate;
        }
    raw.use_buffers(best);
    return best;
}

void compare(bench& b, const http_server& server, const requests& what, const wye::arena& memory, const settings& s, report& r)
{
    raw_client raw{server.endpoint(what.tls), server.certificate(), what, {memory.data(), memory.size()}};
    const long buffers = best_buffers(raw, what);
    std::vector<cost> ours, theirs;
    const auto begin = clock::now();
    while (ours.size() < 7 || seconds_since(begin) < s.seconds) {
        const auto offsets = offsets_for(what, 4 * what.connections);
        const std::uint64_t bytes = offsets.size() * what.bytes;
        const bool ours_first = ours.size() % 2 == 0;
        if (ours_first) ours.push_back(cost_of(bytes, [&] { b.run(offsets); }));
        theirs.push_back(cost_of(bytes, [&] { raw.run(offsets); }));
        if (!ours_first) ours.push_back(cost_of(bytes, [&] { b.run(offsets); }));
    }
    add(r, what, ours, theirs, "raw: libcurl, buffers of " + std::to_string(buffers / 1024) + " KiB");
}

#else

void compare(bench&, const http_server&, const requests&, const wye::arena&, const settings&, report&)
{
    throw std::runtime_error{"object --against raw needs libcurl (Debian: libcurl4-openssl-dev), which was not there at build time"};
}

#endif

} // namespace

void run_object(const settings& s, report& r)
{
    std::optional<http_server> server;
    wye::arena memory{8 * 8_MiB};
    for (const requests& what : kinds) {
        if (!r.wants(name_of(what))) continue;
        if (!server) server.emplace(object_bytes);
        bench b{*server, what, memory};
        const auto offsets = offsets_for(what, 4 * what.connections);
        b.run(offsets); // connections are made, pages are touched
        if (s.against_raw) {
            compare(b, *server, what, memory, s, r);
            continue;
        }
        const std::uint64_t bytes = offsets.size() * what.bytes;
        std::vector<cost> ours;
        const auto begin = clock::now();
        while (ours.size() < 5 || seconds_since(begin) < s.seconds) ours.push_back(cost_of(bytes, [&] { b.run(offsets); }));
        add(r, what, ours, {}, "");
    }
}

} // namespace perf
