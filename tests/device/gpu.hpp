// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <dlfcn.h>

#include <wye/wye.hpp>

#include "api.hpp"

asm(".pushsection .rodata\n.balign 16\n.local wye_test_kernels\nwye_test_kernels:\n.incbin \"" WYE_TEST_KERNELS "\"\n.popsection\n");
extern "C" [[gnu::visibility("hidden")]] const unsigned char wye_test_kernels[];

namespace wye::testing {

inline void must(CUresult r)
{
    if (r != CUDA_SUCCESS) throw std::runtime_error{"the test's own CUDA code failed with error " + std::to_string(r)};
}

/// The program's own CUDA code, as a model would have it: primary context, a stream, kernels.
struct model {
    model()
    {
        error_code why;
        const cu::api* const found = cu::load(why);
        if (!found) throw system_error(why);
        a = *found;
        must(a.cuDeviceGet(&device, 0));
        must(a.cuDevicePrimaryCtxRetain(&context, device));
        must(a.cuCtxPushCurrent(context));
        must(a.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0));
        must(a.cuModuleLoadData(&module, wye_test_kernels));
        must(a.cuModuleGetFunction(&slowly_fill, module, "slowly_fill"));
        must(a.cuModuleGetFunction(&look, module, "look"));
        must(a.cuModuleGetFunction(&fault, module, "fault"));
    }
    model(const model&) = delete;
    ~model()
    {
        a.cuStreamSynchronize(stream);
        a.cuStreamDestroy(stream);
        a.cuModuleUnload(module);
        CUcontext popped;
        a.cuCtxPopCurrent(&popped);
        a.cuDevicePrimaryCtxRelease(device);
    }

    void fill(std::byte* to, std::size_t bytes, unsigned seed, unsigned long long nanoseconds)
    {
        unsigned long long n = bytes;
        void* arguments[] = {&to, &n, &seed, &nanoseconds};
        must(a.cuLaunchKernel(slowly_fill, 64, 1, 1, 256, 1, 1, 0, stream, arguments, nullptr));
    }
    void look_at(std::byte* at, std::size_t bytes, unsigned seed, const std::uint32_t* status, std::uint32_t* answer)
    {
        unsigned long long n = bytes;
        void* arguments[] = {&at, &n, &seed, &status, &answer};
        must(a.cuLaunchKernel(look, 64, 1, 1, 256, 1, 1, 0, stream, arguments, nullptr));
    }
    template <class F>
    static F* symbol(const char* name)
    {
        static void* const library = ::dlopen("libcuda.so.1", RTLD_NOW);
        void* const f = ::dlsym(library, name);
        if (!f) throw std::runtime_error{name};
        return reinterpret_cast<F*>(f);
    }

    cu::api a;
    CUdevice device{};
    CUcontext context{};
    CUstream stream{};
    CUmodule module{};
    CUfunction slowly_fill{}, look{}, fault{};
};

/// Bytes that tell where they are.
inline std::byte at_place(std::size_t i, unsigned seed) { return static_cast<std::byte>(static_cast<unsigned char>(i * 131 + seed)); }
inline void fill(std::byte* p, std::size_t bytes, unsigned seed)
{
    for (std::size_t i = 0; i < bytes; ++i) p[i] = at_place(i, seed);
}
inline std::size_t wrong_bytes(const std::byte* p, std::size_t bytes, unsigned seed)
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < bytes; ++i) n += p[i] != at_place(i, seed);
    return n;
}

/// Exit status of a test that needs what is not here.
inline void skip_without_gpu()
{
    const cuda_facts f = read_cuda();
    if (f.missing.empty()) return;
    std::printf("skipped: %s\n", f.missing.c_str());
    std::exit(77);
}

} // namespace wye::testing
