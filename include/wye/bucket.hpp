// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wye/driver.hpp>
#include <wye/region.hpp>
#include <wye/task.hpp>

namespace wye {

/// The name of one object. As a target it is replaced whole, at once, when the copy ends well, and untouched
/// otherwise. As a source it stands for all of its bytes: the copy fails with `length_mismatch` when the
/// object is longer than the target and `short_transfer` when it is shorter; `range` reads a part.
///
/// Move-only. A transfer that has started keeps what it needs, so a temporary will do:
/// `co_await copy(kv, bucket.object("layer/0"))`.
class object {
public:
    explicit object(detail::segment_handle h) noexcept : segment_{std::move(h)} {}
    operator slice() const noexcept { return {segment_.get(), 0, slice::whole}; }
    /// Bytes `[offset, offset + length)`, for reading.
    slice range(std::uint64_t offset, std::uint64_t length) const noexcept { return {segment_.get(), offset, length}; }

private:
    detail::segment_handle segment_;
};

/// A store of objects: a directory ("dir:/path"), S3. Move-only; on the runtime's thread. Its agent must
/// outlive it. Every task throws system_error.
class bucket {
public:
    bucket() = default;
    bucket(std::unique_ptr<object_store> store, detail::engine&, driver& home);
    bucket(bucket&&) noexcept = default;
    bucket& operator=(bucket&& o) noexcept
    {
        std::swap(store_, o.store_);
        std::swap(root_, o.root_);
        std::swap(engine_, o.engine_);
        std::swap(home_, o.home_);
        return *this;
    }
    ~bucket();

    /// Names an object; nothing is asked of the store. Throws system_error (`bad_name`) for a key the store
    /// cannot hold: empty, over 1024 bytes, or with a component the store forbids.
    wye::object object(std::string_view key) const;
    /// Names it under a condition, for S3; of a directory it throws `not_supported`. A copy to it fails with what equals
    /// `boost::system::errc::file_exists` where there is one that should be absent, with `s3_errc::changed` where it is another generation,
    /// as does a copy from it; and with what equals `boost::system::errc::not_supported` where the server has no such condition.
    /// What is written so goes in one request: above `s3_options::part_bytes` it is `errc::not_supported`.
    wye::object object(std::string_view key, const object_condition&) const;
    /// Size and time; `errc::not_found`.
    task<object_info> stat(std::string_view key) const;
    /// All keys that begin with `prefix`, in byte order.
    task<std::vector<object_info>> list(std::string_view prefix = {}) const;
    /// Removes it; one that is not there is no error.
    task<> remove(std::string_view key) const;
    /// Removes all of these, with few requests where the store can; when it throws, some of them.
    task<> remove(std::vector<std::string> keys) const;
    /// One line about the last failure with this key, of a copy or a call: for S3 status, code, request id and what the
    /// server says. Empty when there is nothing to add to the error. Exceptions of the tasks above have it in `what()`.
    std::string why(std::string_view key) const;
    wye::access access() const noexcept { return store_->access(); }
    explicit operator bool() const noexcept { return store_ != nullptr; }
    segment* root() const noexcept { return root_.get(); } ///< what stands for it when it is published

private:
    wye::object named(std::unique_ptr<segment>) const;

    std::unique_ptr<object_store> store_;
    std::unique_ptr<segment> root_;
    detail::engine* engine_ = nullptr;
    driver* home_ = nullptr;
};

} // namespace wye
