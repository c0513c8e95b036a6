// SPDX-License-Identifier: Apache-2.0
#include "open_file.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace wye::storage {

namespace {

constexpr mode_t new_file_mode = 0644; // less the umask

bool writable(const file_options& o) noexcept { return o.access == access::read_write; }

/// Wishes that contradict each other.
bool absurd(const file_options& o) noexcept
{
    if (o.preallocate > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return true;
    return !writable(o) && (o.truncate || o.preallocate != 0 || o.temporary);
}

int open_at(const char* path, int flags) noexcept
{
    int fd;
    do fd = ::open(path, flags | O_CLOEXEC | O_NOCTTY, new_file_mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/// Opens it, and says whether it is new. -1 with errno.
int open_or_create(const char* path, const file_options& o, bool& created) noexcept
{
    // Not blocking: a named pipe would wait here for its other end.
    const int flags = (writable(o) ? O_RDWR : O_RDONLY) | O_NONBLOCK;
    for (;;) {
        if (!o.temporary) {
            const int fd = open_at(path, flags);
            if (fd >= 0 || errno != ENOENT || !o.create || !writable(o)) return fd;
        }
        const int fd = open_at(path, flags | O_CREAT | O_EXCL);
        created = fd >= 0;
        // Somebody was faster: theirs is opened, unless it had to be ours.
        if (fd >= 0 || errno != EEXIST || o.temporary) return fd;
        struct stat link;
        if (::lstat(path, &link) == 0 && S_ISLNK(link.st_mode)) return errno = ENOENT, -1; // it dangles
    }
}

int examine(opened& f) noexcept
{
    struct stat s;
    if (::fstat(f.cached.get(), &s) != 0) return errno;
    if (S_ISDIR(s.st_mode)) return EISDIR;
    f.block_device = S_ISBLK(s.st_mode);
    if (!f.block_device && !S_ISREG(s.st_mode)) return ENOTBLK;
    if (f.block_device && ::ioctl(f.cached.get(), BLKGETSIZE64, &f.length) != 0) return errno;

    // io_uring takes O_NONBLOCK at its word and fails with EAGAIN what is not cached.
    const int flags = ::fcntl(f.cached.get(), F_GETFL);
    if (::fcntl(f.cached.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return errno;

    struct statfs on;
    f.in_memory =
        ::fstatfs(f.cached.get(), &on) == 0 && (on.f_type == TMPFS_MAGIC || on.f_type == RAMFS_MAGIC);
    return 0;
}

int reserve(const opened& f, const file_options& o) noexcept
{
    if (o.truncate && !f.block_device && ::ftruncate(f.cached.get(), 0) != 0) return errno;
    if (o.preallocate == 0) return 0;
    if (f.block_device) return o.preallocate <= f.length ? 0 : ENOSPC;
    int error;
    do error = ::posix_fallocate(f.cached.get(), 0, static_cast<off_t>(o.preallocate));
    while (error == EINTR);
    return error;
}

bool same_file(int a, int b) noexcept
{
    struct stat x, y;
    return ::fstat(a, &x) == 0 && ::fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/// What the filesystem asks of O_DIRECT. False: it does not do it for this file. Where the kernel cannot say
/// (before 6.1), pages suit everybody.
bool learn_alignment(int fd, alignment& a) noexcept
{
#ifdef STATX_DIOALIGN
    struct statx s {};
    if (::syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) != 0) return true;
    if ((s.stx_mask & STATX_DIOALIGN) == 0) return true;
    if (s.stx_dio_mem_align == 0 || s.stx_dio_offset_align == 0) return false;
    a.memory = std::bit_ceil(s.stx_dio_mem_align);
    a.granule = std::max(a.granule, std::bit_ceil(s.stx_dio_offset_align));
#else
    static_cast<void>(fd), static_cast<void>(a);
#endif
    return true;
}

/// A second description of the same file, past the page cache. Refusals leave `direct` empty.
int open_direct(const char* path, const file_options& o, opened& f) noexcept
{
    f.direct = descriptor{open_at(path, (writable(o) ? O_RDWR : O_RDONLY) | O_DIRECT)};
    if (!f.direct) return errno == EINVAL ? 0 : errno;
    if (!same_file(f.cached.get(), f.direct.get())) return ESTALE; // it was replaced in between
    if (!learn_alignment(f.direct.get(), f.align)) f.direct = descriptor{};
    // Partial blocks come and go through the page cache; read-ahead there would only pollute it.
    if (f.direct) ::posix_fadvise(f.cached.get(), 0, 0, POSIX_FADV_RANDOM);
    return 0;
}

} // namespace

descriptor::~descriptor()
{
    if (number_ >= 0) ::close(number_);
}

int open_file(const std::string& path, const file_options& o, opened& f) noexcept
{
    if (absurd(o)) return EINVAL;
    if (path.find('\0') != std::string::npos) return ENOENT;
    bool created = false;
    f.cached = descriptor{open_or_create(path.c_str(), o, created)};
    if (!f.cached) return errno;

    int error = examine(f);
    if (error == 0) error = reserve(f, o);
    if (error == 0 && o.caching == caching::direct && !f.in_memory) error = open_direct(path.c_str(), o, f);
    if (error == 0 && o.temporary && ::unlink(path.c_str()) != 0)
        error = errno;
    else if (error != 0 && created)
        ::unlink(path.c_str());
    return error;
}

} // namespace wye::storage
