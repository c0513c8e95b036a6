// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <wye/error.hpp>
#include <wye/executor.hpp>

namespace wye::detail {

/// An asynchronous operation as its completion sees it: a handler of any type, kept inside, and the result.
/// When it is over it queues itself on its loop, which frees it and then calls the handler.
///
/// This does what `any_completion_handler` does without its allocation and without going through an erased
/// executor when the handler is at home on this loop, which is the usual case.
struct pending : work_item {
    static constexpr std::size_t inline_bytes = 32;

    explicit pending(detail::loop& l, void (*release)(pending*) noexcept) noexcept : on{&l}, free{release} {}

    /// `Counted`: the handler takes the byte count too.
    template <bool Counted, class Handler>
    void emplace(Handler&& h);

    /// Queues the completion.
    void complete() noexcept { on->push(*this); }

    detail::loop* on;
    void (*free)(pending*) noexcept;                     ///< gives the memory back
    void (*cancel)(pending*) noexcept = nullptr;         ///< set where the operation can be cancelled
    error_code error;
    std::size_t bytes = 0;
    alignas(std::max_align_t) std::byte store[inline_bytes];
};

/// What the cancellation slot holds.
struct canceller {
    pending* target;
    void operator()(boost::asio::cancellation_type) const noexcept { target->cancel(target); }
};

template <bool Counted, class Handler>
void invoke(Handler&& h, const error_code& e, [[maybe_unused]] std::size_t n)
{
    if constexpr (Counted) std::forward<Handler>(h)(e, n);
    else std::forward<Handler>(h)(e);
}

/// `Handler` calls its function with a result that it carries, on whatever executor it is handed to.
template <bool Counted, class Handler>
struct bound_result {
    using executor_type = boost::asio::associated_executor_t<Handler>;
    executor_type get_executor() const noexcept { return boost::asio::get_associated_executor(handler); }

    void operator()() { invoke<Counted>(std::move(handler), error, bytes); }

    Handler handler;
    error_code error;
    std::size_t bytes;
};

/// A handler at home on the operation's own loop.
template <bool Counted, class Handler>
struct home_handler {
    Handler handler;
    void operator()(const error_code& e, std::size_t n) { invoke<Counted>(std::move(handler), e, n); }
};

/// A handler of another executor, which is kept busy until the handler has been handed to it.
template <bool Counted, class Handler>
struct foreign_handler {
    using tracked = std::decay_t<decltype(boost::asio::prefer(
        std::declval<boost::asio::associated_executor_t<Handler, executor>>(),
        boost::asio::execution::outstanding_work.tracked))>;
    Handler handler;
    tracked guard;
    void operator()(const error_code& e, std::size_t n)
    {
        boost::asio::dispatch(guard, bound_result<Counted, Handler>{std::move(handler), e, n});
    }
};

/// How a stored handler is completed: out of the operation, the operation freed, then called.
template <class Stored>
void finish(work_item* w, bool run)
{
    auto* op = static_cast<pending*>(w);
    constexpr bool fits = sizeof(Stored) <= pending::inline_bytes;
    Stored* kept = fits ? std::launder(reinterpret_cast<Stored*>(op->store))
                        : *std::launder(reinterpret_cast<Stored**>(op->store));
    if (auto slot = boost::asio::get_associated_cancellation_slot(kept->handler); op->cancel && slot.is_connected())
        slot.clear();

    Stored stored{std::move(*kept)};
    const error_code error = op->error;
    const std::size_t bytes = op->bytes;
    kept->~Stored();
    if constexpr (!fits) op->on->memory().deallocate(kept, sizeof(Stored));
    op->free(op);
    if (run) stored(error, bytes);
}

template <class Stored, class... Args>
void keep(pending& op, Args&&... args)
{
    static_assert(alignof(Stored) <= alignof(std::max_align_t));
    if constexpr (sizeof(Stored) <= pending::inline_bytes) {
        new (op.store) Stored{std::forward<Args>(args)...};
    } else {
        new (op.store) Stored*{new (op.on->memory().allocate(sizeof(Stored))) Stored{std::forward<Args>(args)...}};
    }
    op.act = &finish<Stored>;
}

/// Whether completing inline on the loop is completing on `e`.
template <class Executor>
bool at_home(const Executor& e, const loop& l) noexcept
{
    if constexpr (std::is_same_v<Executor, executor>) {
        return &e.loop() == &l;
    } else if constexpr (std::is_same_v<Executor, boost::asio::any_io_executor>) {
        const auto* ours = e.template target<executor>();
        return ours && &ours->loop() == &l;
    } else {
        return false;
    }
}

template <bool Counted, class Handler>
void pending::emplace(Handler&& h)
{
    using H = std::decay_t<Handler>;
    if (cancel) {
        if (auto slot = boost::asio::get_associated_cancellation_slot(h); slot.is_connected())
            slot.template emplace<canceller>(canceller{this});
    }
    const auto where = boost::asio::get_associated_executor(h, executor{*on});
    if (at_home(where, *on)) {
        keep<home_handler<Counted, H>>(*this, std::forward<Handler>(h));
    } else {
        auto guard = boost::asio::prefer(where, boost::asio::execution::outstanding_work.tracked);
        keep<foreign_handler<Counted, H>>(*this, std::forward<Handler>(h), std::move(guard));
    }
}

/// Completes a handler for which no operation could be made, never from inside the call.
template <bool Counted, class Handler>
void fail_later(loop* l, Handler&& h, const error_code& e)
{
    using H = std::decay_t<Handler>;
    if (l) {
        const auto where = boost::asio::get_associated_executor(h, executor{*l});
        boost::asio::post(where, bound_result<Counted, H>{std::forward<Handler>(h), e, 0});
    } else {
        const auto where = boost::asio::get_associated_executor(h);
        boost::asio::post(where, bound_result<Counted, H>{std::forward<Handler>(h), e, 0});
    }
}

} // namespace wye::detail
