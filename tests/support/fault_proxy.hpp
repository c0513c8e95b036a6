// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

namespace wye::testing {

/// What befalls one connection through a proxy. Counts are of bytes since it began; the same plan is the same run.
struct fault {
    enum class end : std::uint8_t {
        close, ///< both ends see an end of file
        reset, ///< both ends see ECONNRESET
        stall, ///< nothing passes any more, either way, and nobody is told
    };
    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

    std::size_t after_to_client = never; ///< once so many bytes have gone to the client, `then`
    std::size_t after_to_server = never;
    end then = end::close;
    std::chrono::milliseconds delay{0};  ///< of each piece
    double bytes_per_second = 0;         ///< each way; 0: as fast as it goes
    bool refuse = false;                 ///< reset as soon as it is there
    std::string canned{};                ///< said to the client after its first head, in the server's place; then closed
};

/// A TCP proxy on loopback, in front of a server on loopback, on a thread of its own. It breaks connections by plan.
class fault_proxy {
public:
    /// Of the nth connection, from 0. Called on the proxy's thread.
    using plan = std::function<fault(unsigned connection)>;

    explicit fault_proxy(std::uint16_t server_port, plan = {});
    fault_proxy(const fault_proxy&) = delete;
    fault_proxy& operator=(const fault_proxy&) = delete;
    ~fault_proxy();

    std::uint16_t port() const noexcept;
    /// Counts connections from 0 again.
    void follow(plan);
    /// Connections are refused, as where nobody listens; or taken again.
    void shut(bool);
    unsigned accepted() const noexcept; ///< since the plan was made
    unsigned open() const noexcept;     ///< now

private:
    struct state;
    std::unique_ptr<state> state_;
};

} // namespace wye::testing
