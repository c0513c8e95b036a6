// SPDX-License-Identifier: Apache-2.0
#include "helper.hpp"

#include <exception>
#include <optional>
#include <utility>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace wye::detail {

namespace asio = boost::asio;

namespace {

/// The thread, made at first use. As a service it has ended before the `io_context` drops what waits in it.
class helper final : public asio::execution_context::service {
public:
    using key_type = helper;
    static inline asio::execution_context::id id;

    explicit helper(asio::execution_context& c) : service{c} {}
    ~helper() override { shutdown(); }

    asio::thread_pool& threads() noexcept { return *threads_; }

private:
    /// Drops what has not begun now, while the coroutines that wait for it can still unwind.
    void shutdown() override
    {
        if (threads_) threads_->stop();
        threads_.reset();
    }

    std::optional<asio::thread_pool> threads_{std::in_place, 1};
};

} // namespace

task<> beside_loop(runtime& rt, std::function<void()> f)
{
    asio::io_context& io = rt.io();
    helper& by = asio::use_service<helper>(io);
    const auto begin = [&io, &by](auto handler, std::function<void()> job) {
        auto work = asio::make_work_guard(handler);
        asio::post(by.threads(), [&io, handler = std::move(handler), job = std::move(job), work = std::move(work)]() mutable {
            std::exception_ptr thrown;
            try {
                job();
            } catch (...) {
                thrown = std::current_exception();
            }
            job = nullptr; // what it refers to is the coroutine's, which is about to go on
            asio::post(io, [handler = std::move(handler), work = std::move(work), thrown = std::move(thrown)]() mutable {
                asio::dispatch(work.get_executor(), [handler = std::move(handler), thrown = std::move(thrown)]() mutable {
                    std::move(handler)(std::move(thrown));
                });
            });
        });
    };
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(begin, asio::use_awaitable,
                                                                                          std::move(f));
}

} // namespace wye::detail
