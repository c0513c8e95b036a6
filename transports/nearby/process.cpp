// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wye::nearby {

namespace {

/// The beginning of a file in /proc, or nothing.
std::string read_file(const char* path)
{
    const descriptor fd{::open(path, O_RDONLY | O_CLOEXEC)};
    char text[1024];
    const ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : -1;
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string{};
}

} // namespace

descriptor::~descriptor()
{
    if (fd_ >= 0) ::close(fd_);
}

host_identity this_host() noexcept
{
    host_identity h;
    const std::string boot = read_file("/proc/sys/kernel/random/boot_id");
    std::memcpy(h.boot.data(), boot.data(), std::min(boot.size(), h.boot.size()));
    struct stat at {};
    if (::stat("/proc/self/ns/pid", &at) == 0) h.pid_namespace = at.st_ino;
    return h;
}

std::optional<std::uint64_t> began(pid_t pid) noexcept
{
    const std::string stat = read_file(("/proc/" + std::to_string(pid) + "/stat").c_str());
    // The second field is a name that may hold anything; the 22nd is what we want, the 20th behind the name.
    const std::size_t name_ends = stat.rfind(')');
    if (name_ends == std::string::npos) return std::nullopt;
    const char* at = stat.c_str() + name_ends + 1;
    for (int field = 0; field < 20 && at; ++field) {
        at = std::strchr(at, ' ');
        if (at) ++at;
    }
    unsigned long long ticks = 0;
    if (!at || std::sscanf(at, "%llu", &ticks) != 1) return std::nullopt;
    return ticks;
}

descriptor watch(pid_t pid) noexcept
{
    return descriptor{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; // always closed on exec
}

descriptor open_of(pid_t pid, int number, int flags) noexcept
{
    const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(number);
    return descriptor{::open(path.c_str(), flags | O_CLOEXEC)};
}

descriptor eventfd_of(const descriptor& process, int number) noexcept
{
    descriptor got{static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0))};
    if (!got) return got;
    const std::string path = "/proc/self/fd/" + std::to_string(got.get());
    char is[64];
    const ssize_t n = ::readlink(path.c_str(), is, sizeof is);
    constexpr std::string_view wanted = "anon_inode:[eventfd]";
    return n > 0 && std::string_view{is, static_cast<std::size_t>(n)} == wanted ? std::move(got) : descriptor{};
}

int yama_scope() noexcept
{
    const std::string scope = read_file("/proc/sys/kernel/yama/ptrace_scope");
    return scope.empty() ? 0 : scope.front() - '0';
}

} // namespace wye::nearby
