// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <wye/agent.hpp>
#include <wye/directory.hpp>
#include <wye/peer.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

#include "settings.hpp"

namespace pd {

/// All start at once, and may have few processors.
inline constexpr wye::duration find_within = std::chrono::seconds{20};
/// How long who dies without a word is still found; a rank that computes may not poll for some of it.
inline constexpr wye::duration entry_lives = std::chrono::seconds{6};

/// `--directory`. Throws system_error when there is no such place.
std::unique_ptr<wye::directory> open_directory(wye::runtime&, const settings&);

/// Who can be met, and how.
struct arrival {
    std::string name, hint;
    std::vector<std::byte> metadata;
};

/// How ranks find each other: the one place that knows. The agent must outlive it.
class meeting_place {
public:
    virtual ~meeting_place() = default;
    /// From now on others can find this agent, by its name and what this gives (one word).
    virtual wye::task<std::string> announce(wye::agent&) = 0;
    /// What the front knows of who is there: "name hint" a line. Before the first `arrivals`.
    virtual void introduce(const std::string& who) = 0;
    /// First who is there, of those whose names begin so, then who comes; none: nobody will any more. One call at a time.
    virtual wye::task<std::vector<arrival>> arrivals(std::string prefix) = 0;
    virtual wye::task<wye::peer> connect(wye::agent&, arrival) = 0;
    /// Nobody has to find it any more.
    virtual wye::task<> leave(wye::agent&) = 0;
};

/// Throws std::exception, with one line, when there is no such place.
std::unique_ptr<meeting_place> open_meeting_place(wye::runtime&, const settings&);

} // namespace pd
