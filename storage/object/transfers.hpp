// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "object_tree.hpp"

namespace wye::storage {

/// What a driver's session stands for: an object on its way in or out. The tree must outlive it. Calls block.
class transfer_session {
public:
    virtual ~transfer_session() = default;
};

/// An object on its way in: a temporary file, until `commit`. Gone without trace if it is destroyed first.
class upload final : public transfer_session {
public:
    explicit upload(object_tree& t) noexcept : tree_{t} {}
    ~upload() override;

    /// `total`: bytes of the object. `reserve`: room for them on the disk, so that ENOSPC comes now.
    error_code begin(std::uint64_t total, bool reserve);
    /// Any order, any thread. All of it, or an error.
    error_code write(const std::byte* data, std::size_t bytes, std::uint64_t offset);
    /// `short_transfer` unless every byte was written.
    error_code commit(const std::string& path, std::optional<std::uint32_t> sum);

private:
    object_tree& tree_;
    descriptor file_;
    std::string name_;
    std::uint64_t total_ = 0;
    std::atomic<std::uint64_t> written_{0};
};

/// An object on its way out: one generation of it, whatever replaces it meanwhile.
class download final : public transfer_session {
public:
    explicit download(const object_tree& t) noexcept : tree_{t} {}

    error_code begin(const std::string& path);
    std::uint64_t size() const noexcept { return size_; }
    /// Fewer bytes than asked only at the end of the object. Any thread.
    error_code read(std::byte* data, std::size_t bytes, std::uint64_t offset, std::size_t& got) const;
    /// The checksum kept with it.
    std::optional<std::uint32_t> sum() const { return tree_.sum_of(path_, file_.get(), stat_); }

private:
    const object_tree& tree_;
    std::string path_;
    descriptor file_;
    struct ::stat stat_ {};
    std::uint64_t size_ = 0;
};

} // namespace wye::storage
