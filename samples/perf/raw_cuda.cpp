// SPDX-License-Identifier: Apache-2.0
#include "raw_cuda.hpp"

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>

#include <dlfcn.h>

#ifdef WYE_BUSY_KERNEL
asm(".pushsection .rodata\n.balign 16\n.local perf_busy_kernel\nperf_busy_kernel:\n.incbin \"" WYE_BUSY_KERNEL "\"\n.popsection\n");
extern "C" [[gnu::visibility("hidden")]] const unsigned char perf_busy_kernel[];
#endif

namespace perf {

// Member, and the symbol that these headers mean by it.
#define PERF_CUDA(X)                                          \
    X(cuInit, cuInit)                                         \
    X(cuDeviceGet, cuDeviceGet)                               \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute)             \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)     \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2) \
    X(cuCtxSetCurrent, cuCtxSetCurrent)                       \
    X(cuStreamCreate, cuStreamCreate)                         \
    X(cuStreamDestroy, cuStreamDestroy_v2)                    \
    X(cuStreamWriteValue32, cuStreamWriteValue32_v2)          \
    X(cuMemHostAlloc, cuMemHostAlloc)                         \
    X(cuMemFreeHost, cuMemFreeHost)                           \
    X(cuMemAlloc, cuMemAlloc_v2)                              \
    X(cuMemFree, cuMemFree_v2)                                \
    X(cuMemGetInfo, cuMemGetInfo_v2)                          \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2)                \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2)                \
    X(cuModuleLoadData, cuModuleLoadData)                     \
    X(cuModuleGetFunction, cuModuleGetFunction)               \
    X(cuLaunchKernel, cuLaunchKernel)                         \
    X(cuEventCreate, cuEventCreate)                           \
    X(cuEventDestroy, cuEventDestroy_v2)                      \
    X(cuEventRecord, cuEventRecord)                           \
    X(cuEventQuery, cuEventQuery)                             \
    X(cuEventSynchronize, cuEventSynchronize)

namespace {

constexpr std::size_t word_apart = 128;
constexpr unsigned compute_rounds = 60'000; // some 40 ms of a multiprocessor

void must(CUresult r)
{
    if (r != CUDA_SUCCESS) throw std::runtime_error{"plain CUDA code failed with error " + std::to_string(r)};
}

CUdeviceptr address(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }

} // namespace

struct raw_cuda::functions {
#define PERF_MEMBER(name, symbol) decltype(&::name) name = nullptr;
    PERF_CUDA(PERF_MEMBER)
#undef PERF_MEMBER
    CUresult (*elapsed)(float*, CUevent, CUevent) = nullptr;

    functions()
    {
        void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) throw std::runtime_error{"no libcuda.so.1 here"};
#define PERF_FIND(name, symbol) find(library, #symbol, name);
        PERF_CUDA(PERF_FIND)
#undef PERF_FIND
        find(library, "cuEventElapsedTime", elapsed);
    }
    template <class F>
    static void find(void* library, const char* symbol, F& f)
    {
        f = reinterpret_cast<F>(::dlsym(library, symbol));
        if (!f) throw std::runtime_error{std::string{"libcuda.so.1 has no "} + symbol};
    }
};

raw_cuda::raw_cuda(int device) : cu_{std::make_unique<functions>()}
{
    const functions& cu = *cu_;
    must(cu.cuInit(0));
    must(cu.cuDeviceGet(&device_, device));
    must(cu.cuDevicePrimaryCtxRetain(&context_, device_));
    must(cu.cuCtxSetCurrent(context_));
    must(cu.cuMemHostAlloc(&words_, 2 * word_apart, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        must(cu.cuStreamCreate(&lanes_[i].stream, CU_STREAM_NON_BLOCKING));
        lanes_[i].word = new (static_cast<std::byte*>(words_) + i * word_apart) std::uint32_t{0};
    }
    must(cu.cuStreamCreate(&work_, CU_STREAM_NON_BLOCKING));
    must(cu.cuEventCreate(&begin_, CU_EVENT_DEFAULT));
    must(cu.cuEventCreate(&end_, CU_EVENT_DEFAULT));
#ifdef WYE_BUSY_KERNEL
    int processors = 0;
    must(cu.cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device_));
    must(cu.cuMemAlloc(&sink_, 4096));
    must(cu.cuModuleLoadData(&module_, perf_busy_kernel));
    must(cu.cuModuleGetFunction(&compute_, module_, "perf_compute"));
    // Many more blocks than fit at a time, as a matrix product has: what is taken from one processor the others make up for.
    blocks_ = static_cast<unsigned>(processors) * 64;
#endif
}

raw_cuda::~raw_cuda()
{
    const functions& cu = *cu_;
    for (lane& l : lanes_) cu.cuStreamDestroy(l.stream);
    cu.cuStreamDestroy(work_);
    cu.cuEventDestroy(begin_);
    cu.cuEventDestroy(end_);
    cu.cuMemFreeHost(words_);
    if (sink_) cu.cuMemFree(sink_);
    cu.cuCtxSetCurrent(nullptr);
    cu.cuDevicePrimaryCtxRelease(device_);
}

void raw_cuda::wait_for(const lane& l, std::uint32_t value) const
{
    while (static_cast<std::int32_t>(std::atomic_ref{*l.word}.load(std::memory_order_acquire) - value) < 0) __builtin_ia32_pause();
}

void raw_cuda::issue(const copy& c, std::size_t bytes)
{
    lane& l = lanes_[c.up ? 0 : 1];
    if (c.up) must(cu_->cuMemcpyHtoDAsync(address(c.to), c.from, bytes, l.stream));
    else must(cu_->cuMemcpyDtoHAsync(c.to, address(c.from), bytes, l.stream));
    must(cu_->cuStreamWriteValue32(l.stream, address(l.word), ++l.sent, CU_STREAM_WRITE_VALUE_DEFAULT));
}

void raw_cuda::run(const std::vector<copy>& copies, std::size_t bytes, unsigned at_once)
{
    for (const copy& c : copies) {
        lane& l = lanes_[c.up ? 0 : 1];
        wait_for(l, l.sent - at_once + 1);
        issue(c, bytes);
    }
    for (const lane& l : lanes_) wait_for(l, l.sent);
}

void raw_cuda::begin_compute()
{
    unsigned rounds = compute_rounds / 64;
    void* arguments[] = {&sink_, &rounds};
    must(cu_->cuEventRecord(begin_, work_));
    must(cu_->cuLaunchKernel(compute_, blocks_, 1, 1, 512, 1, 1, 0, work_, arguments, nullptr));
    must(cu_->cuEventRecord(end_, work_));
}

bool raw_cuda::computing() const { return cu_->cuEventQuery(end_) == CUDA_ERROR_NOT_READY; }

double raw_cuda::end_compute()
{
    float ms = 0;
    must(cu_->cuEventSynchronize(end_));
    must(cu_->elapsed(&ms, begin_, end_));
    return ms;
}

std::size_t raw_cuda::free_bytes() const
{
    std::size_t free = 0, total = 0;
    must(cu_->cuMemGetInfo(&free, &total));
    return free;
}

} // namespace perf
