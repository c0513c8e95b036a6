// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "settings.hpp"

namespace pd {

/// Makes the process of a rank, which ends with this one; `socket` is its end of the line to the front, `others` are this
/// process's. Call it while there is no other thread. Throws std::runtime_error.
::pid_t make_rank(const settings&, place, int socket, const std::vector<int>& others);
/// Its status, once it has ended.
int wait_for(::pid_t);
std::string describe(int status); ///< "was ended by signal 9"

} // namespace pd
