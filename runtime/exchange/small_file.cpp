// SPDX-License-Identifier: Apache-2.0
#include "small_file.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wye/error.hpp>

#include "peers/proof.hpp"
#include "peers/wire_bytes.hpp"

namespace wye::detail {

namespace {

[[noreturn]] void fail(const std::string& path) { throw system_error(file_error(errno), path); }

class descriptor {
public:
    descriptor(const std::string& path, int flags) : fd_{::open(path.c_str(), flags | O_CLOEXEC, 0600)} {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() { if (fd_ >= 0) ::close(fd_); }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int get() const noexcept { return fd_; }

private:
    int fd_;
};

/// Beside the file that it becomes; nobody guesses it, and a directory's entries do not begin with a dot.
std::string temporary_in(const std::string& folder)
{
    std::array<std::byte, 8> random;
    fill_randomly(random);
    std::array<char, 32> name;
    std::snprintf(name.data(), name.size(), "/.wye-%016llx", static_cast<unsigned long long>(wire::load<std::uint64_t>(random.data())));
    return folder + name.data();
}

void write_all(int fd, wire::view from, const std::string& path)
{
    while (!from.empty()) {
        const ::ssize_t n = ::write(fd, from.data(), from.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail(path);
        from = from.subspan(static_cast<std::size_t>(n));
    }
}

void write_durably(const std::string& path, wire::view content)
{
    const descriptor file{path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW};
    if (!file) fail(path);
    write_all(file.get(), content, path);
    if (::fsync(file.get()) != 0) fail(path);
}

} // namespace

std::string folder_of(const std::string& path)
{
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

void replace_file(const std::string& path, wire::view content)
{
    const std::string folder = folder_of(path), temporary = temporary_in(folder);
    try {
        write_durably(temporary, content);
        if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path);
    } catch (const system_error&) {
        ::unlink(temporary.c_str());
        throw;
    }
    const descriptor in{folder, O_RDONLY | O_DIRECTORY};
    if (!in || ::fsync(in.get()) != 0) fail(folder);
}

std::optional<wire::bytes> read_file(const std::string& path, std::size_t most)
{
    const descriptor file{path, O_RDONLY | O_NONBLOCK}; // a pipe must not hold us up
    if (!file && errno == ENOENT) return std::nullopt;
    if (!file) fail(path);
    struct ::stat is;
    if (::fstat(file.get(), &is) != 0) fail(path);
    if (!S_ISREG(is.st_mode) || static_cast<std::size_t>(is.st_size) > most) throw system_error(errc::corrupt, path);
    wire::bytes content(static_cast<std::size_t>(is.st_size));
    std::size_t got = 0;
    while (got < content.size()) {
        const ::ssize_t n = ::read(file.get(), content.data() + got, content.size() - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail(path);
        if (n == 0) break; // it was cut meanwhile
        got += static_cast<std::size_t>(n);
    }
    content.resize(got);
    return content;
}

void remove_file(const std::string& path)
{
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path);
}

} // namespace wye::detail
