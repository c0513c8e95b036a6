// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace wye::storage::s3 {

/// A coroutine of this driver, on the runtime's thread: begins when it is awaited, and goes on with who awaits it. What
/// it throws comes out there. Not wye's `task`: a driver has no executor, only its turns of `poll`.
template <class T = void>
class flow;

namespace detail {

struct flow_promise_base {
    std::coroutine_handle<> awaiting = std::noop_coroutine();
    std::exception_ptr thrown;

    std::suspend_always initial_suspend() noexcept { return {}; }
    struct to_awaiting {
        bool await_ready() noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept
        {
            return ended.promise().awaiting;
        }
        void await_resume() noexcept {}
    };
    to_awaiting final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { thrown = std::current_exception(); }
};

template <class T>
struct flow_promise : flow_promise_base {
    std::optional<T> value;
    flow<T> get_return_object() noexcept;
    void return_value(T v) { value.emplace(std::move(v)); }
    T take() { return std::move(*value); }
};

template <>
struct flow_promise<void> : flow_promise_base {
    flow<void> get_return_object() noexcept;
    void return_void() noexcept {}
    void take() noexcept {}
};

} // namespace detail

template <class T>
class [[nodiscard]] flow {
public:
    using promise_type = detail::flow_promise<T>;

    explicit flow(std::coroutine_handle<promise_type> h) noexcept : frame_{h} {}
    flow(flow&& o) noexcept : frame_{std::exchange(o.frame_, nullptr)} {}
    flow& operator=(flow&&) = delete;
    ~flow()
    {
        if (frame_) frame_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept
    {
        frame_.promise().awaiting = awaiting;
        return frame_;
    }
    T await_resume()
    {
        if (frame_.promise().thrown) std::rethrow_exception(frame_.promise().thrown);
        return frame_.promise().take();
    }

private:
    std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T>
flow<T> flow_promise<T>::get_return_object() noexcept
{
    return flow<T>{std::coroutine_handle<flow_promise>::from_promise(*this)};
}
inline flow<void> flow_promise<void>::get_return_object() noexcept
{
    return flow<void>{std::coroutine_handle<flow_promise>::from_promise(*this)};
}

} // namespace detail

/// A flow that nobody awaits: runs at once as far as it can, and frees itself at its end. It must not throw.
struct detached {
    struct promise_type {
        detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

} // namespace wye::storage::s3
