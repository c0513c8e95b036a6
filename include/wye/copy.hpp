// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <wye/detail/initiate.hpp>
#include <wye/error.hpp>
#include <wye/options.hpp>
#include <wye/prepared.hpp>
#include <wye/segment.hpp>

namespace wye {

/// Moves the bytes of `from` to `to`, any tier to any tier, and completes with `(error_code, bytes landed)`.
///
/// It completes, fails or reports cancellation only when no hardware will touch either side again (contract 1);
/// cancelling, by the token's slot, stops what is not yet posted and waits for the rest. Both slices must have
/// the same length. Between copies there is no order. A copy that outruns the hardware waits here: it never
/// fails for want of room.
///
/// Any completion token; `co_await` by default. Begin it on the runtime's thread; it completes there too, or
/// on the handler's own executor if that is another. Never from inside this call. A copy of nothing (empty slices, an
/// empty batch) belongs to no runtime: it completes on the handler's executor or this thread's runtime, and where there
/// is neither, as anything of Asio's, on the system executor, whose thread is another.
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(const slice& from, const slice& to, const copy_options& options, Token&& token = boost::asio::deferred_t{})
{
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
        detail::initiate_copy{from, to, options}, token);
}
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(const slice& from, const slice& to, Token&& token = boost::asio::deferred_t{})
{
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
        detail::initiate_plain_copy{from, to}, token);
}

/// A batch: many pieces, one operation, one completion. The list is read when the operation begins, and not
/// after. Pieces may mix tiers; an error of one stops those not yet posted, unless `options.status` is
/// given: then each piece fails or succeeds by itself, the operation goes on, and completes with the first error.
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(std::span<const transfer> batch, const copy_options& options,
                        Token&& token = boost::asio::deferred_t{})
{
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
        detail::initiate_batch{batch, options}, token);
}
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(std::span<const transfer> batch, Token&& token = boost::asio::deferred_t{})
{
    return copy(batch, copy_options{}, std::forward<Token>(token));
}

/// A batch from prepared sides: the `i`th selected block of the one to the `i`th of the other.
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(const selection& from, const selection& to, const copy_options& options,
                        Token&& token = boost::asio::deferred_t{})
{
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
        detail::initiate_selection{from, to, options}, token);
}
template <boost::asio::completion_token_for<void(error_code, std::size_t)> Token = boost::asio::deferred_t>
[[nodiscard]] auto copy(const selection& from, const selection& to, Token&& token = boost::asio::deferred_t{})
{
    return copy(from, to, copy_options{}, std::forward<Token>(token));
}

} // namespace wye
