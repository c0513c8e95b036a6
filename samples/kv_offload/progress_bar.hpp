// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <unistd.h>

namespace kv {

/// How far the replay is, on standard error while that is a terminal; nothing is left of it in the end.
class progress_bar {
public:
    /// `total` 0: not known.
    explicit progress_bar(std::uint64_t total) : total_{total}, shown_{::isatty(STDERR_FILENO) == 1} {}
    progress_bar(const progress_bar&) = delete;
    ~progress_bar() { clear(); }

    void show(std::uint64_t done, double hit_rate)
    {
        const auto now = std::chrono::steady_clock::now();
        if (!shown_ || now < next_) return;
        next_ = now + std::chrono::milliseconds{100};
        const double part = total_ ? std::min(1.0, double(done) / double(total_)) : 0;
        const auto full = static_cast<std::size_t>(part * width);
        const std::string bar = std::string(full, '#') + std::string(width - full, '.');
        std::fprintf(stderr, "\r[%s] %3.0f %%  %llu requests, %.1f %% of blocks hit ", bar.c_str(),
                     100 * part, static_cast<unsigned long long>(done), 100 * hit_rate);
        std::fflush(stderr);
    }
    void clear()
    {
        if (std::exchange(shown_, false)) std::fputs("\r\033[K", stderr);
    }

private:
    static constexpr std::size_t width = 32;
    std::uint64_t total_;
    bool shown_;
    std::chrono::steady_clock::time_point next_{};
};

} // namespace kv
