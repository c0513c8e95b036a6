// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api.hpp"

namespace wye::cu {

/// None for CUDA_SUCCESS.
error_code error_of(CUresult) noexcept;

/// Throws with `what` in front.
void must(CUresult, const char* what);

/// Whose words errors are described in from now on.
void speak_with(const api&) noexcept;

} // namespace wye::cu
