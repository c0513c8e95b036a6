// SPDX-License-Identifier: Apache-2.0
// Stands in for uring_engine.cpp in a build without liburing.

#include <cerrno>

#include "io_engine.hpp"

namespace wye::storage {

std::unique_ptr<io_engine> make_uring_engine(unsigned, blocking_pool&, int& error)
{
    error = ENOSYS;
    return nullptr;
}

} // namespace wye::storage
