// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <sys/uio.h>

#include <wye/driver.hpp>
#include <wye/drivers.hpp>
#include <wye/file.hpp>

#include "bounce_pool.hpp"
#include "file_segment.hpp"
#include "io_engine.hpp"
#include "pieces.hpp"

namespace wye::storage {

/// Chunks in a row, through their own `next`.
class chunk_queue {
public:
    bool empty() const noexcept { return !head_; }
    /// Urgent ones go to the front.
    void push(chunk& c) noexcept
    {
        if (c.urgent) return push_front(c);
        c.next = nullptr;
        (head_ ? tail_->next : head_) = &c;
        tail_ = &c;
    }
    void push_front(chunk& c) noexcept
    {
        c.next = head_;
        if (!head_) tail_ = &c;
        head_ = &c;
    }
    chunk* front() const noexcept { return head_; }
    chunk* pop() noexcept
    {
        chunk* const c = head_;
        if (c) head_ = c->next;
        return c;
    }

private:
    chunk* head_ = nullptr;
    chunk* tail_ = nullptr;
};

/// Moves bytes between DRAM and files or block devices.
///
/// A chunk goes step by step: `sort` cuts the next piece and queues the chunk by who is to move it. The
/// engine moves what goes to the device. What a system call that cannot wait moves at once, and what is
/// copied to a bounce buffer, is done by this thread, in `poll`, as far as the turn allows.
class file_driver final : public driver {
public:
    explicit file_driver(const drivers::file_driver_options&);
    /// Ends what is in flight first.
    ~file_driver() override;

    std::string_view name() const noexcept override { return engine_->name(); }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    bool move_at_once(const slice& from, const slice& to) noexcept override;
    bool submit(chunk&) noexcept override;
    void flush() noexcept override;
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return pool_.outstanding() != 0; }
    int wait_handle() const noexcept override { return pool_.wait_handle(); }
    bool arm() noexcept override;

    void enlist(segment&, std::function<void(error_code)> done) override;
    void dismiss(segment&) noexcept override;
    bool opens_files() const noexcept override { return true; }
    void open_file(std::string path, const file_options&,
                   std::function<void(error_code, std::unique_ptr<segment>)> done) override;
    void sync(segment& file, std::function<void(error_code)> done) override;

private:
    using clock = std::chrono::steady_clock;

    /// What the driver notes on a chunk, in its scratch.
    struct progress {
        std::uint64_t moved = 0;                ///< bytes that have arrived
        piece step;                             ///< the one under way, or to be started
        std::uint32_t slot = bounce_pool::none; ///< its bounce buffer
    };

    // What this thread does at a time, in bytes of copying.
    static constexpr std::size_t copy_at_once = 1_MiB; // before others have their turn: less costs throughput
    static constexpr std::size_t most_in_turn = 64_KiB;  // when a budget is to be kept: some 10 us
    static constexpr std::size_t look_at_clock = 32_KiB; // between two looks at the clock
    static constexpr std::size_t call_cost = 4_KiB;      // what a system call amounts to
    static constexpr std::uint64_t page = 4096;

    struct open_job;
    struct sync_job;

    static progress& of(chunk&) noexcept;
    bool writes(const chunk& c) const noexcept { return c.to.of->home == this; }
    file_segment& file_of(const chunk&) const noexcept;
    std::uint64_t place(chunk&) const noexcept;
    std::byte* memory(chunk&) const noexcept;
    std::uint32_t slot_bytes(const file_segment&) const noexcept;
    std::unique_ptr<segment> adopt(std::string path, opened, wye::access);

    void sort(chunk&) noexcept;
    bool suits_this_thread(chunk&, file_segment&) noexcept;
    bool takes_write(file_segment&, std::uint64_t offset, std::uint64_t length) noexcept;
    bool throttled() noexcept;

    std::size_t reap(turn) noexcept;
    std::size_t land(chunk&, int result) noexcept;
    std::size_t start_some(turn) noexcept;
    std::size_t cost(chunk&) const noexcept;
    void start(chunk&, bool hurried) noexcept;
    int memory_slot(chunk&, std::uint32_t length) const noexcept;
    bool take_slot(chunk&) noexcept;
    void give_slot(chunk&) noexcept;
    std::size_t work_some(turn) noexcept;
    void keep_pace(std::size_t bytes, std::chrono::duration<double> took) noexcept;
    std::size_t bounce(chunk&) noexcept;
    std::size_t move_now(chunk&, std::size_t most) noexcept;
    ssize_t transfer_now(file_segment&, bool write, const iovec&, std::uint64_t at) noexcept;
    ssize_t write_now(int descriptor, const iovec& from, off_t at) noexcept;
    void finish(chunk&, error_code) noexcept;

    const unsigned depth_;
    blocking_pool pool_;
    std::unique_ptr<io_engine> engine_;
    bounce_pool bounce_;
    chunk_queue mine_;    // for this thread to move
    chunk_queue device_;  // for the engine
    chunk_queue waiting_; // for a bounce buffer
    unsigned held_ = 0;
    unsigned in_engine_ = 0;
    std::uint64_t held_bytes_ = 0;
    std::size_t in_turn_ = most_in_turn;  // what this thread copies at a time when there is a budget
    clock::time_point tick_{};            // when this thread last looked at the clock, in this poll
    unsigned wary_ = 0;                   // writes still to be watched for whether they wait
    clock::time_point throttled_until_{}; // writers are being held up: not this thread
};

} // namespace wye::storage
