// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

namespace perf {

/// Onto one processor of those that we may use, if there are two: where a scheduler puts two that wake each other says little of
/// what they do. Undone when it goes.
class pinned {
public:
    explicit pinned(int which)
    {
        if (::sched_getaffinity(0, sizeof before_, &before_) != 0 || CPU_COUNT(&before_) < 2) return;
        int processor = 0;
        for (;; ++processor)
            if (CPU_ISSET(processor, &before_) && which-- == 0) break;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        set_ = ::sched_setaffinity(0, sizeof one, &one) == 0;
    }
    ~pinned()
    {
        if (set_) ::sched_setaffinity(0, sizeof before_, &before_);
    }
    pinned(const pinned&) = delete;

private:
    cpu_set_t before_;
    bool set_ = false;
};

} // namespace perf
