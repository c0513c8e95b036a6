// SPDX-License-Identifier: Apache-2.0
#include <wye/same_host.hpp>

#include "nearby/gpus.hpp"

namespace wye::testing {

void add_gpu_ways(agent& a, bool shares)
{
    a.add(drivers::cuda());
    same_host_options o;
    if (shares) o.gpus = drivers::cuda_sharing();
    a.add(make_same_host(o));
}

gpu_block::gpu_block(std::size_t bytes) : held_{std::make_shared<gpu_memory>(bytes)}, base_{held_->data()}, bytes_{bytes} {}
gpu_block::~gpu_block() = default;

} // namespace wye::testing
