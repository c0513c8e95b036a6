// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace wye {

/// Which NICs are near which GPU and which memory: by the PCI tree, as hwloc reads it here or has saved it elsewhere.
///
/// Strings and numbers, owned; from any thread.
struct topology {
    struct rail {
        std::string name;  ///< of the RDMA device, "rdmap79s0"; libfabric's domain is called "rdmap79s0-rdm"
        std::string pci;   ///< "0000:4f:00.0"
        int numa = -1;     ///< node, by the system's number; -1 when it is near none in particular
        double gbps = 0;   ///< Gbit/s: what its port says, else its PCI link; 0 when neither is known (virtual machines)
    };
    struct gpu {
        std::string pci;
        int numa = -1;
        /// Names of the rails that share the lowest part of the PCI tree with it: behind the same switch, where there are
        /// any; else of its NUMA node; else all.
        std::vector<std::string> rails;
    };
    std::vector<rail> rails; ///< in the order of their PCI addresses, as the GPUs
    std::vector<gpu> gpus;

    const rail* find(std::string_view name) const noexcept;
};

/// Of this machine. Throws system_error: `errc::not_supported` when wye was built without hwloc.
topology read_topology();
/// As hwloc saved it (`lstopo --of xml`, with I/O devices). Throws system_error with the file's name in it, when it cannot
/// be read or is something else.
topology read_topology(const std::filesystem::path& xml);

} // namespace wye
