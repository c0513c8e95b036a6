// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include <wye/cuda.hpp>
#include <wye/wye.hpp>

/// Two processes with memory on a GPU: a real one, or one that is ordinary memory. Which it is `gpu_ways` and `gpu_block` say,
/// and they are for the program to define.
namespace wye::testing {

/// The GPU's driver, and the short way: with what lets GPUs share memory, or without.
void add_gpu_ways(agent&, bool shares);

/// Memory of the first GPU.
class gpu_block {
public:
    explicit gpu_block(std::size_t bytes);
    gpu_block(const gpu_block&) = delete;
    ~gpu_block();
    wye::memory memory() const noexcept { return vram(base_, bytes_); }

private:
    std::shared_ptr<gpu_memory> held_; ///< where it is a real one
    std::byte* base_;
    std::size_t bytes_;
};

} // namespace wye::testing
