// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace samples {

struct quantiles {
    std::size_t samples = 0;
    double p50 = 0, p95 = 0, p99 = 0;
};

/// By the nearest rank; zeros without samples.
inline quantiles quantiles_of(std::vector<float> values)
{
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const auto at = [&](double q) {
        const auto nearest = static_cast<std::size_t>(std::ceil(q * double(values.size())));
        return double(values[std::max<std::size_t>(nearest, 1) - 1]);
    };
    return {values.size(), at(0.50), at(0.95), at(0.99)};
}

/// "1,234,567".
inline std::string grouped(std::uint64_t n)
{
    std::string digits = std::to_string(n);
    for (auto at = std::ssize(digits) - 3; at > 0; at -= 3) digits.insert(static_cast<std::size_t>(at), ",");
    return digits;
}

/// With so many digits behind the point.
inline std::string fixed(double value, int digits)
{
    std::ostringstream out;
    out << std::fixed << std::setprecision(digits) << value;
    return out.str();
}

/// "62.5 MiB".
inline std::string in_bytes(double bytes)
{
    constexpr std::array<std::string_view, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
    const bool whole = bytes == std::floor(bytes);
    return fixed(bytes, whole ? 0 : bytes < 100 ? 2 : 1) + " " + std::string{units[unit]};
}

} // namespace samples
