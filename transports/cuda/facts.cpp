// SPDX-License-Identifier: Apache-2.0
#include <wye/cuda.hpp>
#include <wye/cufile.hpp>

#include "device.hpp"
#include "errors.hpp"
#include "scope.hpp"

namespace wye {

namespace {

cuda_facts::device describe(const cu::api& a, int ordinal)
{
    cuda_facts::device d;
    d.ordinal = ordinal;
    CUdevice handle{};
    if (a.cuDeviceGet(&handle, ordinal) != CUDA_SUCCESS) return d;
    char text[256] = {};
    if (a.cuDeviceGetName(text, sizeof text, handle) == CUDA_SUCCESS) d.name = text;
    if (a.cuDeviceGetPCIBusId(text, sizeof text, handle) == CUDA_SUCCESS) d.pci = text;
    std::size_t bytes = 0;
    if (a.cuDeviceTotalMem(&bytes, handle) == CUDA_SUCCESS) d.bytes = bytes;
    const auto attribute = [&](CUdevice_attribute what) {
        int value = 0;
        a.cuDeviceGetAttribute(&value, what, handle);
        return value;
    };
    d.compute = 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
                attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    d.dma_buf = attribute(CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED) != 0;
    return d;
}

std::string direct_storage()
{
    const std::string missing = read_cufile().missing;
    if (missing.empty()) return "cuFile may be real here: drivers::cufile uses it then, and explain says of each file whether";
    return "cuFile is not real here (" + missing + "): files are staged through pinned memory";
}

} // namespace

cuda_facts read_cuda()
{
    cuda_facts f;
    f.built = true;
    f.kernel = cu::page_kernel() != nullptr;
    error_code why;
    const cu::api* const a = cu::load(why);
    if (!a) {
        f.missing = why.message();
        return f;
    }
    a->cuDriverGetVersion(&f.driver);
    f.direct_storage = direct_storage();
    int count = 0;
    a->cuDeviceGetCount(&count);
    for (int i = 0; i < count; ++i) f.devices.push_back(describe(*a, i));
    return f;
}

gpu_memory::gpu_memory(std::size_t bytes, int device) : device_{device}
{
    error_code why;
    const cu::api* const a = cu::load(why);
    if (!a) throw system_error(why, "no GPU here");
    CUdevice handle{};
    CUcontext context{};
    const std::string what = std::to_string(bytes) + " bytes of GPU " + std::to_string(device);
    cu::must(a->cuDeviceGet(&handle, device), what.c_str());
    cu::must(a->cuDevicePrimaryCtxRetain(&context, handle), what.c_str());
    CUdeviceptr at = 0;
    CUresult r;
    {
        const cu::scope in{*a, context};
        r = in.error() != CUDA_SUCCESS ? in.error() : a->cuMemAlloc(&at, bytes);
    }
    if (r != CUDA_SUCCESS) a->cuDevicePrimaryCtxRelease(handle);
    cu::must(r, what.c_str());
    base_ = reinterpret_cast<std::byte*>(at);
    bytes_ = bytes;
}

gpu_memory::~gpu_memory()
{
    if (!base_) return;
    error_code why;
    const cu::api* const a = cu::load(why);
    CUdevice handle{};
    CUcontext context{};
    if (!a || a->cuDeviceGet(&handle, device_) != CUDA_SUCCESS) return;
    if (a->cuDevicePrimaryCtxRetain(&context, handle) == CUDA_SUCCESS) {
        const cu::scope in{*a, context};
        a->cuMemFree(reinterpret_cast<CUdeviceptr>(base_));
        a->cuDevicePrimaryCtxRelease(handle);
    }
    a->cuDevicePrimaryCtxRelease(handle); // of the constructor
}

} // namespace wye
