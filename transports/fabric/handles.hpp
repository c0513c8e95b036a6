// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

namespace wye::ofi {

struct closer {
    template <class Fid>
    void operator()(Fid* f) const noexcept
    {
        ::fi_close(&f->fid);
    }
    void operator()(fi_info* i) const noexcept { ::fi_freeinfo(i); }
};

/// Owns what libfabric opened. Members that hold them are declared in the order fabric, domain, CQ, AV, MRs, endpoint,
/// so that they close in the reverse: a domain that is closed too early is left half destroyed by rxm.
template <class Fid>
using handle = std::unique_ptr<Fid, closer>;

using info = std::unique_ptr<fi_info, closer>;

} // namespace wye::ofi
