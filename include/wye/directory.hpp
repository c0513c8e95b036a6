// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wye/peer.hpp>
#include <wye/side_channel.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

namespace wye {

class agent;
class directory_watch;
class runtime;

/// Where agents that share one find each other's metadata by name. Used on one runtime's thread; must outlive the calls.
/// It is trusted no more than a network: peers prove their secret to each other all the same.
///
/// Names: 1 to 128 of letters, digits and "._-", not beginning with a dot; a part of an agent's metadata is beside it, under
/// a label of the same letters: "decode-0/gpu1".
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
    /// It is gone `ttl` from now instead, which nobody is told of. False when what this object has put there has gone
    /// meanwhile: put it again. What somebody else has put in its place stays as it is.
    virtual task<bool> keep(std::string name, duration ttl) = 0;
    /// Nothing when there is no such entry, or it has expired. Throws system_error (`bad_name`, `corrupt`).
    virtual task<std::optional<entry>> get(std::string name) = 0;
    /// What this object has put there; what another has put in its place stays. Of a name that it has put nothing under,
    /// whatever is there. No error when there is none.
    virtual task<> remove(std::string name) = 0;
    /// The entry as soon as its version is not `seen` (0: there was none), or as it is after `at_most`.
    virtual task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) = 0;
    /// Of all entries whose names begin so, from now until the watch goes, which must be before the directory does.
    virtual std::unique_ptr<directory_watch> watch(std::string prefix) = 0;
};

/// What has become of an entry.
struct directory_change {
    enum class kind : std::uint8_t { joined, changed, left };
    kind what{};
    std::string name;
    directory::entry entry{}; ///< empty once it has left
};

/// Tells who joins and who leaves: each once, and nobody is missed, whatever becomes of connections.
/// What changes several times between two looks may be told once.
class directory_watch {
public:
    virtual ~directory_watch() = default;
    /// First all that is there, as `joined`, maybe none; then what has changed, as soon as something has; nothing when
    /// nothing has within `at_most`. Before the first it throws system_error when it could not look within that time;
    /// later it goes on trying, and throws only what would never end by itself. One call at a time.
    virtual task<std::vector<directory_change>> next(duration at_most = duration::max()) = 0;
};

/// By URL: "dir:/shared/kv", "etcd://10.0.0.7:2379,10.0.0.8:2379/prefix", "etcds://…" (see wye/etcd.hpp). Throws system_error
/// (`bad_name`; `not_supported` for what this build does not know).
std::unique_ptr<directory> open_directory(runtime&, std::string url);

/// A folder as directory, made if it is not there (0700): for agents of one host, or of several that share a file system.
/// A change made on this host is seen at once, one made elsewhere within a second; clocks must agree for `ttl`. Labels follow
/// an "@" in a file's name. What is damaged is `corrupt` to who asks for it, and not there for who watches. Throws
/// system_error.
std::unique_ptr<directory> directory_in(runtime&, std::string path);

/// Side channels as directory: the name of an entry is where it is served, "10.0.0.7:4711". It can `get` and `changed`, which
/// asks every now and then; an endpoint where nobody listens is an entry that is not there. An agent is in it by serving, so the
/// rest throws `not_supported`, and so do labels.
std::unique_ptr<directory> directory_of_side_channels(runtime&, fetch_options);

/// How an agent is in a directory.
struct announce_options {
    duration ttl{};                   ///< zero: until it is withdrawn
    std::string label{};              ///< not empty: a part, beside the whole
    std::vector<std::string> names{}; ///< of what is published; empty: all
    /// What keeping it there failed by, as one line, each time. It is tried again all the same.
    std::function<void(const std::string&)> failed{};
};

/// Puts the agent's metadata into the directory under the agent's name, once.
task<> announce(agent&, directory&, announce_options);
task<> announce(agent&, directory&, duration ttl = {});
/// Does so and keeps it there, three times in each `ttl`, until it is cancelled. What is published in between is told within a
/// third of `ttl`; what has expired since the directory could not be reached is put again once it can be. Throws what the
/// first `put` throws.
task<> keep_announced(agent&, directory&, announce_options);
task<> keep_announced(agent&, directory&, duration ttl);

/// Keeps an agent in a directory as long as it lives: `keep_announced` beside the coroutine that made it. Move-only; agent and
/// directory must outlive it. When it goes without `withdraw`, as with a process that dies, the entry expires.
class announcement {
public:
    /// Returns when the entry is there.
    static task<announcement> make(agent&, directory&, announce_options);
    announcement(announcement&&) noexcept;
    announcement& operator=(announcement&&) noexcept;
    ~announcement();
    /// Ends it, and takes the entry out now.
    task<> withdraw();

private:
    struct state;
    explicit announcement(std::shared_ptr<state>) noexcept;
    std::shared_ptr<state> state_;
};

/// Waits until the directory has this name, and connects. An entry of an earlier life of that agent is waited out. Who has left
/// or expired is not found, so nobody connects to it any more; connections that are there already go on.
/// Throws system_error: `deadline_missed`, what the directory and `agent::connect` throw. Zero is no deadline.
task<peer> connect(agent&, directory&, std::string name, duration deadline);

/// Writes the agent's metadata to a file that only its owner may read and that is replaced at once. It is durable when
/// this returns. Throws system_error.
task<> write_metadata(agent&, std::string path);
/// Waits until the file is there, and connects. Throws system_error: `deadline_missed`, `bad_metadata` when it is torn,
/// what the system and `agent::connect` say. Zero is no deadline.
task<peer> connect_by_file(agent&, std::string path, duration deadline);

} // namespace wye
