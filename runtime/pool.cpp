// SPDX-License-Identifier: Apache-2.0
#include <wye/pool.hpp>

#include <cassert>
#include <deque>
#include <mutex>
#include <vector>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <wye/error.hpp>

namespace wye {

namespace asio = boost::asio;

namespace {

/// Somebody who waits for a block, on an executor of their own.
struct waiter {
    using handler_type = asio::any_completion_handler<void(error_code, pool::lease)>;
    handler_type handler;
    asio::executor_work_guard<asio::any_io_executor> on;

    /// With a lease, not an index: should it never arrive, the block comes back by itself.
    void answer(error_code e, pool::lease l)
    {
        asio::post(on.get_executor(), asio::append(std::move(handler), e, std::move(l)));
    }
};

} // namespace

struct pool::state {
    pool* owner;
    std::size_t block_bytes;
    std::uint32_t blocks;
    std::string path;
    wye::arena arena;
    mutable std::mutex mutex;
    std::vector<std::uint32_t> free;             // guarded
    std::deque<std::shared_ptr<waiter>> waiting; // guarded; oldest first

    state(pool* p, std::string where, std::size_t bytes, std::uint32_t n)
        : owner{p}, block_bytes{bytes}, blocks{n}, path{std::move(where)}
    {
        for (std::uint32_t i = n; i != 0; --i) free.push_back(i - 1);
    }

    void give_back(std::uint32_t index)
    {
        std::shared_ptr<waiter> next;
        {
            const std::lock_guard lock{mutex};
            if (waiting.empty()) return free.push_back(index);
            next = std::move(waiting.front());
            waiting.pop_front();
        }
        next->answer({}, lease{owner, index});
    }

    void forget(const std::shared_ptr<waiter>& w)
    {
        {
            const std::lock_guard lock{mutex};
            if (std::erase(waiting, w) == 0) return; // answered already
        }
        w->answer(asio::error::operation_aborted, {});
    }

    template <class Handler>
    void wait(Handler handler)
    {
        const asio::any_io_executor on = asio::get_associated_executor(handler);
        auto slot = asio::get_associated_cancellation_slot(handler);
        auto w = std::make_shared<waiter>(waiter{std::move(handler), asio::make_work_guard(on)});
        if (slot.is_connected())
            slot.assign([this, weak = std::weak_ptr{w}](asio::cancellation_type) {
                if (const auto alive = weak.lock()) forget(alive);
            });
        std::uint32_t index = 0;
        {
            const std::lock_guard lock{mutex};
            if (free.empty()) return waiting.push_back(std::move(w));
            index = free.back();
            free.pop_back();
        }
        w->answer({}, lease{owner, index});
    }
};

pool::pool(std::size_t block_bytes, std::uint32_t blocks) : pool{std::string{}, block_bytes, blocks}
{
    state_->arena = arena{block_bytes * blocks};
}

pool::pool(std::string path, std::size_t block_bytes, std::uint32_t blocks)
    : state_{std::make_unique<state>(this, std::move(path), block_bytes, blocks)}
{
}

pool::~pool() { assert(state_->free.size() == state_->blocks && state_->waiting.empty()); }

std::size_t pool::block_bytes() const noexcept { return state_->block_bytes; }
std::uint32_t pool::blocks() const noexcept { return state_->blocks; }
std::uint32_t pool::free_blocks() const
{
    const std::lock_guard lock{state_->mutex};
    return static_cast<std::uint32_t>(state_->free.size());
}
memory pool::memory() const noexcept { return dram(state_->arena.data(), state_->arena.size()); }
const std::string& pool::path() const noexcept { return state_->path; }

std::optional<pool::lease> pool::try_acquire()
{
    const std::lock_guard lock{state_->mutex};
    if (state_->free.empty()) return std::nullopt;
    const std::uint32_t index = state_->free.back();
    state_->free.pop_back();
    return lease{this, index};
}

task<pool::lease> pool::acquire()
{
    co_return co_await asio::async_initiate<const asio::deferred_t, void(error_code, lease)>(
        [](auto handler, state* s) { s->wait(std::move(handler)); }, asio::deferred, state_.get());
}

void pool::lease::reset() noexcept
{
    if (pool* p = std::exchange(pool_, nullptr)) p->state_->give_back(index_);
}

} // namespace wye
