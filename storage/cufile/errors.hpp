// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <wye/error.hpp>

#include "api.hpp"

namespace wye::cuf {

/// Those of cuFile's numbers that anything here goes by.
enum : int {
    cuda_failed = 5011,
    already_open = 5026,
};

error_code error_of(status) noexcept;
/// Of a read or write that returned less than 0; `number` is the errno that it left.
error_code error_of(ssize_t returned, int number) noexcept;

} // namespace wye::cuf
