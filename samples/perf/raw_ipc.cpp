// SPDX-License-Identifier: Apache-2.0
#include "raw_ipc.hpp"

#include <atomic>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <cuda.h>
#include <dlfcn.h>

namespace perf {

// Member, and the symbol that these headers mean by it.
#define PERF_IPC(X)                                           \
    X(cuInit, cuInit)                                         \
    X(cuDeviceGet, cuDeviceGet)                               \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)     \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2) \
    X(cuCtxSetCurrent, cuCtxSetCurrent)                       \
    X(cuStreamCreate, cuStreamCreate)                         \
    X(cuStreamDestroy, cuStreamDestroy_v2)                    \
    X(cuStreamWriteValue32, cuStreamWriteValue32_v2)          \
    X(cuMemHostAlloc, cuMemHostAlloc)                         \
    X(cuMemFreeHost, cuMemFreeHost)                           \
    X(cuMemcpyAsync, cuMemcpyAsync)                           \
    X(cuIpcGetMemHandle, cuIpcGetMemHandle)                   \
    X(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2)              \
    X(cuIpcCloseMemHandle, cuIpcCloseMemHandle)

namespace {

void must(CUresult r)
{
    if (r != CUDA_SUCCESS) throw std::runtime_error{"plain CUDA code failed with error " + std::to_string(r)};
}

CUdeviceptr address(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }

struct functions {
#define PERF_MEMBER(name, symbol) decltype(&::name) name = nullptr;
    PERF_IPC(PERF_MEMBER)
#undef PERF_MEMBER

    functions()
    {
        void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) throw std::runtime_error{"no libcuda.so.1 here"};
#define PERF_FIND(name, symbol) find(library, #symbol, name);
        PERF_IPC(PERF_FIND)
#undef PERF_FIND
        must(cuInit(0));
    }
    template <class F>
    static void find(void* library, const char* symbol, F& f)
    {
        f = reinterpret_cast<F>(::dlsym(library, symbol));
        if (!f) throw std::runtime_error{std::string{"libcuda.so.1 has no "} + symbol};
    }
};

const functions& cuda()
{
    static const functions all;
    return all;
}

} // namespace

struct raw_ipc::parts {
    CUdevice device{};
    CUcontext context = nullptr;
    CUstream stream = nullptr;
    std::uint32_t* word = nullptr;
    std::uint32_t sent = 0;
    std::vector<CUdeviceptr> mapped;
};

raw_ipc::raw_ipc() : parts_{std::make_unique<parts>()}
{
    parts& p = *parts_;
    void* memory = nullptr;
    must(cuda().cuDeviceGet(&p.device, 0));
    must(cuda().cuDevicePrimaryCtxRetain(&p.context, p.device));
    must(cuda().cuCtxSetCurrent(p.context));
    must(cuda().cuStreamCreate(&p.stream, CU_STREAM_NON_BLOCKING));
    must(cuda().cuMemHostAlloc(&memory, sizeof *p.word, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
    p.word = new (memory) std::uint32_t{0};
}

raw_ipc::~raw_ipc()
{
    const parts& p = *parts_;
    for (const CUdeviceptr at : p.mapped) cuda().cuIpcCloseMemHandle(at);
    cuda().cuStreamDestroy(p.stream);
    cuda().cuMemFreeHost(p.word);
    cuda().cuCtxSetCurrent(nullptr);
    cuda().cuDevicePrimaryCtxRelease(p.device);
}

raw_ipc::handle raw_ipc::handle_of(const std::byte* allocation) const
{
    CUipcMemHandle got{};
    must(cuda().cuIpcGetMemHandle(&got, address(allocation)));
    handle h;
    static_assert(sizeof got == sizeof h);
    std::memcpy(h.data(), &got, h.size());
    return h;
}

std::byte* raw_ipc::map(const handle& h)
{
    CUipcMemHandle theirs{};
    std::memcpy(&theirs, h.data(), h.size());
    CUdeviceptr at = 0;
    must(cuda().cuIpcOpenMemHandle(&at, theirs, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    parts_->mapped.push_back(at);
    return reinterpret_cast<std::byte*>(at);
}

void raw_ipc::run(std::span<const copy> all, std::size_t bytes)
{
    parts& p = *parts_;
    for (const copy& c : all) must(cuda().cuMemcpyAsync(address(c.to), address(c.from), bytes, p.stream));
    must(cuda().cuStreamWriteValue32(p.stream, address(p.word), ++p.sent, CU_STREAM_WRITE_VALUE_DEFAULT));
    while (std::atomic_ref{*p.word}.load(std::memory_order_acquire) != p.sent) __builtin_ia32_pause();
}

} // namespace perf
