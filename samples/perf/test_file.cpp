// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <random>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "raw_file.hpp"

namespace perf {

namespace {

[[noreturn]] void fail(const std::string& what)
{
    throw std::system_error{errno, std::generic_category(), what};
}

void fill(int descriptor, std::size_t bytes, const std::string& directory)
{
    errno = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)); // a full disk is found out first
    if (errno != 0) fail(directory);
    std::vector<std::uint64_t> block(128 * 1024);
    std::mt19937_64 random{1};
    std::ranges::generate(block, random);
    const std::size_t piece = block.size() * sizeof(block[0]);
    for (std::size_t at = 0; at < bytes; at += piece) {
        block[0] = at; // so that no two pieces are alike
        if (::write(descriptor, block.data(), piece) != static_cast<ssize_t>(piece)) fail(directory);
    }
    if (::fsync(descriptor) != 0) fail(directory);
}

} // namespace

test_file::test_file(const std::string& directory, std::size_t bytes) : bytes_{bytes}
{
    std::string name = directory + "/wye-perf-XXXXXX";
    cached_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (cached_ < 0) fail(directory);
    ::unlink(name.c_str());
    try {
        fill(cached_, bytes, directory);
    } catch (...) {
        ::close(cached_);
        throw;
    }
    direct_ = ::open(path().c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
    if (direct_ < 0) direct_ = ::dup(cached_); // no O_DIRECT here: both sides go through the cache
}

test_file::~test_file()
{
    ::close(cached_);
    ::close(direct_);
}

std::string test_file::path() const
{
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(cached_);
}

void test_file::sync() const
{
    if (::fdatasync(cached_) != 0) fail("fdatasync");
}

void test_file::warm() const
{
    std::vector<std::byte> block(1 << 20);
    for (std::size_t at = 0; at < bytes_; at += block.size())
        if (::pread(cached_, block.data(), block.size(), static_cast<off_t>(at)) < 0) fail("pread");
}

void test_file::cool() const
{
    sync();
    ::posix_fadvise(cached_, 0, 0, POSIX_FADV_DONTNEED);
}

} // namespace perf
