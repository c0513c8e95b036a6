// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <wye/agent.hpp>
#include <wye/peer.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

#include "settings.hpp"

namespace pd {

/// All start at once, and may have few processors.
inline constexpr wye::duration find_within = std::chrono::seconds{20};

/// How ranks find each other: the one place that knows. The agent must outlive it.
class meeting_place {
public:
    virtual ~meeting_place() = default;
    /// From now on others can find this agent, by its name and what this gives (one word).
    virtual wye::task<std::string> announce(wye::agent&) = 0;
    virtual wye::task<wye::peer> find(wye::agent&, std::string name, std::string hint) = 0;
    /// Nobody has to find it any more.
    virtual wye::task<> leave(wye::agent&) = 0;
};

/// Throws std::exception, with one line, when there is no such place.
std::unique_ptr<meeting_place> open_meeting_place(wye::runtime&, const settings&);

} // namespace pd
