// SPDX-License-Identifier: Apache-2.0
#include "api.hpp"

#include <dlfcn.h>

#include <wye/cuda.hpp>

#include "errors.hpp"

namespace wye::cu {

namespace {

template <class Function>
bool find(void* library, const char* symbol, Function& f) noexcept
{
    f = reinterpret_cast<Function>(::dlsym(library, symbol));
    return f != nullptr;
}

struct loaded {
    api table;
    error_code why;

    loaded() noexcept
    {
        // Never closed: it has threads of its own, and others in this process use it.
        void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            why = cuda_errc::no_library;
            return;
        }
        bool whole = true;
#define WYE_FIND(name, symbol) whole = find(library, #symbol, table.name) && whole;
        WYE_CUDA_FUNCTIONS(WYE_FIND)
#undef WYE_FIND
        find(library, "cuMemcpyBatchAsync", table.cuMemcpyBatchAsync);
        if (!whole) {
            why = cuda_errc::no_library;
            return;
        }
        speak_with(table);
        int devices = 0;
        why = error_of(table.cuInit(0));
        if (!why) why = error_of(table.cuDeviceGetCount(&devices));
        if (!why && devices == 0) why = error_of(CUDA_ERROR_NO_DEVICE);
    }
};

} // namespace

const api* load(error_code& why) noexcept
{
    static const loaded library;
    why = library.why;
    return why ? nullptr : &library.table;
}

} // namespace wye::cu
