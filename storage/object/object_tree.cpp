// SPDX-License-Identifier: Apache-2.0
#include "object_tree.hpp"

#include <charconv>
#include <cstdio>

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "key_path.hpp"

namespace wye::storage {

namespace {

constexpr const char* attribute = "user.wye.crc32c"; // eight hex digits
constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

error_code to_error(int number) noexcept
{
    return number ? object_error(number) : error_code{};
}

/// "a/b/c", "a/b", "a", then "" for the root.
std::string parent_of(const std::string& path)
{
    const std::size_t end = path.rfind('/', path.size() - 1);
    return end == path.npos ? std::string{} : path.substr(0, end);
}

/// mkdir -p.
int make_directories(const std::string& path)
{
    std::size_t end = 0;
    do {
        end = path.find('/', end + 1);
        if (::mkdir(path.substr(0, end).c_str(), 0777) != 0 && errno != EEXIST) return errno;
    } while (end != path.npos);
    return 0;
}

std::string sum_file_of(const std::string& path)
{
    return path + std::string{sum_suffix};
}

/// What a sum file says: which file it speaks for, then the sum.
std::string sum_line(const struct ::stat& s, std::uint32_t sum)
{
    char line[128];
    const int n = std::snprintf(line, sizeof line, "%llu %lld %lld.%09ld %08x\n",
                                static_cast<unsigned long long>(s.st_ino), static_cast<long long>(s.st_size),
                                static_cast<long long>(s.st_mtim.tv_sec), s.st_mtim.tv_nsec, sum);
    return {line, static_cast<std::size_t>(n)};
}

std::optional<std::uint32_t> parse_sum(const char* digits)
{
    std::uint32_t sum = 0;
    const auto [end, failed] = std::from_chars(digits, digits + 8, sum, 16);
    if (failed != std::errc{} || end != digits + 8) return std::nullopt;
    return sum;
}

} // namespace

object_tree::object_tree(bool writable, bool durable) noexcept : writable_{writable}, durable_{durable} {}

error_code object_tree::open(const std::string& path)
{
    root_ = descriptor{::open(path.c_str(), directory_flags)};
    if (!root_ && errno == ENOENT && writable_) {
        if (const int failed = make_directories(path)) return object_error(failed);
        root_ = descriptor{::open(path.c_str(), directory_flags)};
    }
    if (!root_) return errno == ENOENT ? error_code{errc::not_found} : object_error(errno);
    attributes_ = ::fgetxattr(root_.get(), attribute, nullptr, 0) >= 0 || errno != ENOTSUP;
    return writable_ ? scratch_.open(root_.get()) : error_code{};
}

error_code object_tree::open_object(const std::string& path, descriptor& file, struct ::stat& s) const
{
    // O_NONBLOCK: should there be a FIFO, opening it must not wait for a writer.
    file = descriptor{::openat(root_.get(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    if (!file) return errno == ENOENT || errno == ENOTDIR ? error_code{errc::not_found} : object_error(errno);
    if (::fstat(file.get(), &s) != 0) return object_error(errno);
    if (!S_ISREG(s.st_mode)) return errc::not_found;
    return {};
}

error_code object_tree::stat(const std::string& path, struct ::stat& s) const
{
    if (::fstatat(root_.get(), path.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || errno == ENOTDIR ? error_code{errc::not_found} : object_error(errno);
    if (!S_ISREG(s.st_mode)) return errc::not_found;
    return {};
}

std::optional<std::uint32_t> object_tree::sum_of(const std::string& path, int file,
                                                 const struct ::stat& s) const
{
    char text[128];
    if (attributes_)
        return ::fgetxattr(file, attribute, text, sizeof text) == 8 ? parse_sum(text) : std::nullopt;

    const std::string where = sum_file_of(path);
    const descriptor sums{::openat(root_.get(), where.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (!sums) return std::nullopt;
    const ssize_t n = ::read(sums.get(), text, sizeof text);
    if (n < 9) return std::nullopt;
    const auto sum = parse_sum(text + n - 9);
    if (!sum || std::string_view{text, static_cast<std::size_t>(n)} != sum_line(s, *sum)) return std::nullopt;
    return sum;
}

error_code object_tree::remove(const std::string& path)
{
    if (::unlinkat(root_.get(), path.c_str(), 0) != 0)
        return errno == ENOENT || errno == ENOTDIR ? error_code{} : object_error(errno);
    if (!attributes_) ::unlinkat(root_.get(), sum_file_of(path).c_str(), 0);
    for (std::string up = parent_of(path); !up.empty(); up = parent_of(up))
        if (::unlinkat(root_.get(), up.c_str(), AT_REMOVEDIR) != 0) break;
    return {};
}

int object_tree::open_directory(const std::string& path, descriptor& directory) const
{
    directory = descriptor{::openat(root_.get(), path.c_str(), directory_flags)};
    return directory ? 0 : errno;
}

error_code object_tree::create_temporary(descriptor& file, std::string& name)
{
    name = std::to_string(temporaries_.fetch_add(1, std::memory_order_relaxed));
    file = descriptor{::openat(scratch_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    return file ? error_code{} : object_error(errno);
}

void object_tree::remove_temporary(const std::string& name) noexcept
{
    ::unlinkat(scratch_.get(), name.c_str(), 0);
}

error_code object_tree::publish(descriptor file, const std::string& name, const std::string& path,
                                std::optional<std::uint32_t> sum)
{
    int failed = keep_sum(file.get(), path, sum);
    if (!failed && durable_ && ::fsync(file.get()) != 0) failed = errno;
    // Some network filesystems say only now that the bytes did not arrive.
    if (::close(file.release()) != 0 && !failed) failed = errno;
    bool made_directories = false;
    if (!failed) failed = move_into_place(name, path, made_directories);
    if (failed) {
        remove_temporary(name);
        return object_error(failed);
    }
    return durable_ ? to_error(sync_parents(path, made_directories)) : error_code{};
}

int object_tree::keep_sum(int file, const std::string& path, std::optional<std::uint32_t> sum)
{
    if (attributes_) {
        if (!sum) return 0;
        char text[9];
        std::snprintf(text, sizeof text, "%08x", *sum);
        return ::fsetxattr(file, attribute, text, 8, 0) == 0 ? 0 : errno;
    }
    if (sum) return write_sum_file(file, path, *sum);
    // An inode number may come round again, so the sum of an older object goes for good.
    return ::unlinkat(root_.get(), sum_file_of(path).c_str(), 0) == 0 || errno == ENOENT ? 0 : errno;
}

int object_tree::write_sum_file(int file, const std::string& path, std::uint32_t sum)
{
    struct ::stat s;
    if (::fstat(file, &s) != 0) return errno;
    const std::string line = sum_line(s, sum);
    descriptor sums;
    std::string name;
    if (const error_code e = create_temporary(sums, name)) return e.value();

    const ssize_t n = ::write(sums.get(), line.data(), line.size());
    int failed = n < 0 ? errno : static_cast<std::size_t>(n) != line.size() ? ENOSPC : 0;
    if (!failed && durable_ && ::fsync(sums.get()) != 0) failed = errno;
    bool made_directories = false;
    if (!failed) failed = move_into_place(name, sum_file_of(path), made_directories);
    if (failed) remove_temporary(name);
    return failed;
}

/// Directories are made when the first rename fails for want of them, so that all later ones cost nothing.
int object_tree::move_into_place(const std::string& name, const std::string& path, bool& made_directories)
{
    // Removing another object may take the directories away again.
    for (int tries = 0; tries < 1000; ++tries) {
        if (::renameat(scratch_.get(), name.c_str(), root_.get(), path.c_str()) == 0) return 0;
        if (errno != ENOENT) return errno;
        if (const int failed = make_parents(path); failed && failed != ENOENT) return failed;
        made_directories = true;
    }
    return ENOENT;
}

int object_tree::make_parents(const std::string& path)
{
    for (std::size_t end = path.find('/'); end != path.npos; end = path.find('/', end + 1))
        if (::mkdirat(root_.get(), path.substr(0, end).c_str(), 0777) != 0 && errno != EEXIST) return errno;
    return 0;
}

int object_tree::sync_parents(const std::string& path, bool all) const
{
    std::string up = path;
    do {
        up = parent_of(up);
        const descriptor directory{::openat(root_.get(), up.empty() ? "." : up.c_str(), directory_flags)};
        if (!directory || ::fsync(directory.get()) != 0) return errno;
    } while (all && !up.empty());
    return 0;
}

} // namespace wye::storage
