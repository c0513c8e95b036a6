// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <wye/fabric.hpp>
#include <wye/gpu_sharing.hpp>
#include <wye/units.hpp>

namespace wye {

/// Whom Yama (ptrace_scope 1) is told to let at this process. Elsewhere nobody is asked.
enum class tracers : std::uint8_t {
    peer,   ///< one process at a time, once it has shown that it holds this agent's metadata; others go by another fabric
    anyone, ///< every process of this user
    nobody, ///< what was declared before, by whoever did, is left as it is
};

struct same_host_options {
    /// Up to which a write is copied through the ring, by both sides' processors. What is larger its target takes itself.
    std::size_t through_ring = 128_KiB;
    std::size_t slice_bytes = 1_MiB;    ///< by one call of the kernel, 256 KiB to 1 MiB; 256 KiB where `poll` has a budget
    std::size_t ring_bytes = 512_KiB;   ///< of each peer that says or writes something here: 64 KiB to 16 MiB
    std::uint32_t most_peers = 64;      ///< that do so at once: 1 to 256. Others go by another fabric
    wye::tracers tracers = wye::tracers::peer;

    std::size_t chunk_bytes = 1_MiB;    ///< largest piece
    std::uint32_t window_chunks = 64;   ///< pieces in flight: at most 256
    std::size_t window_bytes = 16_MiB;

    /// Lets VRAM be copied straight to and from that of other processes (`drivers::cuda_sharing`), where both sides have
    /// it; null: their agents serve it. One for each fabric. Pieces are up to 8 MiB then, of which 256 and 32 MiB may be
    /// in flight: the three above are raised to that.
    std::shared_ptr<gpu_sharing> gpus{};
};

/// Reaches agents of other processes on this machine: DRAM by process_vm_readv, VRAM by mapping it if `gpus` can, what is
/// said and small writes by rings in shared memory. For `agent::add`, beside another fabric: peers that the kernel does not
/// let at each other's memory (other users, other containers, other hosts) go by that.
///
/// Nothing listens: a peer finds the ring by /proc. Whom the kernel lets read this process's memory may reach it, so this is
/// for processes that trust each other as a debugger and its program do. It starts one thread, which sleeps. Throws
/// system_error: `errc::not_supported` where the kernel has no memfd or pidfd, and the system's where it has no memory.
std::unique_ptr<fabric> make_same_host(const same_host_options& = {});

} // namespace wye
