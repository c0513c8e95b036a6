// SPDX-License-Identifier: Apache-2.0
// A kernel of the program faults, which is the end of the device's context: every copy under way ends, and says why.
#include <cstdio>
#include <vector>

#include "device/gpu.hpp"

using namespace wye;
using namespace wye::testing;

namespace {

struct ended {
    int times = 0;
    error_code error;
};

int failures = 0;
void expect(bool so, const char* what)
{
    if (so) return;
    std::printf("FAILED: %s\n", what);
    ++failures;
}

task<> know(agent& a, memory m, region& into) { into = co_await a.register_memory(m); }
void rethrow(std::exception_ptr e)
{
    if (e) std::rethrow_exception(e);
}

void run()
{
    runtime rt;
    model m;
    arena host{64_MiB};
    const gpu_memory gpu{64_MiB};
    {
        agent a{rt, "lost"};
        a.add(drivers::cuda());
        region h, d;
        boost::asio::co_spawn(rt, know(a, dram(host), h), rethrow);
        boost::asio::co_spawn(rt, know(a, gpu.memory(), d), rethrow);
        rt.run();

        std::vector<ended> ends(34);
        const auto to = [&](std::size_t i) {
            return [&e = ends[i]](error_code error, std::size_t) {
                ++e.times;
                e.error = error;
            };
        };
        m.fill(gpu.data(), 1024, 1, 3'000'000);
        must(m.a.cuLaunchKernel(m.fault, 1, 1, 1, 1, 1, 1, 0, m.stream, nullptr, nullptr));
        copy_options o;
        o.after = after_stream(m.stream);
        for (std::size_t i = 0; i < 32; ++i) copy(d.block(i, 1_MiB), h.block(i, 1_MiB), o, to(i));
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{30};
        const auto over = [&](std::size_t n) {
            while (std::chrono::steady_clock::now() < patience) {
                bool all = true;
                for (std::size_t i = 0; i < n; ++i) all = all && ends[i].times == 1;
                if (all) return true;
                rt.poll();
            }
            return false;
        };
        expect(over(32), "what waited for the kernel ends");
        copy(h.block(0, 4096), d.block(0, 4096), to(32));
        copy(d.block(0, 4096), h.block(0, 4096), o, to(33));
        expect(over(34), "what comes later ends too");
        for (const ended& e : ends) expect(e.error.failed(), "with an error");
        std::printf("%s\n", ends[0].error.message().c_str());
        expect(ends[0].error.category() == cuda_category(), "of CUDA's");
    }
}

} // namespace

int main()
{
    skip_without_gpu();
    run();
    std::printf(failures ? "1 failed\n" : "all well\n");
    return failures != 0;
}
