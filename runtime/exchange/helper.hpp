// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <wye/runtime.hpp>
#include <wye/task.hpp>

namespace wye::detail {

/// Runs `f`, which may block, on the runtime's helper thread, and returns when it has ended; what it throws is thrown.
/// Once begun it is not to be cancelled. A runtime that goes waits for the one that is being run.
task<> beside_loop(runtime&, std::function<void()> f);

} // namespace wye::detail
