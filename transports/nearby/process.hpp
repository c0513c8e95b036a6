// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <sys/types.h>

namespace wye::nearby {

/// A descriptor of ours.
class descriptor {
public:
    explicit descriptor(int fd = -1) noexcept : fd_{fd} {}
    descriptor(descriptor&& o) noexcept : fd_{std::exchange(o.fd_, -1)} {}
    descriptor& operator=(descriptor&& o) noexcept
    {
        std::swap(fd_, o.fd_);
        return *this;
    }
    ~descriptor();
    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

private:
    int fd_;
};

/// Where process numbers mean the same.
struct host_identity {
    std::array<char, 40> boot{};     ///< a name of 36, drawn by the kernel each time that it starts
    std::uint64_t pid_namespace = 0;
    friend bool operator==(const host_identity&, const host_identity&) = default;
};
host_identity this_host() noexcept;

/// When that process began, in the kernel's ticks. Nothing if there is none. With its number it names a process for good.
std::optional<std::uint64_t> began(pid_t) noexcept;

/// Turns readable when the process has ended. None when there is no such process.
descriptor watch(pid_t) noexcept;

/// What another process knows by this number, opened once more. That takes less leave than copying its descriptor
/// (PTRACE_MODE_READ), and so needs nothing declared to Yama.
descriptor open_of(pid_t, int number, int flags) noexcept;

/// The eventfd that it knows by this number, shared with it. None if it is none, or without leave to trace that process.
descriptor eventfd_of(const descriptor& process, int number) noexcept;

/// 0 where there is no Yama, or it forbids nothing among processes of one user.
int yama_scope() noexcept;

} // namespace wye::nearby
