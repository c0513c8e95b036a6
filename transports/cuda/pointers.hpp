// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "api.hpp"

namespace wye::cu {

/// Whether all of this is memory of that device: of one allocation, or of a range that the virtual memory API mapped (a
/// framework's expandable segments), in as many pieces as that may have. Some context must be current.
error_code check_device_memory(const api&, const void* base, std::size_t bytes, int ordinal) noexcept;

/// Whether this may be memory of the host.
error_code check_host_memory(const api&, const void* base) noexcept;

/// A number that no other allocation of this process ever has; 0 when there is none at this address.
unsigned long long allocation_at(const api&, const void* base) noexcept;

} // namespace wye::cu
