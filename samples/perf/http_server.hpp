// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <sys/types.h>

namespace perf {

/// nginx on loopback, with a file to read and a place to put others, in memory where there is /dev/shm. Speaks HTTP on one
/// port and TLS on another. Gone with its files afterwards. It stands in for an object store: it checks nothing.
class http_server {
public:
    /// "/bucket/data" has so many bytes. Throws runtime_error where there is no nginx.
    explicit http_server(std::size_t data_bytes);
    http_server(const http_server&) = delete;
    http_server& operator=(const http_server&) = delete;
    ~http_server();

    std::string endpoint(bool tls) const;        ///< "http://127.0.0.1:4711"
    std::string certificate() const { return folder_ + "/cert.pem"; }

private:
    std::string folder_;
    std::uint16_t plain_ = 0, secure_ = 0;
    pid_t pid_ = -1;
};

} // namespace perf
