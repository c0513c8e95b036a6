// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <wye/cuda.hpp>

#include "api.hpp"
#include "page.hpp"

namespace wye::cu {

class pinned_memory;

/// Chunks in the order in which they go. `chunk::scratch[0]` is the word that ends them, `scratch[1]` what went wrong,
/// `scratch[2]` whether it was gathered.
class chunk_queue {
public:
    chunk* front() const noexcept { return head_; }
    bool empty() const noexcept { return !head_; }
    void push(chunk& c) noexcept
    {
        c.next = nullptr;
        (head_ ? tail_->next : head_) = &c;
        tail_ = &c;
    }
    void pop() noexcept { head_ = head_->next; }
    /// Adds all of the other.
    void take(chunk_queue& o) noexcept
    {
        if (!o.head_) return;
        (head_ ? tail_->next : head_) = o.head_;
        tail_ = o.tail_;
        o.head_ = nullptr;
    }

private:
    chunk* head_ = nullptr;
    chunk* tail_ = nullptr;
};

/// What tracks of one device have in common.
struct shop {
    const wye::cu::api* api = nullptr;
    CUcontext context = nullptr;
    CUfunction kernel = nullptr;
    gather_by gather = gather_by::copies;
    unsigned blocks_up = 16, blocks_down = 5, threads = 256, least = 4;
    std::size_t list_bytes = 8_MiB;
    int priority = 0;
    pinned_memory* pinned = nullptr;
    CUresult lost = CUDA_SUCCESS; ///< every use of the device fails with this from now on
};

/// Page lists and words that one track needs, in pinned memory.
struct track_memory {
    static constexpr unsigned lists = 8;
    alignas(128) std::uint32_t word = 0;
    alignas(128) std::array<std::array<page, most_pages>, lists> pages;
};

/// One stream of one device, and what is under way on it.
///
/// Pieces are gathered into lists as they come, and each list is one launch. After each launch, and after each large copy,
/// the stream writes a number into a word of pinned memory: that is all that `reap` looks at. A number that does
/// not come is asked about now and then, since after a sticky error of the device it never will.
class track {
public:
    static constexpr std::size_t told_at_once = 256_KiB; ///< copies of so much get a word of their own

    track() = default;
    track(const track&) = delete;

    void use(shop& s, track_memory& m) noexcept
    {
        shop_ = &s;
        memory_ = &m;
    }
    void close() noexcept; ///< waits for what is under way

    /// False: not now.
    bool copy(chunk&) noexcept;
    bool gather(chunk&, std::size_t pages_out) noexcept;
    bool building() const noexcept { return has_list_; }
    void flush() noexcept; ///< tells the device of what was not told at once
    std::size_t reap(turn) noexcept;

    bool idle() const noexcept { return issued_.empty() && building_.empty(); }
    std::size_t pages_out() const noexcept { return pages_out_; }
    /// Something is to come, and the stream has not been asked in vain since the last that came.
    bool due() const noexcept { return !issued_.empty() && !slow_; }
    /// Made when it is first asked for: streams share a device's few queues, and what shares one waits for the other.
    CUstream stream() noexcept;

private:
    static constexpr std::uint32_t doubtful_after = 8192; // fruitless polls, some 2 ms
    static constexpr unsigned patient = 128;              // looks of a poll, some 0.2 us

    CUresult copy_now(const page&) noexcept;
    CUresult copy_parts(const page&) noexcept;
    CUresult launch(const page* list, unsigned count, bool down) noexcept;
    CUresult copy_batch(const page* list, unsigned count) noexcept;
    void send_list() noexcept;
    void write_word() noexcept;
    bool next_list() noexcept;
    std::uint32_t seen() const noexcept;
    bool comes(std::uint32_t value, unsigned looks) noexcept;
    bool written(std::uint32_t value) const noexcept
    {
        return static_cast<std::int32_t>(reached_ - value) >= 0;
    }
    std::size_t end_all(turn) noexcept;
    void doubt() noexcept;

    shop* shop_ = nullptr;
    track_memory* memory_ = nullptr;
    CUstream stream_ = nullptr;
    std::uint32_t sent_ = 0;    // the word that was written last
    std::uint32_t reached_ = 0; // as last seen
    std::uint32_t fruitless_ = 0;
    bool slow_ = false;         // what comes next is long to come
    bool untold_ = false;       // something was issued since
    chunk_queue issued_, building_;
    unsigned list_ = 0, count_ = 0; // being built
    std::size_t bytes_ = 0;         // in it
    bool has_list_ = false;
    std::array<std::uint32_t, track_memory::lists> free_at_{};
    std::size_t pages_out_ = 0;
};

} // namespace wye::cu
