// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <optional>
#include <utility>

#include "blocking_pool.hpp"

#include "reactor.hpp"

namespace wye::storage::s3 {

/// `co_await helped{reactor, helpers, call}`: the result of a call that blocks for a moment, on a helper thread. Not
/// stopped: for files of this machine.
template <class Call>
class helped final : public blocking_pool::job {
public:
    helped(reactor& r, blocking_pool& p, Call c) : reactor_{r}, helpers_{p}, call_{std::move(c)} {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) noexcept
    {
        waiting_ = h;
        helpers_.submit(*this);
    }
    auto await_resume() { return std::move(*result_); }

    void work() noexcept override { result_.emplace(call_()); }
    void finished() noexcept override { reactor_.resume_soon(waiting_); }

private:
    reactor& reactor_;
    blocking_pool& helpers_;
    Call call_;
    std::optional<decltype(std::declval<Call&>()())> result_;
    std::coroutine_handle<> waiting_;
};

} // namespace wye::storage::s3
