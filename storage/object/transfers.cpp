// SPDX-License-Identifier: Apache-2.0
#include "transfers.hpp"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

namespace wye::storage {

upload::~upload()
{
    if (file_) tree_.remove_temporary(name_);
}

error_code upload::begin(std::uint64_t total, bool reserve)
{
    if (const error_code e = tree_.create_temporary(file_, name_)) return e;
    total_ = total;
    if (!reserve || total == 0 || ::fallocate(file_.get(), 0, 0, static_cast<off_t>(total)) == 0) return {};
    return errno == EOPNOTSUPP || errno == ENOSYS ? error_code{} : object_error(errno);
}

error_code upload::write(const std::byte* data, std::size_t bytes, std::uint64_t offset)
{
    std::size_t done = 0;
    while (done < bytes) {
        const ssize_t n = ::pwrite(file_.get(), data + done, bytes - done, static_cast<off_t>(offset + done));
        if (n > 0) done += static_cast<std::size_t>(n);
        else if (n == 0) return object_error(EIO);
        else if (errno != EINTR) return object_error(errno);
    }
    written_.fetch_add(bytes, std::memory_order_relaxed);
    return {};
}

error_code upload::commit(const std::string& path, std::optional<std::uint32_t> sum)
{
    if (written_.load(std::memory_order_relaxed) != total_) return errc::short_transfer;
    return tree_.publish(std::move(file_), name_, path, sum);
}

error_code download::begin(const std::string& path)
{
    const error_code e = tree_.open_object(path, file_, stat_);
    path_ = path;
    size_ = static_cast<std::uint64_t>(stat_.st_size);
    return e;
}

error_code download::read(std::byte* data, std::size_t bytes, std::uint64_t offset, std::size_t& got) const
{
    got = 0;
    while (got < bytes) {
        const ssize_t n = ::pread(file_.get(), data + got, bytes - got, static_cast<off_t>(offset + got));
        if (n > 0) got += static_cast<std::size_t>(n);
        else if (n == 0) break;
        else if (errno != EINTR) return object_error(errno);
    }
    return {};
}

} // namespace wye::storage
