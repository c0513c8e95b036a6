// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <wye/fabric.hpp>
#include <wye/topology.hpp>
#include <wye/units.hpp>

namespace wye {

/// How the loop learns that a completion queue holds something.
enum class queue_waits : std::uint8_t {
    automatic,  ///< by descriptor where the provider has them, else by polling
    descriptor, ///< an idle loop sleeps
    polled,     ///< it never does while the driver may be spoken to
};

struct libfabric_options {
    /// "efa", "tcp;ofi_rxm", "verbs;ofi_rxm" ...; empty: efa where there is one, else tcp;ofi_rxm. The environment's
    /// WYE_FABRIC_PROVIDER comes first.
    std::string provider{};
    /// Local addresses or interfaces ("10.0.0.1", "eth0"), on efa names of domains ("rdmap0s6-rdm"). Empty: every NIC
    /// of efa or verbs; of tcp only 127.0.0.1, since nothing listens beyond loopback unless asked. At most 64.
    std::vector<std::string> rails{};
    queue_waits waits = queue_waits::automatic;
    /// NICs read and write GPU memory by themselves, where the provider can (FI_HMEM): memory that it takes goes from and to
    /// VRAM in one hop. False, or what it refuses: through DRAM.
    bool gpu_memory = true;
    /// Which rails are near which GPU and NUMA node; those carry its memory as long as any of them can. Empty: as
    /// `read_topology` has it, for NICs. GPUs are counted by PCI address, as with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    std::optional<topology> near{};

    std::size_t chunk_bytes = 1_MiB;    ///< largest piece
    std::uint32_t window_chunks = 64;   ///< pieces in flight per rail
    /// Bytes in flight per rail. 0: 16 MiB, or 4 MiB over tcp, where a connection's buffers hold no more and what waits in
    /// front of them is out of the caches by the time that it goes.
    std::size_t window_bytes = 0;
    double bytes_per_second = 0;        ///< nominal, of one rail; 0: what its NIC says
    duration latency = std::chrono::microseconds{50}; ///< nominal, of one piece

    duration connect_within = std::chrono::seconds{2}; ///< or what waits for the connection ends in `errc::path_lost`
    /// How long a peer may take to say that writes which were lost touch nothing over there.
    duration bar_within = std::chrono::seconds{5};
    /// Registers, and closes endpoints, on a helper thread even where that is quick.
    bool always_off_loop = false;
};

/// What was found, for a report.
struct libfabric_facts {
    struct rail {
        std::string name;    ///< as in `libfabric_options::rails`, or the domain's
        std::string domain;
        std::string address; ///< as the provider writes it
        double bytes_per_second = 0; ///< what its NIC says, or nominal
        std::uint64_t most_endpoints = 0;     ///< queue pairs that its NIC has, for all who use it; 0: nobody says
        std::uint64_t most_registrations = 0; ///< of memory, likewise
    };
    std::string provider;    ///< "tcp;ofi_rxm"
    std::string version;     ///< of the library, "1.17"
    bool sleeps = false;     ///< on descriptors
    bool emulated_writes = false; ///< efa by an API before 1.18: each write costs the target's processor a copy
    bool gpu_memory = false;      ///< its NICs reach GPU memory by themselves
    std::vector<rail> rails;
};

/// Reaches other agents over libfabric: one endpoint on each rail, all driven by the runtime's thread. For
/// `agent::add`.
///
/// Throws system_error with one line that says why, when the library has no such provider, or a rail cannot be opened.
/// `errc::not_supported` when wye was built without libfabric. A program that has this in it sets FI_AV_REMOVE_CLEANUP
/// and IPATH_NO_BACKTRACE in its environment before main, unless they are set.
std::unique_ptr<fabric> make_libfabric(const libfabric_options& = {});

/// Of a driver that `make_libfabric` made; empty for any other.
libfabric_facts facts_of(const fabric&);

} // namespace wye
