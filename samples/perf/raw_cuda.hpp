// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <cuda.h>

namespace perf {

/// Plain code on CUDA's driver API, for what ours is held against: a stream each way, and completion by a word that the
/// stream writes, which is the quickest that there is. The memory is ours, pinned by the agent.
class raw_cuda {
public:
    explicit raw_cuda(int device);
    raw_cuda(const raw_cuda&) = delete;
    ~raw_cuda();

    struct copy {
        std::byte* to;
        const std::byte* from;
        bool up; ///< to the device
    };
    /// Copies of `bytes` each, `at_once` under way each way, in this order. Returns when the last has ended.
    void run(const std::vector<copy>&, std::size_t bytes, unsigned at_once);

    /// Milliseconds that a kernel takes which computes on every multiprocessor; begun, and waited for.
    void begin_compute();
    bool computing() const;
    double end_compute();
    bool can_compute() const { return compute_ != nullptr; }

    /// Free memory of the device.
    std::size_t free_bytes() const;

private:
    struct functions;
    struct lane {
        CUstream stream = nullptr;
        std::uint32_t* word = nullptr;
        std::uint32_t sent = 0;
    };
    void wait_for(const lane&, std::uint32_t value) const;
    void issue(const copy&, std::size_t bytes);

    std::unique_ptr<functions> cu_;
    CUdevice device_{};
    CUcontext context_ = nullptr;
    std::array<lane, 2> lanes_;
    void* words_ = nullptr;
    CUmodule module_ = nullptr;
    CUfunction compute_ = nullptr;
    CUstream work_ = nullptr;
    CUevent begin_ = nullptr, end_ = nullptr;
    CUdeviceptr sink_ = 0;
    unsigned blocks_ = 0;
};

} // namespace perf
