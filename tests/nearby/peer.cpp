// SPDX-License-Identifier: Apache-2.0
// The other process of nearby_process_test: nearby_peer BYTES USER is a server of that much DRAM. With a USER other than 0 it
// becomes that user first.
#include "nearby/server.hpp"

using namespace wye;

int main(int argc, char** argv)
{
    if (argc != 3) return 2;
    const auto user = static_cast<uid_t>(std::atoi(argv[2]));
    if (user != 0 && ::setuid(user) != 0) return 3;
    runtime rt;
    std::vector<std::byte> memory(std::strtoull(argv[1], nullptr, 10));
    wye::testing::server s{rt, "there", dram(memory)};
    wye::testing::add_ways(s.its());
    return wye::testing::run(rt, s);
}
