// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace perf {

/// Requests of one kind: ranges of one object, or objects of that size.
struct requests {
    bool put = false, tls = false;
    std::size_t bytes = 8 << 20;
    unsigned connections = 8;
};

/// libcurl's multi interface with so many handles, each with a connection that it keeps. Copies what comes to memory, or
/// what goes from there: libcurl has buffers of its own.
class raw_client {
public:
    raw_client(std::string endpoint, std::string certificate, requests, std::span<std::byte> memory);
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;
    ~raw_client();

    /// Of libcurl's, in bytes.
    void use_buffers(long bytes);
    /// The range at each offset, or an object for each. Throws runtime_error unless every byte has moved.
    void run(std::span<const std::uint64_t> offsets);

private:
    struct slot;
    void begin(slot&, std::uint64_t offset);

    std::string endpoint_;
    requests what_;
    std::vector<slot> slots_;
    void* multi_;
};

} // namespace perf
