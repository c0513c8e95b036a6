// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>
#include <string_view>

#include <dlfcn.h>

#include "provider.hpp"

namespace wye::ofi {

namespace {

/// Whether the handler lies in one of the libraries that take signals for their backtraces.
bool is_intruder(const struct sigaction& now) noexcept
{
    if (!(now.sa_flags & SA_SIGINFO) && (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)) return false;
    void* const handler = now.sa_flags & SA_SIGINFO ? reinterpret_cast<void*>(now.sa_sigaction)
                                                    : reinterpret_cast<void*>(now.sa_handler);
    Dl_info where;
    if (::dladdr(handler, &where) == 0 || !where.dli_fname) return false;
    const std::string_view file{where.dli_fname};
    for (const std::string_view name : {"libinfinipath", "libpsm"})
        if (file.find(name) != file.npos) return true;
    return false;
}

/// Before main, after what libfabric depends on has been loaded: a program that only links it gets its Ctrl-C back,
/// too.
[[gnu::constructor]] void at_load() noexcept
{
    ::setenv("IPATH_NO_BACKTRACE", "1", 0); // for what is loaded later
    // Read once, when libfabric begins: without it rxm keeps the connection of an address that is removed.
    ::setenv("FI_AV_REMOVE_CLEANUP", "1", 0);
    free_signals();
}

} // namespace

void free_signals() noexcept
{
    for (const int number : {SIGINT, SIGTERM, SIGSEGV, SIGBUS, SIGILL, SIGABRT}) {
        struct sigaction now;
        if (::sigaction(number, nullptr, &now) != 0 || !is_intruder(now)) continue;
        struct sigaction by_default {};
        by_default.sa_handler = SIG_DFL;
        ::sigaction(number, &by_default, nullptr);
    }
}

} // namespace wye::ofi
