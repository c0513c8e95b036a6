// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace wye::storage {

/// Calls `each(name, d_type)` for every entry of the directory but "." and "..". Returns an errno, or 0.
template <class Each>
int read_directory(int directory, Each&& each)
{
    // Opened again, for a position of its own.
    const int own = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own < 0) return errno;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(own), &::closedir};
    if (!stream) {
        const int failed = errno;
        ::close(own);
        return failed;
    }
    while (true) {
        errno = 0;
        const dirent* const e = ::readdir(stream.get());
        if (!e) return errno;
        const char* const n = e->d_name;
        if (n[0] == '.' && (n[1] == 0 || (n[1] == '.' && n[2] == 0))) continue;
        each(n, e->d_type);
    }
}

} // namespace wye::storage
