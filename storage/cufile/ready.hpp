// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "api.hpp"

namespace wye::cuf {

/// Opens cuFile for this process, with its compatibility mode off. Empty when it is real now: the kernel module is behind it, and
/// it cannot stage by itself. Otherwise why not, in a few words. May be called again.
std::string make_ready(const api&);

} // namespace wye::cuf
