// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include <sys/types.h>

namespace wye::cuf {

// What is called of cuFile and of CUDA's driver library, as their documentation has it, so that nothing of either is needed
// to build.

/// How a call of cuFile went (CUfileError_t): its own number, and CUDA's where that is the cause. 0: well.
struct status {
    int error;
    int cuda;
};

/// CUfileDescr_t.
struct description {
    int kind = 1; ///< a descriptor of Linux
    union {
        int descriptor;
        void* other;
    };
    const void* operations = nullptr;
};

/// CUfileDrvProps_t, and room for what later versions add.
struct properties {
    unsigned major, minor;   ///< of the nvidia-fs module; 0 without it
    std::size_t most_polled, most_direct;
    unsigned can, does;      ///< bits; see `compatible`
    unsigned rest[64];
};
inline constexpr unsigned compatible = 1u << 1; ///< of `does`: it may stage by itself

/// Of CUFileBoolConfigParameter_t.
enum class setting : int { allow_compatible = 1, force_compatible = 2 };

using file_handle = void*;
using context = void*;

/// Member, symbol, result, arguments.
#define WYE_CUFILE_FUNCTIONS(X)                                                                              \
    X(driver_open, cuFileDriverOpen, status, ())                                                             \
    X(driver_properties, cuFileDriverGetProperties, status, (properties*))                                   \
    X(handle_register, cuFileHandleRegister, status, (file_handle*, description*))                           \
    X(handle_deregister, cuFileHandleDeregister, void, (file_handle))                                        \
    X(memory_register, cuFileBufRegister, status, (const void* base, std::size_t bytes, int flags))          \
    X(memory_deregister, cuFileBufDeregister, status, (const void* base))                                    \
    X(read, cuFileRead, ssize_t, (file_handle, void* base, std::size_t bytes, off_t at, off_t into))         \
    X(write, cuFileWrite, ssize_t, (file_handle, const void* base, std::size_t bytes, off_t at, off_t from))
/// Of newer versions (1.14); null before.
#define WYE_CUFILE_SETTINGS(X)                                                                               \
    X(set_parameter, cuFileSetParameterBool, status, (setting, bool))                                        \
    X(get_parameter, cuFileGetParameterBool, status, (setting, bool*))
#define WYE_CUDA_FUNCTIONS(X)                                                                                \
    X(init, cuInit, int, (unsigned))                                                                         \
    X(device_get, cuDeviceGet, int, (int*, int ordinal))                                                     \
    X(context_retain, cuDevicePrimaryCtxRetain, int, (context*, int device))                                 \
    X(context_release, cuDevicePrimaryCtxRelease_v2, int, (int device))                                      \
    X(context_push, cuCtxPushCurrent_v2, int, (context))                                                     \
    X(context_pop, cuCtxPopCurrent_v2, int, (context*))                                                      \
    X(capture_mode, cuThreadExchangeStreamCaptureMode, int, (int*))

/// Both libraries as a table of functions, so that tests give one of their own. Plain pointers: any thread.
struct api {
#define WYE_MEMBER(name, symbol, result, arguments) result(*name) arguments = nullptr;
    WYE_CUFILE_FUNCTIONS(WYE_MEMBER)
    WYE_CUFILE_SETTINGS(WYE_MEMBER)
    WYE_CUDA_FUNCTIONS(WYE_MEMBER)
#undef WYE_MEMBER
};

/// Opens both libraries. What is missing, in a few words; empty when nothing is.
std::string open_libraries(api&);
/// The libraries of this machine, looked for once, and not before the kernel module: cuFile answers where there is none, and
/// then stages by itself. Null, with the reason in a few words.
const api* load(std::string& missing);

} // namespace wye::cuf
