// SPDX-License-Identifier: Apache-2.0
// The other process of cuda_device_ipc_test: cuda_device_ipc_peer BYTES NAME serves so much memory of the first GPU.
#include "nearby/gpus.hpp"
#include "nearby/server.hpp"

using namespace wye;

int main(int argc, char** argv)
{
    if (argc != 3) return 2;
    runtime rt;
    const wye::testing::gpu_block block{std::strtoull(argv[1], nullptr, 10)};
    wye::testing::server s{rt, argv[2], block.memory()};
    wye::testing::add_gpu_ways(s.its(), true);
    return wye::testing::run(rt, s);
}
