// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <wye/directory.hpp>
#include <wye/error.hpp>
#include <wye/side_channel.hpp>
#include <wye/units.hpp>

namespace wye {

class runtime;

/// How to deal with etcd, beside what the URL says.
struct etcd_options {
    std::string user{}, password{};   ///< empty: etcd's authentication is off, or goes by the client's certificate
    /// For "etcds://". `authorities` empty: whom the system believes; `certificate` and `key`: ours, where etcd wants one.
    tls_options tls{};
    duration connect_within = std::chrono::seconds{2}; ///< to one endpoint; then the next is tried
    duration answer_within = std::chrono::seconds{5};  ///< by one endpoint
    duration give_up_after = std::chrono::seconds{10}; ///< a request that no endpoint has answered
    /// A watch that has been told nothing for so long is checked, since a connection can break without a word.
    duration check_after = std::chrono::seconds{30};
    /// Each failure that is tried again, as one line that names the endpoint.
    std::function<void(const std::string&)> failed{};
};

/// A prefix of etcd's keys as directory: "etcd://host:port[,host:port…]/prefix?…", "etcds://…" over TLS. The port may be left
/// out (2379), and the prefix ("wye"). In the query: `user`, `password_file`, `ca`, `cert`, `key`, `host` (that the server's
/// certificate must have), `verify=off`; they come before the options. Nothing is asked before the first call.
///
/// An entry with a ttl has a lease of as many whole seconds, rounded up, and no less than etcd grants (2 s as it comes). Each request
/// goes to the endpoint that answered last, and to the others in turn when it does not, with growing pauses, until `give_up_after`;
/// `changed` and watches go on for as long as they were told to. What etcd refuses is not tried again. An entry may have a megabyte.
/// Errors name the endpoint, the status and etcd's message. Throws system_error (`bad_name`, `not_supported` in a build without
/// it, what the system or OpenSSL says of files).
std::unique_ptr<directory> etcd_directory(runtime&, std::string url, const etcd_options& = {});

/// Errors by etcd: gRPC's numbers, as its JSON gateway gives them. They compare with the standard conditions.
const boost::system::error_category& etcd_category() noexcept;

} // namespace wye
