// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wye/peer.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

namespace wye {

class agent;
class runtime;

/// Where agents that share one find each other's metadata by name. Used on one runtime's thread; must outlive the calls.
/// It is trusted no more than a network: peers prove their secret to each other all the same.
class directory {
public:
    struct entry {
        std::vector<std::byte> metadata;
        std::uint64_t version = 0; ///< not 0; another one after each `put`
    };

    virtual ~directory() = default;
    /// Replaces what is there, at once for all who look. It is gone after `ttl`; zero: it stays. Throws system_error
    /// (`bad_name`, what the store says).
    virtual task<> put(std::string name, std::vector<std::byte> metadata, duration ttl) = 0;
    /// Nothing when there is no such entry, or it has expired. Throws system_error (`bad_name`, `corrupt`).
    virtual task<std::optional<entry>> get(std::string name) = 0;
    /// No error when there is none.
    virtual task<> remove(std::string name) = 0;
    /// The entry as soon as its version is not `seen` (0: there was none), or as it is after `at_most`.
    virtual task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) = 0;
};

/// A folder as directory, made if it is not there (0700): for agents of one host, or of several that share a file system.
/// A change made on this host is seen at once, one made elsewhere within a second; clocks must agree for `ttl`. Names:
/// 1 to 128 of letters, digits and "._-", not beginning with a dot. Throws system_error.
std::unique_ptr<directory> directory_in(runtime&, std::string path);

/// Puts the agent's metadata into the directory under the agent's name, once.
task<> announce(agent&, directory&, duration ttl = {});
/// Does so again three times in each `ttl`, until it is cancelled or the directory throws. What is published in between is
/// told within a third of `ttl`.
task<> keep_announced(agent&, directory&, duration ttl);
/// Waits until the directory has this name, and connects. An entry of an earlier life of that agent is waited out.
/// Throws system_error: `deadline_missed`, what the directory and `agent::connect` throw. Zero is no deadline.
task<peer> connect(agent&, directory&, std::string name, duration deadline);

/// Writes the agent's metadata to a file that only its owner may read and that is replaced at once. It is durable when
/// this returns. Throws system_error.
task<> write_metadata(agent&, std::string path);
/// Waits until the file is there, and connects. Throws system_error: `deadline_missed`, `bad_metadata` when it is torn,
/// what the system and `agent::connect` say. Zero is no deadline.
task<peer> connect_by_file(agent&, std::string path, duration deadline);

} // namespace wye
