// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <wye/libfabric.hpp>

#include "handles.hpp"

namespace wye::ofi {

/// What is to be known of a provider beyond what its attributes say.
struct provider {
    std::string name;
    /// Over connections, of which it can close a single one: by removing the peer's address (rxm). What was under way
    /// on it is then over, in both directions. Without: a lost write is kept out by another key.
    bool closes_paths = false;
    /// A read ends badly in it: who has the bytes writes them instead, as it is asked by a message.
    bool asks_for_reads = false;
    bool slow = false;              ///< registering pins memory, and closing an endpoint spins: off the loop
    bool emulated_writes = false;
    bool gpu_memory = false;        ///< its NICs reach GPU memory (FI_HMEM)
    struct rail {
        std::string name;
        info what;
    };
    std::vector<rail> rails;
};

/// Throws system_error when no provider or rail fits.
provider choose(const libfabric_options&);

/// The API that is asked for: 1.18 where the library has it, since below it efa emulates writes.
std::uint32_t api_version() noexcept;

/// Libraries that libfabric brings with it (libinfinipath, libpsm) take SIGINT, SIGTERM and others as soon as they are
/// loaded, to print a backtrace. They get them taken away again; what the application set stays.
void free_signals() noexcept;

} // namespace wye::ofi
