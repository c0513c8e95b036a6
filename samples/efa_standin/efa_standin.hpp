// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

/// A provider of libfabric that calls itself efa and whose NICs reach each other within one process: for tests of what
/// happens where there are no connections, and for measuring what everything but a NIC costs. libfabric finds it by
/// FI_PROVIDER_PATH, which it reads at its first call. An endpoint is named as fi_av_straddr(3) prints it.
///
/// As efa it has endpoints that are reliable and ordered in nothing, keys and addresses of its own, a queue that nobody
/// can sleep on (1.17), and no completion for what was out when its endpoint closed. A key that is free is used again
/// at once. What is posted is done at once, unless it is held.
///
/// In the environment, read when it is loaded: EFA_STANDIN_NICS (4), and EFA_STANDIN_MOVE=0, by which writes and reads
/// complete without anything being looked at or moved.
///
/// May be called on any thread.
extern "C" {

/// Writes and reads that are posted there stay on the wire, until `efa_standin_arrive`. Messages go through.
void efa_standin_hold(const char* endpoint);
/// What was posted there arrives, though the endpoint may be closed by now, and is held no more. How many of them were
/// let in by their key.
std::size_t efa_standin_arrive(const char* endpoint);
/// What is on the wire between them ends in an error for who posted it, and may still arrive. How many.
std::size_t efa_standin_give_up(const char* from, const char* to);
/// How often the calling thread has registered memory.
std::size_t efa_standin_registered_here();
/// From now on NICs reach GPUs' memory (FI_HMEM) and take pieces of so many bytes at most; 0: they do not. Memory is said
/// to be a GPU's when it is registered, and is the processor's all the same.
void efa_standin_reach_gpu_memory(std::size_t most);
/// Bytes that were posted there to be written or read.
std::size_t efa_standin_carried(const char* endpoint);
/// How many are on the wire.
std::size_t efa_standin_held(const char* endpoint);
/// By libfabric 1.17 every error is FI_EIO; by 2.x a key that is no good is FI_EINVAL, and nobody there FI_ENOTCONN.
void efa_standin_errors_of_1_17(bool);

}
