// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <wye/file.hpp>

#include "pieces.hpp"

namespace wye::storage {

/// Owner of a descriptor.
class descriptor {
public:
    descriptor() = default;
    explicit descriptor(int number) noexcept : number_{number} {}
    descriptor(descriptor&& o) noexcept : number_{std::exchange(o.number_, -1)} {}
    descriptor& operator=(descriptor&& o) noexcept
    {
        std::swap(number_, o.number_);
        return *this;
    }
    ~descriptor();

    int get() const noexcept { return number_; }
    explicit operator bool() const noexcept { return number_ >= 0; }

private:
    int number_ = -1;
};

/// What is known of a file once it is open.
struct opened {
    descriptor cached; ///< through the page cache
    descriptor direct; ///< O_DIRECT; none when not asked for, or refused by the filesystem
    alignment align;   ///< of `direct`
    bool block_device = false;
    bool in_memory = false;   ///< tmpfs and the like: nothing there ever waits for a device
    std::uint64_t length = 0; ///< of a block device
};

/// Opens, makes, empties and preallocates as the options say. Blocks. Returns 0 or an errno; then nothing
/// that it made is left behind.
int open_file(const std::string& path, const file_options&, opened&) noexcept;

} // namespace wye::storage
