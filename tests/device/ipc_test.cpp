// SPDX-License-Identifier: Apache-2.0
// Two processes on one GPU: what goes from the memory of the one to that of the other is right, and goes straight. Skips where
// there is no GPU.
#define BOOST_TEST_NO_MAIN
#define BOOST_TEST_ALTERNATIVE_INIT_API
#include <boost/test/unit_test.hpp>

#include "device/gpu.hpp"
#include "nearby/gpu_stories.hpp"
#include "nearby/process.hpp"

using namespace wye;
using namespace std::chrono_literals;
using namespace wye::testing;

namespace {

constexpr std::size_t area = 64_MiB + 4_KiB;

/// Another process, begun before this one has looked for a GPU or after: it is another program.
struct peer_process : process {
    explicit peer_process(const char* name = "there") : process{"cuda_device_ipc_peer", {std::to_string(area), name}} {}
};

} // namespace

BOOST_AUTO_TEST_CASE(all_sizes)
{
    peer_process p;
    {
        runtime rt;
        gpu_here h{rt, area};
        finish(rt, h.open(p.metadata));
        for (std::size_t n = 1; n <= 64_MiB; n *= 2)
            for (const std::size_t bytes : {n, n + 1, n + n / 2 + 3})
                for (const std::size_t odd : {std::size_t{0}, std::size_t{3}, std::size_t{16}})
                    if (bytes <= 64_MiB + 1) finish(rt, gpu_there_and_back(h, bytes, odd));
        for (const std::size_t page : {1_KiB, 4_KiB, 32_KiB}) finish(rt, gpu_pages(h, 1024, page));
        for (const std::size_t page : {std::size_t{12'345}, std::size_t{1'000}, 256_KiB}) finish(rt, gpu_pages(h, 200, page));
        BOOST_TEST(bytes_by(h.a, "served") == 0u);
        BOOST_TEST(h.by_the_short_way() > 64_MiB);
        BOOST_TEST(p.ask(rt, "fill 5") == "done");
        BOOST_TEST(p.ask(rt, "holds 5") == "yes");
    }
    BOOST_TEST(p.wait() == 0);
}

// In the middle of what it took from us, and of what we took from it.
BOOST_AUTO_TEST_CASE(a_peer_that_is_killed_harms_nobody)
{
    peer_process bystander{"bystander"};
    for (int round = 0; round < 6; ++round) {
        peer_process p;
        runtime rt;
        gpu_here h{rt, area};
        finish(rt, h.open(bystander.metadata));
        const slice kept = h.kv;
        peer other = std::move(h.other);
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_peer_killed(h, p.id, round % 2, 3ms + round * 3ms));
        h.kv = kept;
        finish(rt, gpu_there_and_back(h, 8_MiB + 1, 3));
        finish(rt, gpu_pages(h, 1000, 32_KiB));
        BOOST_TEST(p.wait() == -SIGKILL);
        h.other = {};
    }
}

// What is withdrawn while a peer that was stopped writes to it stays as its owner has it; who was reading is told.
BOOST_AUTO_TEST_CASE(what_is_withdrawn_stays)
{
    for (int round = 0; round < 4; ++round) {
        peer_process p;
        runtime rt;
        gpu_here h{rt, area, 100ms};
        finish(rt, h.open({}));
        region part;
        const auto publishes = [](gpu_here& it, region& r) -> task<> {
            r = co_await it.a.register_memory(vram(it.block.memory().base, it.bytes));
            co_await it.a.publish("kv", r);
        };
        finish(rt, publishes(h, part));
        BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
        BOOST_TEST(p.ask(rt, round % 2 ? "write" : "read") == "done");
        poll_for(rt, 777us * (round + 1));
        p.kill(SIGSTOP);
        const auto used_again = [](gpu_here& it) -> task<> {
            co_await it.a.revoke("kv", "there");
            std::fill(it.back.begin(), it.back.end(), std::byte{0x77});
            co_await copy(it.to, it.out(0, it.bytes));
        };
        finish(rt, used_again(h));
        p.kill(SIGCONT);
        poll_for(rt, 50ms);
        const auto is_as_it_was = [](gpu_here& it) -> task<> {
            std::fill(it.back.begin(), it.back.end(), std::byte{0});
            co_await copy(it.out(0, it.bytes), it.to);
            BOOST_TEST(all_are(std::byte{0x77}, it.back));
        };
        finish(rt, is_as_it_was(h));
        const std::string ended = p.ask(rt, "ended");
        BOOST_TEST((ended == make_error_code(errc::withdrawn).message() || ended == make_error_code(errc::peer_lost).message()), ended);
    }
}

int main(int argc, char** argv)
{
    skip_without_gpu();
    return boost::unit_test::unit_test_main([] { return true; }, argc, argv);
}
