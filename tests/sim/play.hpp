// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "meeting.hpp"
#include "scenario.hpp"

namespace wye::sweep {

/// What became of a scenario.
struct verdict {
    std::string failure; ///< empty: every contract held
    std::uint64_t digest = 0, events = 0;
    std::size_t operations = 0, succeeded = 0, cancelled = 0, missed = 0, failed = 0;
    std::uint64_t bytes = 0;
    duration took{}; ///< virtual
};

verdict play(const scenario&);
verdict play(const meeting&);

} // namespace wye::sweep
