// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <wye/segment.hpp>

namespace wye {

namespace detail {

/// Sole owner of a segment. A transfer in flight when it goes aborts the process (`strict`) or takes the
/// segment over (objects).
class segment_handle {
public:
    segment_handle() = default;
    segment_handle(std::unique_ptr<segment> s, bool strict) noexcept : segment_{s.release()}, strict_{strict} {}
    segment_handle(segment_handle&& o) noexcept : segment_{std::exchange(o.segment_, nullptr)}, strict_{o.strict_} {}
    segment_handle& operator=(segment_handle&& o) noexcept
    {
        std::swap(segment_, o.segment_);
        std::swap(strict_, o.strict_);
        return *this;
    }
    ~segment_handle() { reset(); }
    segment* get() const noexcept { return segment_; }
    void reset() noexcept;

private:
    segment* segment_ = nullptr;
    bool strict_ = true;
};

} // namespace detail

/// Memory that drivers know: what `agent::register_memory` gives. Move-only; deregisters when it goes.
///
/// It does not own the memory, which must outlive it. Destroy it on the runtime's thread and with no transfer
/// in flight: hardware would still be writing, so that aborts the process, in release builds too.
class region {
public:
    region() = default;
    explicit region(detail::segment_handle h) noexcept : segment_{std::move(h)} {}

    operator slice() const noexcept { return {segment_.get(), 0, size()}; }
    std::uint64_t size() const noexcept { return segment_.get() ? segment_.get()->length : 0; }
    wye::tier tier() const noexcept { return segment_.get()->tier; }
    /// Bytes `[offset, offset + length)`.
    slice at(std::uint64_t offset, std::uint64_t length) const noexcept { return {segment_.get(), offset, length}; }
    /// The `index`th block of `bytes` bytes.
    slice block(std::uint64_t index, std::uint64_t bytes) const noexcept { return at(index * bytes, bytes); }
    explicit operator bool() const noexcept { return segment_.get() != nullptr; }
    /// Deregisters now.
    void reset() noexcept { segment_.reset(); }

private:
    detail::segment_handle segment_;
};

} // namespace wye
