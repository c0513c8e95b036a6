// SPDX-License-Identifier: Apache-2.0
#include "io_engine.hpp"

#include <atomic>
#include <cerrno>
#include <vector>

#include <liburing.h>
#include <sys/uio.h>

namespace wye::storage {

namespace {

constexpr unsigned file_slots = 1024;
constexpr unsigned memory_slots = 4096;

// Entering the kernel for every request costs too much (on a virtual machine each time is a message to the
// host), for all at once leaves the device idle: 4 is best. And no more bytes than keep submission short,
// which takes four times as long for memory that has to be pinned first.
constexpr unsigned batch_requests = 4;
constexpr std::size_t batch_bytes = 1_MiB;
constexpr unsigned pinning = 4;

// Empty looks at the completion queue, some 100 ns apart, after which the kernel is asked outright.
constexpr unsigned patience = 256;

/// Slots of one of the ring's sparse tables, the lowest free one first.
class slot_list {
public:
    void reset(unsigned count)
    {
        free_.resize(count);
        for (unsigned i = 0; i < count; ++i) free_[i] = static_cast<int>(count - 1 - i);
    }
    int take() noexcept
    {
        if (free_.empty()) return -1;
        const int slot = free_.back();
        free_.pop_back();
        return slot;
    }
    void give(int slot) noexcept { free_.push_back(slot); } // within the capacity that reset made

private:
    std::vector<int> free_;
};

class uring_engine final : public io_engine {
public:
    explicit uring_engine(blocking_pool& pool) noexcept : pool_{pool} {}
    ~uring_engine() override;
    int open(unsigned depth);

    std::string_view name() const noexcept override { return "file/io_uring"; }
    void start(const request&) noexcept override;
    void flush() noexcept override
    {
        if (unsent_ != 0) enter();
    }
    bool take(completion&) noexcept override;
    bool arm() noexcept override;

    int add_file(int descriptor) noexcept override;
    void remove_file(int slot) noexcept override;
    int add_memory(std::byte*, std::size_t) noexcept override;
    void remove_memory(int slot) noexcept override;
    bool wants_memory() const noexcept override { return true; }

private:
    void prepare(io_uring_sqe&, const request&) noexcept;
    void enter() noexcept;
    /// Whether it has completions that it will post when it is entered.
    bool kernel_waits() const noexcept
    {
        return (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }
    bool look() noexcept;

    blocking_pool& pool_;
    io_uring ring_{};
    bool open_ = false;
    bool armed_ = false;
    int broken_ = 0; // the kernel takes no more requests, and why
    unsigned in_flight_ = 0;
    unsigned unsent_ = 0;
    unsigned fruitless_ = 0;
    std::size_t unsent_bytes_ = 0;
    slot_list files_, memory_;
};

int set_up(unsigned depth, io_uring& ring)
{
    // Not SINGLE_ISSUER with DEFER_TASKRUN: such a ring's completions can be reaped by the thread that made
    // it and no other, but a runtime may go from one thread to another with transfers in flight. Cooperative
    // task work costs the same within the noise (4 KiB to 1 MiB, depth 1 to 32). The ring's descriptor is not
    // registered for the same reason: that registration belongs to a thread.
    const unsigned wishes[] = {
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int status = -EINVAL;
    for (const unsigned flags : wishes) {
        if (status != -EINVAL) break; // older kernels do not know the newer flags
        status = ::io_uring_queue_init(depth, &ring, flags);
    }
    return -status;
}

int uring_engine::open(unsigned depth)
{
    if (const int error = set_up(depth, ring_)) return error;
    open_ = true;
    if (const int error = -::io_uring_register_eventfd(&ring_, pool_.wait_handle())) return error;
    ::io_uring_cq_eventfd_toggle(&ring_, false); // until we sleep on it, signals only cost
    if (::io_uring_register_files_sparse(&ring_, file_slots) == 0) files_.reset(file_slots);
    if (::io_uring_register_buffers_sparse(&ring_, memory_slots) == 0) memory_.reset(memory_slots);
    return 0;
}

uring_engine::~uring_engine()
{
    // Leaving the ring does not wait for what is in flight: memory was seen written to after that.
    completion ignored;
    while (in_flight_ != 0) {
        flush();
        if (take(ignored)) continue;
        io_uring_cqe* e = nullptr;
        ::io_uring_wait_cqe(&ring_, &e);
    }
    if (open_) ::io_uring_queue_exit(&ring_);
}

void uring_engine::prepare(io_uring_sqe& e, const request& r) noexcept
{
    const bool known = r.file_slot >= 0;
    const int file = known ? r.file_slot : r.descriptor;
    if (r.memory_slot >= 0) {
        if (r.write)
            ::io_uring_prep_write_fixed(&e, file, r.memory, r.length, r.offset, r.memory_slot);
        else
            ::io_uring_prep_read_fixed(&e, file, r.memory, r.length, r.offset, r.memory_slot);
    } else {
        if (r.write)
            ::io_uring_prep_write(&e, file, r.memory, r.length, r.offset);
        else
            ::io_uring_prep_read(&e, file, r.memory, r.length, r.offset);
    }
    e.flags = static_cast<__u8>((known ? IOSQE_FIXED_FILE : 0) | (r.aside ? IOSQE_ASYNC : 0));
    // Schedulers that know of priorities (mq-deadline, BFQ) let it pass the others.
    if (r.of->urgent) e.ioprio = 2 << 13; // best effort, level 0
    ::io_uring_sqe_set_data(&e, r.of);
}

void uring_engine::start(const request& r) noexcept
{
    // There is an entry: the ring has as many as requests may be in flight.
    prepare(*::io_uring_get_sqe(&ring_), r);
    ++in_flight_;
    unsent_bytes_ += r.length * std::size_t{r.memory_slot < 0 ? pinning : 1};
    if (++unsent_ >= batch_requests || unsent_bytes_ >= batch_bytes) enter();
}

void uring_engine::enter() noexcept
{
    if (broken_ != 0) return; // `take` hands them back
    const int status = ::io_uring_submit(&ring_);
    unsent_ = ::io_uring_sq_ready(&ring_); // what it did not take goes with the next
    unsent_bytes_ = 0;
    if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY && status != -ENOMEM)
        broken_ = -status;
}

/// Whether there is a completion, after letting the kernel post what it has.
bool uring_engine::look() noexcept
{
    if (::io_uring_cq_ready(&ring_) != 0) return true;
    if (!kernel_waits() && ++fruitless_ < patience) return false;
    fruitless_ = 0;
    ::io_uring_get_events(&ring_);
    return ::io_uring_cq_ready(&ring_) != 0;
}

bool uring_engine::take(completion& out) noexcept
{
    if (in_flight_ == 0) return false;
    if (armed_) {
        ::io_uring_cq_eventfd_toggle(&ring_, false);
        armed_ = false;
    }
    if (look()) {
        io_uring_cqe* e = nullptr;
        ::io_uring_peek_cqe(&ring_, &e);
        out = {static_cast<chunk*>(::io_uring_cqe_get_data(e)), e->res};
        ::io_uring_cqe_seen(&ring_, e);
        fruitless_ = 0;
        --in_flight_;
        return true;
    }
    if (broken_ != 0 && unsent_ != 0) {
        // The latest entry that the kernel has not seen.
        const io_uring_sqe& e = ring_.sq.sqes[--ring_.sq.sqe_tail & ring_.sq.ring_mask];
        out = {reinterpret_cast<chunk*>(e.user_data), -broken_};
        --unsent_;
        --in_flight_;
        return true;
    }
    return false;
}

bool uring_engine::arm() noexcept
{
    if (in_flight_ != 0) {
        ::io_uring_cq_eventfd_toggle(&ring_, true);
        armed_ = true;
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    // In this order: a signal that the pool clears here was for a completion that is seen below.
    if (!pool_.arm()) return false;
    if (in_flight_ == 0) return true;
    return ::io_uring_cq_ready(&ring_) == 0 && !kernel_waits() && unsent_ == 0;
}

int uring_engine::add_file(int descriptor) noexcept
{
    const int slot = files_.take();
    if (slot < 0) return -1;
    if (::io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &descriptor, 1) == 1)
        return slot;
    files_.give(slot);
    return -1;
}

void uring_engine::remove_file(int slot) noexcept
{
    if (slot < 0) return;
    const int none = -1;
    ::io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &none, 1);
    files_.give(slot);
}

int uring_engine::add_memory(std::byte* base, std::size_t bytes) noexcept
{
    const int slot = memory_.take();
    if (slot < 0) return -1;
    const iovec what{base, bytes};
    if (::io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot), &what, nullptr, 1) == 1)
        return slot;
    memory_.give(slot);
    return -1;
}

void uring_engine::remove_memory(int slot) noexcept
{
    if (slot < 0) return;
    const iovec none{nullptr, 0};
    ::io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot), &none, nullptr, 1);
    memory_.give(slot);
}

} // namespace

std::unique_ptr<io_engine> make_uring_engine(unsigned depth, blocking_pool& pool, int& error)
{
    auto made = std::make_unique<uring_engine>(pool);
    error = made->open(depth);
    if (error != 0) return nullptr;
    return made;
}

} // namespace wye::storage
