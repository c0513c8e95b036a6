// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace perf {

using clock = std::chrono::steady_clock;

inline double seconds_since(clock::time_point t)
{
    return std::chrono::duration<double>(clock::now() - t).count();
}

/// Of `values`, which must not be empty; `q` from 0 to 1.
inline double quantile(std::vector<double> values, double q)
{
    const double rank = q * static_cast<double>(values.size() - 1);
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank + 0.5);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

struct paired {
    double ours = 0, raw = 0; ///< medians
    double ratio = 0;         ///< median of the pairs' ours / raw
};

/// Measures both, turn and turn about, for about `seconds` and at least `least` pairs. What disturbs a
/// machine for longer than one measurement then disturbs both sides alike. Who goes first changes each time.
template <class Ours, class Raw>
paired alternate(double seconds, std::size_t least, Ours&& ours, Raw&& raw)
{
    std::vector<double> a, b, ratios;
    const auto begin = clock::now();
    while (ratios.size() < least || seconds_since(begin) < seconds) {
        const bool ours_first = ratios.size() % 2 == 0;
        if (ours_first) a.push_back(ours());
        b.push_back(raw());
        if (!ours_first) a.push_back(ours());
        ratios.push_back(a.back() / b.back());
    }
    return {median(std::move(a)), median(std::move(b)), median(std::move(ratios))};
}

/// What `measure` returns when called for about `seconds`, and at least `least` times.
template <class Measure>
auto repeat(double seconds, std::size_t least, Measure&& measure)
{
    std::vector<std::decay_t<decltype(measure())>> values;
    const auto begin = clock::now();
    while (values.size() < least || seconds_since(begin) < seconds) values.push_back(measure());
    return values;
}

} // namespace perf
