// SPDX-License-Identifier: Apache-2.0
#include "api.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <wye/cufile.hpp>

namespace wye {

namespace cuf {

namespace {

template <class Function>
bool find(void* library, const char* symbol, Function& f) noexcept
{
    f = reinterpret_cast<Function>(::dlsym(library, symbol));
    return f != nullptr;
}

struct loaded {
    api table;
    std::string missing;

    loaded()
    {
        const bool module = ::access("/proc/driver/nvidia-fs/version", F_OK) == 0;
        missing = module ? open_libraries(table) : "no nvidia-fs kernel module here";
    }
};

} // namespace

std::string open_libraries(api& table)
{
    // Never closed: they have threads of their own, and others in this process use them.
    void* const cuda = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda) return "no libcuda.so.1 is installed";
    void* const cufile = ::dlopen("libcufile.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!cufile) return "no libcufile.so.0 is installed";
    bool whole = true;
#define WYE_FIND(name, symbol, result, arguments) whole = find(cufile, #symbol, table.name) && whole;
    WYE_CUFILE_FUNCTIONS(WYE_FIND)
#undef WYE_FIND
#define WYE_FIND(name, symbol, result, arguments) find(cufile, #symbol, table.name);
    WYE_CUFILE_SETTINGS(WYE_FIND)
#undef WYE_FIND
#define WYE_FIND(name, symbol, result, arguments) whole = find(cuda, #symbol, table.name) && whole;
    WYE_CUDA_FUNCTIONS(WYE_FIND)
#undef WYE_FIND
    return whole ? "" : "libcufile.so.0 or libcuda.so.1 lacks something";
}

const api* load(std::string& missing)
{
    static const loaded libraries;
    missing = libraries.missing;
    return missing.empty() ? &libraries.table : nullptr;
}

} // namespace cuf

cufile_facts read_cufile()
{
    cufile_facts f;
    cuf::load(f.missing);
    return f;
}

} // namespace wye
