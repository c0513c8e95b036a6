// SPDX-License-Identifier: Apache-2.0
#include "pointers.hpp"

#include <wye/cuda.hpp>

#include "errors.hpp"

namespace wye::cu {

namespace {

template <class T>
bool ask(const api& a, T& value, CUpointer_attribute what, CUdeviceptr at) noexcept
{
    value = {};
    return a.cuPointerGetAttribute(&value, what, at) == CUDA_SUCCESS;
}

/// Of memory that was mapped by the virtual memory API.
bool is_mapped(const api& a, CUdeviceptr at) noexcept
{
    CUmemGenericAllocationHandle handle{};
    if (a.cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(at)) != CUDA_SUCCESS) return false;
    a.cuMemRelease(handle);
    return true;
}

/// What is at an address, if not memory of that device.
error_code check_place(const api& a, CUdeviceptr at, int ordinal) noexcept
{
    unsigned kind = 0, managed = 0;
    int device = -1;
    if (!ask(a, kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at) || kind == 0) return cuda_errc::unknown_pointer;
    if (ask(a, managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, at) && managed) return cuda_errc::managed_memory;
    if (kind == CU_MEMORYTYPE_HOST) return cuda_errc::host_pointer;
    if (!ask(a, device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at)) return cuda_errc::unknown_pointer;
    if (device != ordinal) return cuda_errc::other_device;
    return {};
}

} // namespace

error_code check_device_memory(const api& a, const void* base, std::size_t bytes, int ordinal) noexcept
{
    const auto begin = reinterpret_cast<CUdeviceptr>(base), end = begin + bytes;
    bool mapped = false;
    for (CUdeviceptr at = begin; at < end;) {
        const error_code wrong = check_place(a, at, ordinal);
        // Past the first piece, whatever is there is not what was meant.
        if (wrong) return at == begin ? wrong : make_error_code(cuda_errc::past_the_end);
        if (at == begin) mapped = is_mapped(a, at);
        else if (!mapped || !is_mapped(a, at)) return cuda_errc::past_the_end;
        CUdeviceptr start = 0;
        std::size_t size = 0;
        // The range of what was mapped is all that was reserved, mapped or not.
        const auto first = mapped ? CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR : CU_POINTER_ATTRIBUTE_RANGE_START_ADDR;
        const auto bytes_of = mapped ? CU_POINTER_ATTRIBUTE_MAPPING_SIZE : CU_POINTER_ATTRIBUTE_RANGE_SIZE;
        if (!ask(a, start, first, at) || !ask(a, size, bytes_of, at) || start + size <= at) return cuda_errc::unknown_pointer;
        at = start + size;
    }
    return {};
}

error_code check_host_memory(const api& a, const void* base) noexcept
{
    const auto at = reinterpret_cast<CUdeviceptr>(base);
    unsigned kind = 0, managed = 0;
    if (!ask(a, kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at)) return {}; // nothing of CUDA's
    if (ask(a, managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, at) && managed) return cuda_errc::managed_memory;
    if (kind == CU_MEMORYTYPE_DEVICE) return cuda_errc::device_pointer;
    return {};
}

unsigned long long allocation_at(const api& a, const void* base) noexcept
{
    unsigned long long id = 0;
    return ask(a, id, CU_POINTER_ATTRIBUTE_BUFFER_ID, reinterpret_cast<CUdeviceptr>(base)) ? id : 0;
}

} // namespace wye::cu
