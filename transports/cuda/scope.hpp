// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api.hpp"

namespace wye::cu {

/// The device's context is the thread's current one in here, and nothing that is done disturbs a graph that some other
/// stream is being captured into. Both are as they were when it goes: the caller's own CUDA code notices nothing.
class scope {
public:
    scope(const api& a, CUcontext c) noexcept : api_{a}
    {
        CUcontext now = nullptr; // to ask is cheaper than to push, and it is ours as a rule
        pushed_ = a.cuCtxGetCurrent(&now) != CUDA_SUCCESS || now != c;
        if (pushed_) error_ = a.cuCtxPushCurrent(c);
        a.cuThreadExchangeStreamCaptureMode(&mode_);
    }
    scope(const scope&) = delete;
    ~scope()
    {
        api_.cuThreadExchangeStreamCaptureMode(&mode_);
        CUcontext popped;
        if (pushed_ && error_ == CUDA_SUCCESS) api_.cuCtxPopCurrent(&popped);
    }
    CUresult error() const noexcept { return error_; }

private:
    const api& api_;
    CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUresult error_ = CUDA_SUCCESS;
    bool pushed_;
};

} // namespace wye::cu
