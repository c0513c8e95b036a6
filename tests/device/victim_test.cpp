// SPDX-License-Identifier: Apache-2.0
// A process that is killed in mid-copy: its neighbour on the same GPU goes on, and neither memory is touched.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include "device/gpu.hpp"

using namespace wye;
using namespace wye::testing;

namespace {

task<> round(agent& a, arena& host, const gpu_memory& gpu, int times, bool* well)
{
    region h = co_await a.register_memory(dram(host));
    region d = co_await a.register_memory(gpu.memory());
    const std::size_t half = host.size() / 2;
    for (int i = 0; times == 0 || i < times; ++i) {
        fill(host.data(), 4096, static_cast<unsigned>(i));
        std::memset(host.data() + half, 0, 4096);
        co_await copy(h.at(0, half), d.operator slice().sub(0, half));
        std::vector<transfer> pages;
        for (std::size_t k = 0; k < half / 32_KiB; ++k) pages.push_back({d.block(k, 32_KiB), h.at(half + k * 32_KiB, 32_KiB)});
        co_await copy(pages);
        *well = *well && wrong_bytes(host.data() + half, 4096, static_cast<unsigned>(i)) == 0;
        if (times == 0 && i == 3) { // it is at work
            std::printf("copying\n");
            std::fflush(stdout);
        }
    }
}

bool copies(int times)
{
    runtime rt;
    arena host{128_MiB};
    const gpu_memory gpu{64_MiB};
    agent a{rt, "victim"};
    a.add(drivers::cuda());
    bool well = true;
    boost::asio::co_spawn(rt, round(a, host, gpu, times, &well), [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    });
    rt.run();
    return well;
}

/// Another of this program, killed when it is at work.
bool kill_one(const char* self)
{
    int out[2];
    if (::pipe(out) != 0) return false;
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(out[1], 1);
        ::execl(self, self, "victim", nullptr);
        std::_Exit(1);
    }
    ::close(out[1]);
    char said[64] = {};
    const bool working = ::read(out[0], said, sizeof said - 1) > 0 && std::string{said}.find("copying") == 0;
    ::close(out[0]);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return working;
}

} // namespace

int main(int argc, char** argv)
{
    if (argc > 1 && std::string{"victim"} == argv[1]) return copies(0) ? 0 : 1;
    skip_without_gpu();
    for (int i = 0; i < 3; ++i) {
        if (!kill_one("/proc/self/exe")) {
            std::printf("FAILED: the other process did not get to work\n");
            return 1;
        }
        if (!copies(20)) {
            std::printf("FAILED: bytes are wrong\n");
            return 1;
        }
    }
    std::printf("all well\n");
    return 0;
}
