// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

namespace wye {

/// A coroutine of this library, and of Asio: `co_spawn`, `||`, Beast and your own awaitables all mix.
///
/// On g++ 12 keep to one `co_await` a statement and no aggregate temporary with a destructor in it
/// (docs/guide.md says why).
template <class T = void>
using task = boost::asio::awaitable<T>;

} // namespace wye
