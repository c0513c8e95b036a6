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

/// TLS 1.3 around a side channel. Names of PEM files.
struct tls_options {
    std::string certificate{}; ///< a chain, own first; who serves needs it
    std::string key{};
    /// Whom to believe. Who serves then wants a certificate of the caller too; who calls without it believes whom the
    /// system does.
    std::string authorities{};
    std::string host{};  ///< the name that the server's certificate must have; empty: the one that was called
    bool verify = true;  ///< who calls: check the certificate. The secret is proved all the same
};

/// How an agent serves its metadata.
struct side_channel_options {
    std::string address = "127.0.0.1"; ///< an IP address; listens nowhere else
    std::uint16_t port = 0;            ///< 0: any that is free
    std::string secret{};              ///< must not be empty. It is proved, never sent
    std::optional<tls_options> tls{};
    std::size_t most_connections = 64; ///< at once; further ones are closed
    duration handshake_within = std::chrono::seconds{5}; ///< from accepting to the proof of the secret
    duration idle_within = std::chrono::seconds{30};     ///< between two questions, and for taking one answer
};

/// How to fetch an agent's metadata.
struct fetch_options {
    std::string secret{};
    std::optional<tls_options> tls{};
    /// From the first packet to the proof of the secret. (Looking up a host's name is the system's, in its own time.)
    duration connect_within = std::chrono::seconds{5};
    duration answer_within = std::chrono::seconds{30}; ///< for one answer
};

/// What has become of those who came.
struct side_channel_counts {
    std::uint64_t accepted = 0;
    std::uint64_t served = 0;      ///< answers given
    std::uint64_t refused = 0;     ///< did not prove the secret, or made no sense
    std::uint64_t late = 0;        ///< ended by a deadline
    std::uint64_t turned_away = 0; ///< came while there were `most_connections`
};

namespace detail {
class door;
class caller;
} // namespace detail

/// Serves an agent's metadata over TCP to who proves the secret, on the agent's runtime and its thread. Who does not
/// gets a closed connection and nothing that depends on the secret. Each answer is the metadata as it is then.
///
/// Without TLS others on the path can read the metadata, which lets nobody in who does not also prove the agent's own
/// secret (`peer_options::secret`), but they cannot change or replay it.
///
/// Its destructor ends every connection. The agent must outlive it. Where the runtime is a guest, the host must have run
/// what that has ended before the runtime goes, as with any socket on it.
class side_channel {
public:
    /// Listens from now on. Throws system_error (`not_trusted` without a secret, `bad_name` for an address that is none,
    /// what the system or OpenSSL says).
    side_channel(agent&, const side_channel_options&);
    side_channel(const side_channel&) = delete;
    side_channel& operator=(const side_channel&) = delete;
    ~side_channel();

    /// Where it listens: "127.0.0.1:41237", "[::1]:41237".
    std::string endpoint() const;
    const side_channel_counts& counts() const noexcept;
    std::size_t connections() const noexcept; ///< now

private:
    std::shared_ptr<detail::door> door_;
};

/// A connection to a side channel, for who asks more than once. Move-only; on the runtime's thread; one call at a time.
class metadata_source {
public:
    /// Connects and proves the secret, each to the other. Throws system_error: `not_trusted` when the other side does not
    /// know the secret or says that we do not, `deadline_missed`, `bad_name` for a malformed endpoint, `bad_metadata` for
    /// what is no side channel, else what the system or OpenSSL says (connection refused).
    static task<metadata_source> open(runtime&, std::string endpoint, fetch_options);
    metadata_source(metadata_source&&) noexcept;
    metadata_source& operator=(metadata_source&&) noexcept;
    ~metadata_source();

    /// The metadata as it is now. After an error it is of no more use. Throws system_error.
    task<std::vector<std::byte>> fetch();

private:
    explicit metadata_source(std::shared_ptr<detail::caller>) noexcept;
    std::shared_ptr<detail::caller> caller_;
};

/// Fetches metadata from "host:port" and connects to whose it is. Throws as `metadata_source` and `agent::connect` do.
task<peer> connect(agent&, std::string endpoint, fetch_options);

} // namespace wye
