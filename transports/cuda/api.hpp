// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <wye/error.hpp>

namespace wye::cu {

/// What is called of the driver library: member, and the symbol with the ABI that these headers declare.
#define WYE_CUDA_FUNCTIONS(X)                                     \
    X(cuInit, cuInit)                                             \
    X(cuDriverGetVersion, cuDriverGetVersion)                     \
    X(cuGetErrorString, cuGetErrorString)                         \
    X(cuDeviceGetCount, cuDeviceGetCount)                         \
    X(cuDeviceGet, cuDeviceGet)                                   \
    X(cuDeviceGetName, cuDeviceGetName)                           \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute)                 \
    X(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId)                   \
    X(cuDeviceTotalMem, cuDeviceTotalMem_v2)                      \
    X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer)               \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)         \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2)    \
    X(cuCtxPushCurrent, cuCtxPushCurrent_v2)                      \
    X(cuCtxPopCurrent, cuCtxPopCurrent_v2)                        \
    X(cuCtxGetCurrent, cuCtxGetCurrent)                           \
    X(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess)               \
    X(cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange)   \
    X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode) \
    X(cuStreamCreateWithPriority, cuStreamCreateWithPriority)     \
    X(cuStreamDestroy, cuStreamDestroy_v2)                        \
    X(cuStreamQuery, cuStreamQuery)                               \
    X(cuStreamSynchronize, cuStreamSynchronize)                   \
    X(cuStreamGetCtx, cuStreamGetCtx)                             \
    X(cuStreamIsCapturing, cuStreamIsCapturing)                   \
    X(cuStreamWaitEvent, cuStreamWaitEvent)                       \
    X(cuStreamWaitValue32, cuStreamWaitValue32_v2)                \
    X(cuStreamWriteValue32, cuStreamWriteValue32_v2)              \
    X(cuEventCreate, cuEventCreate)                               \
    X(cuEventDestroy, cuEventDestroy_v2)                          \
    X(cuEventRecord, cuEventRecord)                               \
    X(cuEventQuery, cuEventQuery)                                 \
    X(cuMemAlloc, cuMemAlloc_v2)                                  \
    X(cuMemFree, cuMemFree_v2)                                    \
    X(cuMemHostAlloc, cuMemHostAlloc)                             \
    X(cuMemFreeHost, cuMemFreeHost)                               \
    X(cuMemHostRegister, cuMemHostRegister_v2)                    \
    X(cuMemHostUnregister, cuMemHostUnregister)                   \
    X(cuIpcGetMemHandle, cuIpcGetMemHandle)                       \
    X(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2)                  \
    X(cuIpcCloseMemHandle, cuIpcCloseMemHandle)                   \
    X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle)   \
    X(cuMemRelease, cuMemRelease)                                 \
    X(cuPointerGetAttribute, cuPointerGetAttribute)               \
    X(cuMemcpyAsync, cuMemcpyAsync)                               \
    X(cuModuleLoadData, cuModuleLoadData)                         \
    X(cuModuleUnload, cuModuleUnload)                             \
    X(cuModuleGetFunction, cuModuleGetFunction)                   \
    X(cuLaunchKernel, cuLaunchKernel)

/// The driver library as a table of functions, so that one binary runs with and without it, and tests with one of
/// their own. Plain pointers: any thread.
struct api {
#define WYE_MEMBER(name, symbol) decltype(&::name) name = nullptr;
    WYE_CUDA_FUNCTIONS(WYE_MEMBER)
#undef WYE_MEMBER
    /// Of 12.8 and newer; null before.
    CUresult (*cuMemcpyBatchAsync)(CUdeviceptr* to, CUdeviceptr* from, std::size_t* bytes, std::size_t count,
                                   void* attributes, std::size_t* attribute_of, std::size_t attributes_count,
                                   std::size_t* failed, CUstream) = nullptr;
};

/// The library of this machine, opened and initialised once; null when there is none, or no GPU behind it, with the reason.
const api* load(error_code& why) noexcept;

} // namespace wye::cu
