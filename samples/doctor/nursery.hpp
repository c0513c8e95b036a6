// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <sys/types.h>

#include <wye/runtime.hpp>
#include <wye/task.hpp>

#include "settings.hpp"

namespace doctor {

/// Makes processes that may be stopped and killed: understudies, agents that lend memory and do nothing else. It is one
/// itself, which knows nothing of libfabric, so that they begin without any of what that leaves behind in a fork. All
/// of them are gone when this is, however that comes.
class nursery {
public:
    /// Before anything of libfabric is there.
    explicit nursery(const settings&);
    nursery(const nursery&) = delete;
    nursery& operator=(const nursery&) = delete;
    ~nursery();

    /// Another understudy, in the place of the one before: its metadata. Throws `trouble`.
    wye::task<std::vector<std::byte>> hire(wye::runtime&);
    /// When it is stopped; nothing of it runs.
    wye::task<> stop(wye::runtime&);
    /// When it is gone.
    wye::task<> kill(wye::runtime&);

private:
    wye::task<std::vector<std::byte>> ask(wye::runtime&, char what);

    ::pid_t process_ = 0;
    int end_ = -1; ///< of the socket to it
};

} // namespace doctor
