// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>

#include "engine.hpp"

namespace wye {

void latency_histogram::add(duration d) noexcept
{
    const auto ns = static_cast<std::uint64_t>(std::max<duration::rep>(1, d.count()));
    ++counts[std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(ns)) - 1, counts.size() - 1)];
}

std::uint64_t latency_histogram::samples() const noexcept
{
    std::uint64_t n = 0;
    for (const auto c : counts) n += c;
    return n;
}

duration latency_histogram::quantile(double q) const noexcept
{
    const auto wanted = static_cast<std::uint64_t>(std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(samples())));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        seen += counts[i];
        if (seen >= wanted && seen != 0) return duration{duration::rep{1} << (i + 1)};
    }
    return {};
}

void detail::engine::count(metrics& m) const
{
    const auto now = loop_.now();
    for (std::size_t from = 0; from < tier_count; ++from)
        for (std::size_t to = 0; to < tier_count; ++to) {
            const pair_meter& p = pairs_[from][to];
            if (p.operations == 0 && p.busy.in_flight() == 0) continue;
            m.pairs.push_back({static_cast<tier>(from), static_cast<tier>(to), p.bytes, p.operations, p.errors,
                               p.busy.in_flight(), p.busy.total(now), p.latency});
        }
    for (const auto& d : ports_)
        for (const lane& l : d->lanes) {
            const driver_meter& t = l.meter;
            m.drivers.push_back(
                {std::string{l.by->name()}, t.bytes, t.operations, t.errors, t.retries, t.refusals, l.chunks,
                 t.measured(now) ? t.bytes_per_second(now) : l.limits.bytes_per_second, t.latency, l.rail});
        }
    m.operations = begun_;
    m.cancelled = cancelled_;
    m.deadlines_missed = missed_;
    m.corruptions = corruptions;
    m.staging_bytes = staging_.bytes();
    m.staging_in_use = staging_.in_use();
}

} // namespace wye
