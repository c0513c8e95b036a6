// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "connection.hpp"
#include "encoding.hpp"
#include "flow.hpp"
#include "settings.hpp"
#include "signer.hpp"

namespace wye::storage::s3 {

/// What a place that gives credentials says.
struct granted {
    error_code error;
    std::string why; ///< there are none, for people
    key_pair keys;
    std::optional<wall_time> until;
};

/// From the text of a shared credentials file.
granted read_credentials_file(std::string_view text, std::string_view profile);
/// From what the endpoints of containers and instances answer.
granted read_credentials_json(std::string_view text);

/// Where requests get their credentials: from the options, the environment or a file once, or from an endpoint, again and
/// again. Shared by the buckets that want the same. Those who ask while an answer is awaited wait for the same one.
class credential_source {
public:
    using connect_to = std::function<std::shared_ptr<connection_pool>(const origin&)>;

    credential_source(reactor&, blocking_pool&, const s3_options&, std::string profile, connect_to);
    ~credential_source();

    flow<granted> get(stop_signal&);
    /// A server says that they have expired. False when there will be no others.
    bool renew(const key_pair& refused);
    /// Nobody waits any more; what is under way ends.
    void shut_down() noexcept { stop_.pull(); }
    bool busy() const noexcept { return fetching_; }

private:
    struct turn_wait;
    enum class place : std::uint8_t { unknown, fixed, container, instance };

    detached fetch();
    flow<granted> find();
    flow<granted> from_file();
    flow<granted> from_container();
    flow<granted> from_instance();
    flow<granted> ask(const web_address&, const char* method, std::string path, fields headers, std::string& text);
    bool stale(wall_time now) const noexcept;

    reactor& reactor_;
    blocking_pool& helpers_;
    const key_pair given_;
    const std::string profile_;
    const connect_to connect_;
    granted have_;
    bool got_ = false, fetching_ = false;
    place from_ = place::unknown;
    reactor::clock::time_point not_before_{}; ///< after a renewal that failed
    stop_signal stop_;
    std::vector<turn_wait*> waiting_;
};

} // namespace wye::storage::s3
