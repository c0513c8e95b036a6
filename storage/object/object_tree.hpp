// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include <sys/stat.h>

#include <wye/driver.hpp>

#include "descriptor.hpp"
#include "scratch.hpp"

namespace wye::storage {

/// Objects below one directory, in blocking calls. Paths are `path_of` keys. Any number of threads after
/// `open`; any number of processes at any time.
///
/// An object is a file that is complete before it gets its name, by rename: readers and crashes see it whole
/// or not at all, and whoever has it open keeps the generation that he opened.
///
/// Its checksum is an extended attribute of the file. Where the filesystem has none it is a small file next
/// to it, which names inode, size and time of the one file that it speaks for and is ignored for any other.
class object_tree {
public:
    /// `writable`: objects may be put and removed. `durable`: an object is on the device, with its name, when
    /// `publish` returns.
    object_tree(bool writable, bool durable) noexcept;

    /// Makes the directory, for writing; `not_found` where it is missing, for reading.
    error_code open(const std::string& path);
    bool writable() const noexcept { return writable_; }

    /// `not_found` unless a regular file is there.
    error_code open_object(const std::string& path, descriptor&, struct ::stat&) const;
    error_code stat(const std::string& path, struct ::stat&) const;
    /// The checksum kept with this very file.
    std::optional<std::uint32_t> sum_of(const std::string& path, int file, const struct ::stat&) const;
    /// And the directories that it leaves empty. Not there is no error.
    error_code remove(const std::string& path);
    /// Of `directory_of` a prefix. An errno.
    int open_directory(const std::string& path, descriptor&) const;

    /// A new file in the scratch directory; `name` is what it is called there.
    error_code create_temporary(descriptor&, std::string& name);
    void remove_temporary(const std::string& name) noexcept;
    /// Makes a temporary the object, at once and whole, in place of what was there. Closes the file.
    error_code publish(descriptor, const std::string& name, const std::string& path,
                       std::optional<std::uint32_t> sum);

private:
    int keep_sum(int file, const std::string& path, std::optional<std::uint32_t> sum);
    int write_sum_file(int file, const std::string& path, std::uint32_t sum);
    int move_into_place(const std::string& name, const std::string& path, bool& made_directories);
    int make_parents(const std::string& path);
    int sync_parents(const std::string& path, bool all) const;

    const bool writable_;
    const bool durable_;
    bool attributes_ = true; // the filesystem has extended attributes
    descriptor root_;
    scratch scratch_; // goes before root_ does
    std::atomic<std::uint64_t> temporaries_{0};
};

} // namespace wye::storage
