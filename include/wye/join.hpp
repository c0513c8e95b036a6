// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/asio/this_coro.hpp>

#include <wye/error.hpp>
#include <wye/task.hpp>

namespace wye {

namespace detail {

template <class T>
struct is_task : std::false_type {};
template <class T, class Executor>
struct is_task<boost::asio::awaitable<T, Executor>> : std::true_type {
    using value_type = T;
};

/// What an operand gives when it is awaited: a task its value, a deferred operation what follows its error.
template <class T>
using nothing_for_void = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class... Args>
struct result_of_args {
    using type = std::tuple<std::decay_t<Args>...>;
};
template <>
struct result_of_args<> {
    using type = std::monostate;
};
template <class T>
struct result_of_args<T> {
    using type = std::decay_t<T>;
};
template <class Signature>
struct result_of_signature;
template <class R, class... Args>
struct result_of_signature<R(Args...)> : result_of_args<Args...> {};
template <class R, class... Args>
struct result_of_signature<R(boost::system::error_code, Args...)> : result_of_args<Args...> {};

template <class Operand, bool = is_task<Operand>::value>
struct operand_result {
    using type = nothing_for_void<typename is_task<Operand>::value_type>;
};
template <class Operand>
struct operand_result<Operand, false> : result_of_signature<boost::asio::completion_signature_of_t<Operand>> {};
template <class Operand>
using operand_result_t = typename operand_result<Operand>::type;

inline std::exception_ptr as_exception(std::exception_ptr e) noexcept { return e; }
inline std::exception_ptr as_exception(const error_code& e)
{
    return e ? std::make_exception_ptr(system_error(e)) : std::exception_ptr{};
}

/// Several operations on behalf of one coroutine, which goes on when the last of them has ended. Shared by the
/// handlers, since a runtime that shuts down destroys these and the coroutine in any order.
template <class... Results>
struct joint {
    static constexpr std::size_t count = sizeof...(Results);
    static constexpr std::size_t none = count;

    std::array<boost::asio::cancellation_signal, count> signals;
    std::array<std::exception_ptr, count> errors;
    std::tuple<std::optional<Results>...> results;
    std::size_t left = count;
    std::size_t first = none; ///< that ended
    std::size_t first_failed = none;
    bool first_wins = false;
    std::optional<boost::asio::any_completion_handler<void()>> waiter;

    void cancel(boost::asio::cancellation_type type, std::size_t except)
    {
        for (std::size_t i = 0; i < count; ++i)
            if (i != except) signals[i].emit(type);
    }

    void ended(std::size_t i)
    {
        const bool failed = errors[i] != nullptr;
        const bool decides = first_wins ? first == none : failed && first_failed == none;
        if (first == none) first = i;
        if (failed && first_failed == none) first_failed = i;
        if (decides) cancel(boost::asio::cancellation_type::terminal, i);
        if (--left != 0 || !waiter) return;
        auto handler = std::move(*waiter);
        waiter.reset();
        std::move(handler)();
    }
};

/// The handler of one operand. One that is destroyed uncalled, as a runtime that shuts down does, takes the
/// coroutine that waits with it: nobody else would, since the two own each other.
template <std::size_t I, class Joint>
struct joint_handler {
    explicit joint_handler(std::shared_ptr<Joint> s) noexcept : state{std::move(s)} {}
    joint_handler(joint_handler&&) noexcept = default;
    ~joint_handler()
    {
        if (state && state->waiter) {
            const auto dropped = std::move(*state->waiter);
            state->waiter.reset();
        }
    }

    std::shared_ptr<Joint> state;

    template <class Error, class... Args>
    void operator()(const Error& e, Args&&... args)
    {
        const auto keep = std::move(state);
        auto& result = std::get<I>(keep->results);
        if constexpr (std::is_convertible_v<Error, std::exception_ptr> || std::is_same_v<Error, error_code>) {
            if (!(keep->errors[I] = as_exception(e))) result.emplace(std::forward<Args>(args)...);
        } else {
            result.emplace(e, std::forward<Args>(args)...);
        }
        keep->ended(I);
    }
    void operator()()
    {
        const auto keep = std::move(state);
        std::get<I>(keep->results).emplace();
        keep->ended(I);
    }
};

template <std::size_t I, class Joint, class Operand>
void launch_operand(const boost::asio::any_io_executor& on, const std::shared_ptr<Joint>& state, Operand& operand)
{
    auto handler = boost::asio::bind_cancellation_slot(
        state->signals[I].slot(), boost::asio::bind_executor(on, joint_handler<I, Joint>{state}));
    if constexpr (is_task<Operand>::value) boost::asio::co_spawn(on, std::move(operand), std::move(handler));
    else std::move(operand)(std::move(handler));
}

template <class Joint>
auto all_ended(std::shared_ptr<Joint> state)
{
    return boost::asio::async_initiate<const boost::asio::deferred_t, void()>(
        [](auto handler, std::shared_ptr<Joint> s) {
            if (s->left == 0) return boost::asio::post(std::move(handler));
            s->waiter.emplace(std::move(handler));
            // Not earlier: the erased handler puts something of its own into the slot of the one it is made from.
            if (auto slot = boost::asio::get_associated_cancellation_slot(*s->waiter); slot.is_connected())
                slot.assign([weak = std::weak_ptr{s}](boost::asio::cancellation_type type) {
                    if (const auto alive = weak.lock()) alive->cancel(type, Joint::none);
                });
        },
        boost::asio::deferred, std::move(state));
}

template <class First, class... Others>
struct common_result : std::conditional<(std::is_same_v<First, Others> && ...), First, std::variant<First, Others...>> {};
template <class... Operands>
using race_result = typename common_result<operand_result_t<Operands>...>::type;

template <class... Operands, std::size_t... I>
task<std::shared_ptr<joint<operand_result_t<Operands>...>>> join(bool first_wins, std::index_sequence<I...>,
                                                                 Operands... operands)
{
    using state_type = joint<operand_result_t<Operands>...>;
    const boost::asio::any_io_executor on = co_await boost::asio::this_coro::executor;
    const auto state = std::allocate_shared<state_type>(boost::asio::recycling_allocator<state_type>{});
    state->first_wins = first_wins;
    (launch_operand<I>(on, state, operands), ...);
    // The operands must end before this coroutine goes on, also when it is cancelled.
    co_await all_ended(state);
    co_return state;
}

template <class Result, class State, std::size_t I = 0>
Result pick(State& state)
{
    if constexpr (I == State::count) {
        std::terminate();
    } else {
        if (state.first == I) {
            if constexpr (std::is_same_v<Result, std::decay_t<decltype(*std::get<I>(state.results))>>)
                return std::move(*std::get<I>(state.results));
            else
                return Result{std::in_place_index<I>, std::move(*std::get<I>(state.results))};
        }
        return pick<Result, State, I + 1>(state);
    }
}

} // namespace detail

/// Runs tasks and deferred operations at the same time and waits until all have ended. The first error cancels
/// the others and is thrown, once they too have ended. Gives a tuple: a task's value or a copy's byte count each,
/// `std::monostate` for nothing.
///
///     auto [a, b] = co_await wye::when_all(wye::copy(x, y), wye::copy(z, w));
template <class... Operands>
task<std::tuple<detail::operand_result_t<Operands>...>> when_all(Operands... operands)
{
    const auto state =
        co_await detail::join(false, std::index_sequence_for<Operands...>{}, std::move(operands)...);
    if (state->first_failed != state->none) std::rethrow_exception(state->errors[state->first_failed]);
    co_return std::apply([](auto&... r) { return std::tuple{std::move(*r)...}; }, state->results);
}

/// Runs tasks and deferred operations at the same time. Whichever ends first, by success or by error, cancels the
/// others, and its result or error is that of the race. It returns when the losers have ended too: past it no NIC,
/// GPU or disk works for them.
///
/// Not Asio's `||`, which waits for the first *success* and so hides a failed copy behind a timer. Gives the
/// common result type of the operands, or a variant by position.
template <class... Operands>
task<detail::race_result<Operands...>> race(Operands... operands)
{
    using result = detail::race_result<Operands...>;
    const auto state = co_await detail::join(true, std::index_sequence_for<Operands...>{}, std::move(operands)...);
    if (state->errors[state->first]) std::rethrow_exception(state->errors[state->first]);
    co_return detail::pick<result>(*state);
}

} // namespace wye
