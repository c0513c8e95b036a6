// SPDX-License-Identifier: Apache-2.0
#include <wye/runtime.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "progress_loop.hpp"

namespace wye {

namespace asio = boost::asio;

namespace detail {

block_cache::~block_cache()
{
    for (std::size_t c = small_classes; c < free_.size(); ++c)
        while (free_[c]) ::operator delete(std::exchange(free_[c], free_[c]->next));
    while (slabs_) ::operator delete(std::exchange(slabs_, slabs_->next));
}

void* block_cache::refill(std::size_t bytes, std::size_t c)
{
    if (c >= free_.size()) return ::operator new(bytes);
    if (c >= small_classes) return ::operator new(size_of(c));
    // Small ones are cut from slabs, which go back to the heap only with the loop.
    constexpr std::size_t slab_bytes = 64 * 1024;
    constexpr std::size_t head = alignof(std::max_align_t);
    auto* slab = static_cast<std::byte*>(::operator new(slab_bytes));
    slabs_ = new (slab) node{slabs_};
    const std::size_t size = size_of(c);
    std::byte* first = slab + head;
    for (std::byte* p = first + size; p + size <= slab + slab_bytes; p += size) free_[c] = new (p) node{free_[c]};
    return first;
}

void loop::push_remote(work_item& w) noexcept
{
    work_item* head = inbox_.load(std::memory_order_relaxed);
    do w.next = head;
    while (!inbox_.compare_exchange_weak(head, &w, std::memory_order_release, std::memory_order_relaxed));
    std::atomic_thread_fence(std::memory_order_seq_cst); // against the sleeper's own look at the inbox
    full(*this).wake();
}

void loop::kick() noexcept { full(*this).schedule_turn(); }
void loop::work_appeared() noexcept { full(*this).hold_host(); }
void loop::work_vanished() noexcept { full(*this).hold_host(); }

/// In the host's registry, so that the guest is told before the host destroys what waits in it.
class guest_service : public asio::execution_context::service {
public:
    using key_type = guest_service;
    static inline asio::execution_context::id id;

    explicit guest_service(asio::execution_context& host) : service{host} {}
    void attach(progress_loop& l) { guests_.push_back(&l); }
    void detach(progress_loop& l) noexcept { std::erase(guests_, &l); }

private:
    void shutdown() override
    {
        for (progress_loop* l : guests_) l->shut_down();
        guests_.clear();
    }
    std::vector<progress_loop*> guests_;
};

namespace {

/// Services are shut down newest first. Whatever may hold a suspended coroutine has to be older than ours, so
/// that our drain comes before its frames, and the buffers in them, are destroyed.
guest_service& join_host(asio::io_context& io)
{
    { [[maybe_unused]] asio::steady_timer t{io}; }
    { [[maybe_unused]] asio::posix::stream_descriptor d{io}; }
    { [[maybe_unused]] asio::signal_set s{io}; }
    return asio::use_service<guest_service>(io);
}

void delete_own(loop* l) { delete &full(*l); }

void delete_guest(loop* l)
{
    progress_loop& guest = full(*l);
    if (!guest.shut()) asio::use_service<guest_service>(guest.io()).detach(guest);
    delete &guest;
}

} // namespace

struct sleep_operation final : pending, timer {
    sleep_operation(loop& l, duration d) : pending{l, &release}
    {
        cancel = [](pending* p) noexcept { static_cast<sleep_operation*>(p)->end(asio::error::operation_aborted); };
        when = full(l).now() + d;
        fire = [](timer* t) noexcept { static_cast<sleep_operation*>(t)->end({}); };
    }
    void end(error_code e) noexcept
    {
        if (over) return;
        over = true;
        error = e;
        full(*on).timers().remove(*this);
        complete();
    }
    static void release(pending* p) noexcept
    {
        auto* self = static_cast<sleep_operation*>(p);
        progress_loop& l = full(*p->on);
        l.operation_finished();
        self->~sleep_operation();
        l.memory().deallocate(self, sizeof(sleep_operation));
    }

    bool over = false;
};

made make_sleep(loop& l, duration d)
{
    if (!l.here()) return {nullptr, &l, errc::wrong_thread};
    if (full(l).shut()) return {nullptr, &l, errc::shut_down};
    full(l).operation_started();
    return {new (l.memory().allocate(sizeof(sleep_operation))) sleep_operation{l, d}, &l, {}};
}

void begin_sleep(pending* p) noexcept
{
    auto* self = static_cast<sleep_operation*>(p);
    full(*p->on).timers().add(*self);
    full(*p->on).nudge();
}

} // namespace detail

runtime::runtime(const runtime_options& o) : loop_{new detail::progress_loop{o}, &detail::delete_own} {}

runtime::runtime(asio::io_context& io, const runtime_options& o)
    : loop_{nullptr, &detail::delete_guest}
{
    detail::guest_service& guests = detail::join_host(io);
    auto* guest = new detail::progress_loop{io, o};
    loop_.reset(guest);
    guests.attach(*guest);
}

runtime::~runtime()
{
    // Before the services of this context, which coroutines that we drop may use.
    loop_.reset();
}

std::size_t runtime::run() { return detail::full(*loop_).run(std::chrono::steady_clock::time_point::max()); }
std::size_t runtime::run_for(duration d)
{
    detail::progress_loop& l = detail::full(*loop_);
    return l.run(l.now() + d);
}
poll_result runtime::poll(duration budget) { return detail::full(*loop_).poll(budget); }
std::chrono::steady_clock::time_point runtime::next_timer() const noexcept { return detail::full(*loop_).next_timer(); }
void runtime::stop() noexcept { detail::full(*loop_).stop(); }
bool runtime::stopped() const noexcept { return detail::full(*loop_).stopped(); }
asio::io_context& runtime::io() noexcept { return loop_->io(); }
bool runtime::has_work() const noexcept { return detail::full(*loop_).has_work(); }

} // namespace wye
