// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace boost::asio {
class io_context;
}

namespace wye::detail {

/// Something to do on the loop's thread. `act(item, false)` only destroys it.
struct work_item {
    work_item* next = nullptr;
    void (*act)(work_item*, bool run) = nullptr;
};

/// First in, first out, through the items' own `next`.
template <class T>
class fifo {
public:
    bool empty() const noexcept { return !head_; }
    T* front() const noexcept { return head_; }
    void push(T& item) noexcept
    {
        item.next = nullptr;
        if (head_) tail_->next = &item;
        else head_ = &item;
        tail_ = &item;
    }
    void push_front(T& item) noexcept
    {
        item.next = head_;
        if (!head_) tail_ = &item;
        head_ = &item;
    }
    T* pop() noexcept
    {
        T* item = static_cast<T*>(head_);
        if (item) head_ = static_cast<T*>(item->next);
        return item;
    }
    /// Everything, as a list.
    T* take() noexcept { return std::exchange(head_, nullptr); }

private:
    T* head_ = nullptr;
    T* tail_ = nullptr;
};

/// Free lists by size, so that the steady state allocates nothing. One thread. Classes of 16 bytes up to
/// 1 KiB, then eight to a doubling; past 4 MiB it is plain `operator new`.
class block_cache {
public:
    block_cache() = default;
    block_cache(const block_cache&) = delete;
    block_cache& operator=(const block_cache&) = delete;
    ~block_cache();

    void* allocate(std::size_t bytes)
    {
        const std::size_t c = class_of(bytes);
        if (c < free_.size() && free_[c]) return std::exchange(free_[c], free_[c]->next);
        return refill(bytes, c);
    }
    void deallocate(void* p, std::size_t bytes) noexcept
    {
        const std::size_t c = class_of(bytes);
        if (c >= free_.size()) return ::operator delete(p);
        free_[c] = new (p) node{free_[c]};
    }

private:
    struct node {
        node* next;
    };
    static constexpr std::size_t small_classes = 64;
    static constexpr std::size_t large_classes = 12 * 8;

    static constexpr std::size_t class_of(std::size_t bytes) noexcept
    {
        if (bytes <= 1024) return (bytes + 15) / 16 - (bytes != 0);
        const auto doubling = static_cast<std::size_t>(63 - __builtin_clzll(bytes - 1));
        return small_classes + (doubling - 10) * 8 + (((bytes - 1) >> (doubling - 3)) & 7);
    }
    static constexpr std::size_t size_of(std::size_t c) noexcept
    {
        if (c < small_classes) return (c + 1) * 16;
        const std::size_t large = c - small_classes;
        return (8 + large % 8 + 1) << (large / 8 + 10 - 3);
    }
    void* refill(std::size_t bytes, std::size_t c);

    std::array<node*, small_classes + large_classes> free_{};
    node* slabs_ = nullptr; // what the small classes were cut from
};

/// The part of the progress loop that templates reach: who may call, where functions queue. The rest is
/// runtime/progress_loop.hpp.
class loop {
public:
    loop(const loop&) = delete;
    loop& operator=(const loop&) = delete;

    /// On the loop's thread.
    bool here() const noexcept { return owner_.load(std::memory_order_relaxed) == this_thread(); }
    /// On the loop's thread, and called by the loop.
    bool inside() const noexcept { return here() && depth_ != 0; }

    /// Queues on the loop's own thread.
    void push(work_item& w) noexcept
    {
        ready_.push(w);
        if (depth_ == 0) kick();
    }
    /// Queues from any thread.
    void push_remote(work_item& w) noexcept;

    block_cache& memory() noexcept { return memory_; }

    void work_started() noexcept
    {
        if (work_.fetch_add(1, std::memory_order_relaxed) == 0) work_appeared();
    }
    void work_finished() noexcept
    {
        if (work_.fetch_sub(1, std::memory_order_acq_rel) == 1) work_vanished();
    }
    boost::asio::io_context& io() noexcept { return *io_; }

protected:
    explicit loop(boost::asio::io_context& io) noexcept : owner_{this_thread()}, io_{&io} {}
    ~loop() = default;

    /// The address of a thread-local: a name for a thread that costs nothing to read.
    static const void* this_thread() noexcept
    {
        static thread_local char mark;
        return &mark;
    }
    void kick() noexcept; // a guest asks its host for a turn
    void work_appeared() noexcept;
    void work_vanished() noexcept;

    std::atomic<const void*> owner_;
    std::atomic<work_item*> inbox_{nullptr};
    std::atomic<std::ptrdiff_t> work_{0};
    fifo<work_item> ready_;
    block_cache memory_;
    boost::asio::io_context* io_;
    int depth_ = 0;
};

template <class F>
struct posted_function final : work_item {
    template <class G>
    posted_function(G&& g, loop* l) : function{std::forward<G>(g)}, from{l} { act = &go; }

    static void go(work_item* w, bool run)
    {
        auto* self = static_cast<posted_function*>(w);
        F f{std::move(self->function)};
        loop* from = self->from;
        self->~posted_function();
        if (from) from->memory().deallocate(self, sizeof(posted_function));
        else ::operator delete(self);
        if (run) std::move(f)();
    }

    F function;
    loop* from; // whose memory it is; null for memory of the heap, when another thread posted
};

template <class F>
void post(loop& l, F&& f)
{
    using item = posted_function<std::decay_t<F>>;
    static_assert(alignof(item) <= alignof(std::max_align_t));
    if (l.here())
        l.push(*new (l.memory().allocate(sizeof(item))) item{std::forward<F>(f), &l});
    else
        l.push_remote(*new (::operator new(sizeof(item))) item{std::forward<F>(f), nullptr});
}

} // namespace wye::detail
