// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <atomic>
#include <string>

#include <wye/cuda.hpp>

namespace wye {

namespace {

namespace sys = boost::system;

std::atomic<const cu::api*> words{nullptr};

const char* own_message(int value) noexcept
{
    switch (static_cast<cuda_errc>(value)) {
    case cuda_errc::unknown_pointer: return "no allocation is at this address: it was never made, or is freed";
    case cuda_errc::host_pointer: return "this is host memory, not a GPU's";
    case cuda_errc::other_device: return "this memory is on another device than the one named";
    case cuda_errc::past_the_end: return "this reaches past the end of its allocation";
    case cuda_errc::managed_memory: return "managed memory moves by itself and cannot be registered";
    case cuda_errc::device_pointer: return "this is a GPU's memory, not the host's";
    case cuda_errc::not_registered: return "this memory could not be registered with the GPU's driver";
    case cuda_errc::capturing: return "the stream is being captured into a graph, which no copy can be part of";
    case cuda_errc::no_such_device: return "no such device here";
    case cuda_errc::no_library: return "no usable libcuda.so.1 (NVIDIA's driver, of CUDA 12.0 or newer) is installed";
    }
    return nullptr;
}

class cuda_errors final : public sys::error_category {
public:
    const char* name() const noexcept override { return "cuda"; }
    std::string message(int value) const override
    {
        if (const char* own = own_message(value)) return std::string{"cuda: "} + own;
        const char* text = nullptr;
        if (const cu::api* a = words.load(std::memory_order_acquire))
            a->cuGetErrorString(static_cast<CUresult>(value), &text);
        return std::string{"cuda: "} + (text ? text : "error " + std::to_string(value));
    }
    sys::error_condition default_error_condition(int value) const noexcept override
    {
        switch (value) {
        case CUDA_ERROR_OUT_OF_MEMORY: return sys::errc::not_enough_memory;
        case CUDA_ERROR_INVALID_VALUE:
        case static_cast<int>(cuda_errc::unknown_pointer):
        case static_cast<int>(cuda_errc::host_pointer):
        case static_cast<int>(cuda_errc::other_device):
        case static_cast<int>(cuda_errc::device_pointer):
        case static_cast<int>(cuda_errc::not_registered): return sys::errc::invalid_argument;
        case static_cast<int>(cuda_errc::past_the_end): return sys::errc::result_out_of_range;
        case CUDA_ERROR_NO_DEVICE:
        case CUDA_ERROR_INVALID_DEVICE:
        case static_cast<int>(cuda_errc::no_library):
        case static_cast<int>(cuda_errc::no_such_device): return sys::errc::no_such_device;
        case CUDA_ERROR_NOT_SUPPORTED:
        case static_cast<int>(cuda_errc::capturing):
        case static_cast<int>(cuda_errc::managed_memory): return sys::errc::operation_not_supported;
        case CUDA_ERROR_NOT_PERMITTED: return sys::errc::operation_not_permitted;
        default: return sys::errc::io_error;
        }
    }
};

} // namespace

const sys::error_category& cuda_category() noexcept
{
    static const cuda_errors category;
    return category;
}

namespace cu {

error_code error_of(CUresult r) noexcept
{
    if (r == CUDA_SUCCESS) return {};
    return {static_cast<int>(r), cuda_category()};
}

void must(CUresult r, const char* what)
{
    if (r != CUDA_SUCCESS) throw system_error(error_of(r), what);
}

void speak_with(const api& a) noexcept { words.store(&a, std::memory_order_release); }

} // namespace cu

} // namespace wye
