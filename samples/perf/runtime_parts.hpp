// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "report.hpp"

namespace perf {

// What `perf runtime` measures beside time.
void measure_allocations(report&); ///< in the steady state
void measure_waiting(report&);     ///< memory of operations that wait
void measure_idle_calls(const settings&, report&); ///< system calls of a runtime with nothing to do

} // namespace perf
