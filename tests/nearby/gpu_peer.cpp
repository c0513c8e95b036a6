// SPDX-License-Identifier: Apache-2.0
// The other process of nearby_gpu_test: nearby_gpu_peer BYTES HOW NAME serves so much memory of a GPU that is none. HOW is
// "shares", "plain" (it has nothing to share by) or "keeps" (its memory cannot be opened). Also:
//   hold, go     its GPU does nothing from now on; or again
//   opened       how many allocations of others it has open
#include "nearby/fake_gpus.hpp"
#include "nearby/server.hpp"

using namespace wye;
using wye::testing::fake_cuda;

namespace {

std::string obey(const std::string& word)
{
    fake_cuda& gpu = fake_cuda::self();
    if (word == "hold") gpu.at_once = false;
    if (word == "go") {
        gpu.at_once = true;
        gpu.step();
    }
    return word == "opened" ? std::to_string(gpu.opened()) : std::string{};
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 4) return 2;
    const std::string how = argv[2];
    fake_cuda& gpu = fake_cuda::self();
    gpu.at_once = true;
    if (how == "keeps") gpu.failing["ipc_get"] = CUDA_ERROR_INVALID_VALUE;
    runtime rt;
    const wye::testing::gpu_block block{std::strtoull(argv[1], nullptr, 10)};
    wye::testing::server s{rt, argv[3], block.memory(), obey};
    wye::testing::add_gpu_ways(s.its(), how != "plain");
    return wye::testing::run(rt, s);
}
