// SPDX-License-Identifier: Apache-2.0
#include "scenario.hpp"

#include <cmath>
#include <cstdio>

namespace wye::sweep {

using namespace std::chrono_literals;
using sim::fault_kind;

double dice::scale(double least, double most)
{
    const double at = static_cast<double>(next() >> 11) / 9007199254740992.0;
    return least * std::pow(most / least, at);
}

std::string_view name_of(workload w) noexcept
{
    constexpr std::string_view names[workload_count] = {"random",        "pages",     "huge",      "tiny",
                                                        "cancellations", "deadlines", "priorities"};
    return names[static_cast<std::size_t>(w)];
}

namespace {

duration some_time(dice& d, duration least, duration most)
{
    const auto ns = [](duration t) { return static_cast<double>(t.count()); };
    return duration{static_cast<duration::rep>(d.scale(ns(least), ns(most)))};
}

/// A device, and windows that fit what it is given to do.
sim::device_model some_device(dice& d, double least_rate, double most_rate, duration slowest, std::size_t piece)
{
    sim::device_model m;
    m.bytes_per_second = d.scale(least_rate, most_rate);
    m.latency = some_time(d, 200ns, slowest);
    m.operations_per_second = d.scale(1e4, 1e8);
    m.channels = static_cast<std::uint32_t>(d.between(1, 3));
    m.queue_depth = static_cast<std::uint32_t>(d.between(1, 64));
    m.limits.chunk_bytes = piece << d.below(5);
    m.limits.alignment = std::size_t{1} << d.below(13);
    m.limits.window_chunks = static_cast<std::uint32_t>(d.between(1, 24));
    m.limits.window_bytes = m.limits.chunk_bytes / 2 << d.below(6);
    m.limits.background_chunks = static_cast<std::uint32_t>(d.between(1, 4));
    if (d.one_in(2)) m.limits.at_once_bytes = d.below(2 * m.limits.chunk_bytes);
    return m;
}

/// One fault, striking now and then: throughout, or in a burst.
sim::fault some_fault(dice& d, std::uint64_t index, duration span)
{
    constexpr std::string_view devices[] = {"", "memory", "gpu", "disk", "store"};
    sim::fault f;
    f.what = static_cast<fault_kind>(d.below(sim::fault_kind_count));
    f.chance = d.scale(0.002, 0.4);
    f.device = devices[d.below(5)];
    f.extent = some_time(d, 1us, 5ms);
    f.seed = index;
    if (d.one_in(2)) {
        f.from = duration{static_cast<duration::rep>(d.below(static_cast<std::uint64_t>(span.count())))};
        f.until = f.from + some_time(d, 10us, span + 1ms);
        f.chance = std::min(1.0, 3 * f.chance);
    }
    if (f.what == fault_kind::clock_jump) f.extent = some_time(d, 1ms, 1h);
    if (f.what == fault_kind::timeout) f.extent = some_time(d, 10ms, 30s);
    return f;
}

} // namespace

scenario::scenario(std::uint64_t s) : seed{s}
{
    dice d{s, 1};
    what = static_cast<workload>(d.below(workload_count));
    const bool large = what == workload::huge;
    const std::size_t piece = large ? 32_KiB : 1_KiB;
    host.memory = some_device(d, 1e9, 5e10, 5us, piece);
    host.gpu = some_device(d, 1e9, 1e11, 50us, piece);
    host.disk = some_device(d, 1e8, 1e10, 1ms, piece);
    host.store = some_device(d, 5e7, 5e9, 50ms, piece);
    for (sim::device_model* m : {&host.disk, &host.store}) m->limits.at_once_bytes = 0;
    host.gpus = 2;
    if (d.one_in(12)) host.disk_bytes = 64_KiB + d.below(256_KiB);
    agent.staging_piece = (large ? 64_KiB : 4_KiB) << d.below(3);
    agent.staging_bytes = agent.staging_piece * d.between(2, 8);
    tenants = d.one_in(4) ? 2 : 1;
    leaves = d.one_in(6);
    constexpr std::size_t most[workload_count] = {120, 6, 4, 900, 100, 100, 60};
    operations = d.between(most[static_cast<std::size_t>(what)] / 3, most[static_cast<std::size_t>(what)]);
    area_bytes = large ? 4_MiB : 768_KiB;
    span = some_time(d, 10us, 100ms);
    if (d.one_in(8)) return; // some worlds are calm
    for (std::uint64_t n = d.between(1, 7), i = 0; i < n; ++i) faults.push_back(some_fault(d, i, span));
}

std::string scenario::describe() const
{
    char line[200];
    std::snprintf(line, sizeof line, "seed %llu: %s, %zu operations in %.3f ms, %zu agents%s\n",
                  static_cast<unsigned long long>(seed), std::string{name_of(what)}.c_str(), operations,
                  static_cast<double>(span.count()) / 1e6, tenants, leaves ? ", one leaves" : "");
    std::string all = line;
    for (std::size_t i = 0; i < faults.size(); ++i) {
        const sim::fault& f = faults[i];
        std::snprintf(line, sizeof line, "  fault %zu: %-12s %-7s chance %.4f, extent %.3f ms, from %.3f ms to %.3f ms\n", i,
                      std::string{sim::name_of(f.what)}.c_str(), f.device.c_str(), f.chance,
                      static_cast<double>(f.extent.count()) / 1e6, static_cast<double>(f.from.count()) / 1e6,
                      f.until == duration::max() ? -1.0 : static_cast<double>(f.until.count()) / 1e6);
        all += line;
    }
    return all;
}

} // namespace wye::sweep
