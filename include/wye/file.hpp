// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <wye/region.hpp>
#include <wye/task.hpp>

namespace wye {

/// Whether bytes of a file go through the kernel's page cache.
enum class caching : std::uint8_t {
    direct,   ///< O_DIRECT: straight to the device; slices that are not 4096-aligned are handled, at the cost of a copy
    buffered, ///< through the page cache; `file::sync` makes it durable
};

struct file_options {
    wye::access access = wye::access::read_write;
    wye::caching caching = wye::caching::direct; ///< falls back to buffered where the filesystem refuses O_DIRECT
    bool create = true;             ///< make the file when it is missing (read_write only)
    bool truncate = false;          ///< empty it first
    std::uint64_t preallocate = 0;  ///< bytes to reserve on disk, so that ENOSPC comes now and not later
    bool temporary = false;         ///< unlink it as soon as it is open: nothing is left, however the process ends
};

/// An open file or block device of the FILE tier. Move-only; closes when it goes. To be destroyed on the
/// runtime's thread with no transfer in flight (it aborts otherwise: the kernel would still be writing).
class file {
public:
    file() = default;
    explicit file(detail::segment_handle h) noexcept : segment_{std::move(h)} {}

    /// Bytes `[offset, offset + length)`. Writing past the end extends a regular file.
    slice at(std::uint64_t offset, std::uint64_t length) const noexcept { return {segment_.get(), offset, length}; }
    /// The `index`th block of `bytes` bytes.
    slice block(std::uint64_t index, std::uint64_t bytes) const noexcept { return at(index * bytes, bytes); }
    explicit operator bool() const noexcept { return segment_.get() != nullptr; }
    /// Where it is, as given.
    std::string_view path() const noexcept { return segment_.get()->describe(); }
    /// `tier::file` or `tier::block`.
    wye::tier tier() const noexcept { return segment_.get()->tier; }

    /// Makes all completed writes durable (fdatasync). Throws system_error.
    task<> sync();

private:
    detail::segment_handle segment_;
};

} // namespace wye
