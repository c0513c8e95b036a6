// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <wye/gpu_sharing.hpp>

#include "track.hpp"

namespace wye::cu {

/// Copies in line, by `gpu_copy::next`.
class copy_queue {
public:
    gpu_copy* front() const noexcept { return first_; }
    bool empty() const noexcept { return !first_; }
    void push(gpu_copy& c) noexcept
    {
        c.next = nullptr;
        (first_ ? last_->next : first_) = &c;
        last_ = &c;
    }
    gpu_copy* pop() noexcept
    {
        gpu_copy* const c = first_;
        if (c) first_ = c->next;
        return c;
    }
    /// Adds all of the other.
    void take(copy_queue& o) noexcept
    {
        while (gpu_copy* const c = o.pop()) push(*c);
    }

private:
    gpu_copy* first_ = nullptr;
    gpu_copy* last_ = nullptr;
};

/// Copies from one part of device memory to another: one stream of one device, which does them in the order in which they were
/// started. Pages are gathered and ends are seen as a `track` does it; what they are of is for its user.
class copies {
public:
    copies() = default;
    copies(const copies&) = delete;
    ~copies() { close(); }

    /// Of a device that is open; it goes first. Its context is current.
    CUresult open(shop&, std::size_t gather_bytes) noexcept;
    bool is_open() const noexcept { return memory_ != nullptr; }

    bool start(gpu_copy&) noexcept; ///< false: not now
    void flush() noexcept;
    gpu_copy* next_over() noexcept;
    void settle() noexcept;

private:
    static constexpr std::uint32_t doubtful_after = 2048; // fruitless looks at the word

    void close() noexcept;
    bool gathers(const gpu_copy&) const noexcept;
    bool next_list() noexcept;
    CUresult copy(const page&) noexcept;
    void send_list() noexcept;
    void write_word() noexcept;
    void issued(gpu_copy&, CUresult) noexcept;
    void doubt() noexcept;
    bool written(std::uint32_t value) const noexcept { return static_cast<std::int32_t>(reached_ - value) >= 0; }
    std::uint32_t seen() const noexcept;

    shop* shop_ = nullptr;
    track_memory* memory_ = nullptr;
    CUstream stream_ = nullptr;
    std::size_t gather_bytes_ = 0;
    copy_queue issued_, building_;
    std::uint32_t sent_ = 0, reached_ = 0; // the word that was written last, and as last seen
    std::uint32_t fruitless_ = 0;
    bool untold_ = false;                  // something was issued since
    unsigned list_ = 0, count_ = 0;        // being built
    bool has_list_ = false;
    std::array<std::uint32_t, track_memory::lists> free_at_{};
    std::size_t pages_out_ = 0;
};

} // namespace wye::cu
