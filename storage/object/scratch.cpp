// SPDX-License-Identifier: Apache-2.0
#include "scratch.hpp"

#include <charconv>
#include <random>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "read_directory.hpp"

namespace wye::storage {

namespace {

constexpr const char* common = ".wye";
constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::string new_name()
{
    static thread_local std::random_device entropy;
    char digits[16];
    const std::uint64_t number = std::uint64_t{entropy()} << 32 | entropy();
    const auto end = std::to_chars(digits, digits + sizeof digits, number, 16).ptr;
    return {digits, end};
}

/// Removes one directory of ".wye" if nobody holds it.
void remove_abandoned(int shared, const char* name)
{
    const descriptor directory{::openat(shared, name, directory_flags)};
    if (!directory || ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return;
    const auto remove = [&](const char* file, unsigned char) { ::unlinkat(directory.get(), file, 0); };
    read_directory(directory.get(), remove);
    ::unlinkat(shared, name, AT_REMOVEDIR);
}

void remove_all_abandoned(int root)
{
    const descriptor shared{::openat(root, common, directory_flags)};
    if (!shared) return;
    const auto remove = [&](const char* name, unsigned char) { remove_abandoned(shared.get(), name); };
    read_directory(shared.get(), remove);
}

} // namespace

scratch::~scratch()
{
    if (!directory_) return;
    ::unlinkat(root_, path_.c_str(), AT_REMOVEDIR);
    ::unlinkat(root_, common, AT_REMOVEDIR);
}

error_code scratch::open(int root)
{
    root_ = root;
    remove_all_abandoned(root);
    // Others come and go: one that closes removes ".wye", one that opens removes what is not yet locked.
    int failed = ENOENT;
    for (int tries = 0; tries < 1000 && failed == ENOENT; ++tries) failed = claim();
    return failed ? object_error(failed) : error_code{};
}

/// An errno; ENOENT when somebody removed it again before it was ours.
int scratch::claim()
{
    if (::mkdirat(root_, common, 0777) != 0 && errno != EEXIST) return errno;
    path_ = std::string{common} + '/' + new_name();
    if (::mkdirat(root_, path_.c_str(), 0700) != 0) return errno == EEXIST ? ENOENT : errno;
    descriptor directory{::openat(root_, path_.c_str(), directory_flags)};
    if (!directory) return errno;
    // Where directories cannot be locked nobody gets the lock to remove them either.
    while (::flock(directory.get(), LOCK_EX) != 0 && errno == EINTR) {}
    struct stat now;
    if (::fstat(directory.get(), &now) != 0) return errno;
    if (now.st_nlink == 0) return ENOENT;
    directory_ = std::move(directory);
    return 0;
}

} // namespace wye::storage
