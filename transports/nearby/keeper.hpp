// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <semaphore>
#include <thread>

namespace wye::nearby {

/// Keeps a word in shared memory as it is while this process lives. A thread of its own holds it as a robust futex, so that the
/// kernel marks it when the process ends, however it does, and before its number can be another's. Who read from that
/// process by its number and then finds the word unchanged has read from that process, and that cost no system call.
class keeper {
public:
    /// Throws std::system_error when there can be no thread.
    explicit keeper(std::atomic<std::uint32_t>& word);
    ~keeper(); ///< the word is 0 from then on
    keeper(const keeper&) = delete;
    std::uint32_t value() const noexcept { return value_; } ///< while it lives; not 0

private:
    void keep() noexcept;

    std::atomic<std::uint32_t>& word_;
    std::uint32_t value_ = 0;
    std::binary_semaphore held_{0}, over_{0};
    std::thread thread_;
};

} // namespace wye::nearby
