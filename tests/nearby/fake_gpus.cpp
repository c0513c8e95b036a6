// SPDX-License-Identifier: Apache-2.0
// GPUs that are ordinary memory, which processes share.
#include "nearby/fake_gpus.hpp"

#include <wye/same_host.hpp>

#include "driver.hpp"
#include "sharing.hpp"

namespace wye::testing {

void add_gpu_ways(agent& a, bool shares)
{
    a.add(std::make_unique<cu::cuda_driver>(fake_cuda::table(), cuda_options{}));
    same_host_options o;
    if (shares) o.gpus = std::make_shared<cu::sharing>(fake_cuda::table(), cuda_options{});
    a.add(make_same_host(o));
}

gpu_block::gpu_block(std::size_t bytes) : base_{fake_cuda::self().allocate_shared(bytes)}, bytes_{bytes} {}
gpu_block::~gpu_block() { fake_cuda::self().free(base_); }

} // namespace wye::testing
