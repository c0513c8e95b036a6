// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <algorithm>
#include <new>

#include "pinned.hpp"
#include "scope.hpp"

namespace wye::cu {

gpu::gpu(const api& a, int ordinal, CUdevice d, const cuda_options& o) noexcept
    : api_{a}, ordinal_{ordinal}, handle_{d}
{
    shop_.api = &a;
    shop_.gather = o.gather;
    shop_.blocks_up = std::clamp(o.gather_blocks, 1u, 64u);
    shop_.blocks_down = std::clamp(o.gather_blocks_down, 1u, 64u);
    shop_.threads = std::clamp(o.gather_threads / 32 * 32, least_threads, most_threads);
    shop_.list_bytes = o.gather_list_bytes;
    shop_.least = std::max(o.gather_least, 1u);
    shop_.pinned = &pinned_of(a);
}

gpu::~gpu() { close(); }

CUresult gpu::open() noexcept
{
    if (is_open()) return CUDA_SUCCESS;
    CUresult r = api_.cuDevicePrimaryCtxRetain(&shop_.context, handle_);
    if (r != CUDA_SUCCESS) return r;
    const scope in{api_, shop_.context};
    r = in.error() != CUDA_SUCCESS ? in.error() : open_tracks();
    if (r != CUDA_SUCCESS) {
        close();
        return r;
    }
    load_kernel();
    return CUDA_SUCCESS;
}

CUresult gpu::open_tracks() noexcept
{
    void* memory = nullptr;
    const unsigned flags = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP;
    const CUresult r = api_.cuMemHostAlloc(&memory, track_count * sizeof(track_memory), flags);
    if (r != CUDA_SUCCESS) return r;
    memory_ = static_cast<track_memory*>(memory);
    int least = 0, greatest = 0;
    api_.cuCtxGetStreamPriorityRange(&least, &greatest);
    shop_.priority = greatest; // a block of ours runs for microseconds, one that it waits for may run for long
    track_memory* next = memory_;
    each(*this, [&](track& t) { t.use(shop_, *new (next++) track_memory); });
    return CUDA_SUCCESS;
}

/// Gathers as asked, or as well as it can.
void gpu::load_kernel() noexcept
{
    const bool wanted = shop_.gather == gather_by::automatic || shop_.gather == gather_by::kernel;
    int same_addresses = 0;
    api_.cuDeviceGetAttribute(&same_addresses, CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, handle_);
    if (wanted && page_kernel() && same_addresses && api_.cuModuleLoadData(&module_, page_kernel()) == CUDA_SUCCESS &&
        api_.cuModuleGetFunction(&shop_.kernel, module_, "wye_copy_pages") == CUDA_SUCCESS) {
        shop_.gather = gather_by::kernel;
        return;
    }
    const bool batch = api_.cuMemcpyBatchAsync && shop_.gather != gather_by::copies && CUDA_VERSION >= 12080;
    shop_.gather = batch ? gather_by::batch : gather_by::copies;
}

void gpu::close() noexcept
{
    if (!shop_.context) return;
    {
        const scope in{api_, shop_.context};
        each(*this, [](track& t) { t.close(); });
        if (module_) api_.cuModuleUnload(module_);
        if (memory_) api_.cuMemFreeHost(memory_);
    }
    memory_ = nullptr;
    shop_.context = nullptr;
    api_.cuDevicePrimaryCtxRelease(handle_);
}

void gpu::flush() noexcept
{
    each(*this, [](track& t) { t.flush(); });
}

std::size_t gpu::reap(turn t) noexcept
{
    std::size_t n = 0;
    each(*this, [&](track& one) {
        if (!one.idle()) n += one.reap(t);
    });
    return n;
}

bool gpu::due() const noexcept
{
    bool any = false;
    each(*this, [&](const track& t) { any = any || t.due(); });
    return any;
}

} // namespace wye::cu
