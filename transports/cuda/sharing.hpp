// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include <wye/cuda.hpp>
#include <wye/gpu_sharing.hpp>

#include "copies.hpp"
#include "machine.hpp"

namespace wye::cu {

/// `gpu_sharing` by CUDA IPC.
class sharing final : public gpu_sharing {
public:
    /// Tests give a table of their own.
    sharing(const api&, const cuda_options&);
    ~sharing() override;

    error_code share(const segment&, place&) noexcept override;
    error_code sample(std::int32_t device, gpu_sharing::handle&) noexcept override;
    std::byte* open(const gpu_sharing::handle&, std::int32_t device, std::uint64_t& length) noexcept override;
    void close(std::byte* opened, std::int32_t device) noexcept override;
    bool start(gpu_copy&) noexcept override;
    void flush() noexcept override;
    gpu_copy* next_over() noexcept override;
    void settle() noexcept override;

private:
    error_code handle_of(CUdeviceptr, gpu_sharing::handle&) noexcept;
    copies* copies_of(std::int32_t device, error_code&) noexcept;

    const api& api_;
    const std::size_t gather_bytes_;
    machine machine_;
    std::array<copies, most_devices> copies_;         // by ordinal
    std::array<CUdeviceptr, most_devices> samples_{}; // the same
    copy_queue failed_;                               // over before they began
};

} // namespace wye::cu
