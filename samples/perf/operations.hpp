// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>

#include "null_world.hpp"

/// What is measured: each makes one operation to await.
namespace perf::operations {

inline constexpr auto post = [](null_world&) { return asio::post(asio::deferred); };
inline constexpr auto copy_one = [](null_world& w) { return wye::copy(w.batch[0].from, w.batch[0].to); };
inline constexpr auto copy_batch64 = [](null_world& w) { return wye::copy(w.batch); };
inline constexpr auto copy_prepared64 = [](null_world& w) {
    return wye::copy(w.from_blocks.select(w.indices), w.to_blocks.select(w.indices));
};
inline constexpr auto sleep = [](null_world& w) { return w.runtime->sleep(wye::duration{0}); };
inline constexpr auto asio_timer = [](null_world& w) {
    w.timer.expires_after(wye::duration{0});
    return w.timer.async_wait(asio::deferred);
};

inline wye::task<> child(null_world& w) { co_await copy_one(w); }
inline constexpr auto copy_in_child = [](null_world& w) { return child(w); };

/// Awaits `n` of them, one after the other.
template <class Operation>
wye::task<> repeatedly(null_world& w, Operation operation, std::size_t n)
{
    for (std::size_t i = 0; i < n; ++i) co_await operation(w);
}

} // namespace perf::operations
