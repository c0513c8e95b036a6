// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/test/unit_test.hpp>

#include <wye/error.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>

namespace wye {

inline std::ostream& boost_test_print_type(std::ostream& out, errc e) { return out << make_error_code(e).message(); }

} // namespace wye

namespace wye::testing {

/// Runs a coroutine to its end; what it throws is thrown here. One that hangs fails its test.
inline void finish(runtime& rt, task<> work)
{
    struct end {
        bool over = false;
        std::exception_ptr thrown;
    };
    const auto state = std::make_shared<end>();
    boost::asio::co_spawn(rt, std::move(work), [state](std::exception_ptr e) {
        state->over = true;
        state->thrown = e;
    });
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{100};
    while (!state->over) {
        if (std::chrono::steady_clock::now() > patience) throw std::runtime_error{"the coroutine hangs"};
        rt.poll();
    }
    if (state->thrown) std::rethrow_exception(state->thrown);
}

/// Polls until `over` says so; false when that does not come to pass.
template <class Over>
bool poll_until(runtime& rt, Over over, std::size_t polls = 1'000'000)
{
    for (; !over(); --polls) {
        if (polls == 0) return false;
        rt.poll();
    }
    return true;
}

} // namespace wye::testing

/// A test that is a coroutine on a runtime `rt` of its own.
#define WYE_CO_TEST(name)                                                                                             \
    static wye::task<> name##_body(wye::runtime& rt);                                                                 \
    BOOST_AUTO_TEST_CASE(name)                                                                                        \
    {                                                                                                                 \
        wye::runtime rt;                                                                                              \
        wye::testing::finish(rt, name##_body(rt));                                                                    \
    }                                                                                                                 \
    static wye::task<> name##_body([[maybe_unused]] wye::runtime& rt)
