// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

#include <wye/units.hpp>

namespace wye::detail {

/// What is left of a deadline.
class time_left {
    using clock = std::chrono::steady_clock;

public:
    /// Zero means that there is none.
    explicit time_left(duration deadline) noexcept : time_left{deadline == duration{} ? duration::max() : deadline, true} {}
    /// Zero means that it is over.
    static time_left of(duration at_most) noexcept { return {at_most, true}; }

    duration now() const noexcept
    {
        if (end_ == clock::time_point::max()) return duration::max();
        return std::max(duration{}, std::chrono::duration_cast<duration>(end_ - clock::now()));
    }
    bool over() const noexcept { return now() == duration{}; }

private:
    time_left(duration d, bool) noexcept
    {
        if (const auto now = clock::now(); d < clock::time_point::max() - now) end_ = now + d;
    }
    clock::time_point end_ = clock::time_point::max();
};

} // namespace wye::detail
