// SPDX-License-Identifier: Apache-2.0
// Memory of GPUs of two processes, over a driver library that is ordinary memory: it goes straight from the one to the other,
// or is served where it cannot; nothing lands after it was withdrawn; whoever is killed harms nobody.
#define BOOST_TEST_MODULE nearby_gpu
#include <boost/test/unit_test.hpp>

#include "nearby/fake_gpus.hpp"
#include "nearby/gpu_stories.hpp"
#include "nearby/process.hpp"

using namespace wye;
using namespace std::chrono_literals;
using namespace wye::testing;

namespace {

constexpr std::size_t area = 20_MiB;

struct peer_process : process {
    explicit peer_process(std::size_t bytes = area, const char* how = "shares", const char* name = "there")
        : process{"nearby_gpu_peer", {std::to_string(bytes), how, name}}
    {
    }
};

struct fake_gpu {
    fake_gpu()
    {
        fake.calls.clear();
        fake.at_once = true;
    }
    ~fake_gpu()
    {
        BOOST_TEST(fake.opened() == 0u);
        BOOST_TEST(fake.contexts_were_right);
        fake.failing.clear();
        fake.streams.clear();
    }
    fake_cuda& fake = fake_cuda::self();
};

task<> once(slice from, slice to) { co_await copy(from, to); }

task<> from_dram_and_back(gpu_here& h)
{
    std::fill(h.back.begin(), h.back.end(), std::byte{0});
    co_await copy(h.from, h.kv);
    co_await copy(h.kv, h.to);
    BOOST_TEST(same(h.memory, h.back));
}

/// While the peer is at it, and was stopped or holds it up.
task<> revoked(gpu_here& h) { co_await h.a.revoke("kv", "there"); }

task<> used_again(gpu_here& h)
{
    std::fill(h.back.begin(), h.back.end(), std::byte{0x77});
    co_await copy(h.to, h.out(0, h.bytes));
}

task<> is_as_it_was(gpu_here& h)
{
    std::fill(h.back.begin(), h.back.end(), std::byte{0});
    co_await copy(h.out(0, h.bytes), h.to);
    BOOST_TEST(all_are(std::byte{0x77}, h.back));
}

/// So much as the peer has.
task<> publishes(gpu_here& h, region& part)
{
    part = co_await h.a.register_memory(vram(h.block.memory().base, h.bytes));
    co_await h.a.publish("kv", part);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(gpus, fake_gpu)

BOOST_AUTO_TEST_CASE(all_sizes)
{
    peer_process p;
    runtime rt;
    gpu_here h{rt, area};
    finish(rt, h.open(p.metadata));
    for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{4097}, 64_KiB + 1, 256_KiB + 3, 8_MiB, 16_MiB + 5})
        for (const std::size_t odd : {std::size_t{0}, std::size_t{3}, std::size_t{16}}) finish(rt, gpu_there_and_back(h, n, odd));
    finish(rt, gpu_pages(h, 5000, 4_KiB));
    finish(rt, gpu_pages(h, 100, 12'345));
    BOOST_TEST(h.by_the_short_way() > 2 * 16_MiB);
    BOOST_TEST(bytes_by(h.a, "served") == 0u);
    if (read_cuda().kernel) BOOST_TEST(fake.pages_launched >= 5000u); // one launch for many
    finish(rt, from_dram_and_back(h)); // which is asked of its agent
    BOOST_TEST(bytes_by(h.a, "served") == 2 * area);
}

// By what each side can, and what it cannot its owner does.
BOOST_AUTO_TEST_CASE(who_cannot_share_is_served)
{
    for (const char* how : {"plain", "keeps"}) {
        peer_process p{1_MiB, how};
        runtime rt;
        gpu_here h{rt, 1_MiB};
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_there_and_back(h, 100'001, 3));
        finish(rt, from_dram_and_back(h));
        BOOST_TEST(h.by_the_short_way() == 0u);
        BOOST_TEST(bytes_by(h.a, "served") == 2 * (100'001 + 1_MiB));
    }
    {
        peer_process p{1_MiB};
        runtime rt;
        gpu_here h{rt, 1_MiB, 2s, false};
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_there_and_back(h, 100'001, 3));
        BOOST_TEST(h.by_the_short_way() == 0u);
    }
    { // we open nothing of others', so reads are served; others open ours
        fake.failing["ipc_open"] = CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
        peer_process p{1_MiB};
        runtime rt;
        gpu_here h{rt, 1_MiB};
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_there_and_back(h, 100'001, 3));
        BOOST_TEST(h.by_the_short_way() == 100'001u);
        BOOST_TEST(bytes_by(h.a, "served") == 100'001u);
        fake.failing.clear();
    }
    { // nobody opens ours, so writes are; we open others'
        fake.failing["ipc_get"] = CUDA_ERROR_INVALID_VALUE;
        peer_process p{1_MiB};
        runtime rt;
        gpu_here h{rt, 1_MiB};
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_there_and_back(h, 100'001, 3));
        BOOST_TEST(h.by_the_short_way() == 100'001u);
        BOOST_TEST(bytes_by(h.a, "served") == 100'001u);
    }
}

// CUDA lets nobody open its own.
BOOST_AUTO_TEST_CASE(in_one_process_it_is_served)
{
    runtime rt;
    gpu_here there{rt, 1_MiB}, h{rt, 1_MiB};
    finish(rt, there.open({}));
    region part;
    finish(rt, publishes(there, part));
    finish(rt, h.open(there.a.metadata()));
    finish(rt, gpu_there_and_back(h, 100'001, 3));
    BOOST_TEST(h.by_the_short_way() == 0u);
    BOOST_TEST(bytes_by(h.a, "served") == 2 * 100'001u);
}

// What was mapped by hand cannot be opened by others. It is read into all the same.
BOOST_AUTO_TEST_CASE(memory_of_one_kind_may_differ)
{
    peer_process p{1_MiB};
    std::byte* const by_hand = fake.allocate(1_MiB, CU_MEMORYTYPE_DEVICE, 0, true);
    {
        runtime rt;
        gpu_here h{rt, 1_MiB};
        finish(rt, h.open(p.metadata));
        BOOST_TEST(p.ask(rt, "fill 5") == "done");
        region mine;
        finish(rt, [](gpu_here& it, region& r, std::byte* at) -> task<> {
            r = co_await it.a.register_memory(vram(at, 1_MiB));
        }(h, mine, by_hand));
        finish(rt, once(h.kv, mine));
        BOOST_TEST(h.by_the_short_way() == 1_MiB);
        BOOST_TEST(same({by_hand, 1_MiB}, lab::pattern(1_MiB, 5)));
        std::ranges::copy(lab::pattern(1_MiB, 6), by_hand);
        finish(rt, once(mine, h.kv));
        BOOST_TEST(h.by_the_short_way() == 1_MiB);
        BOOST_TEST(p.ask(rt, "holds 6") == "yes");
    }
    fake.free(by_hand);
}

// Whose region has gone is not kept open, though the other sleeps.
BOOST_AUTO_TEST_CASE(what_goes_is_let_go_of)
{
    peer_process p{1_MiB};
    runtime rt;
    gpu_here h{rt, 1_MiB};
    finish(rt, h.open(p.metadata));
    finish(rt, gpu_there_and_back(h, 1000, 0));
    BOOST_TEST(fake.opened() == 1u);
    BOOST_TEST(p.ask(rt, "opened") == "1");
    h.pool.reset();
    for (int i = 0; i < 100 && p.ask(rt, "opened") != "0"; ++i) poll_for(rt, 1ms);
    BOOST_TEST(p.ask(rt, "opened") == "0");
    BOOST_TEST(p.ask(rt, "forget") == "done");
    BOOST_TEST(poll_until(rt, [&] { return fake.opened() == 0; }));
}

BOOST_AUTO_TEST_CASE(a_peer_that_is_killed_harms_nobody)
{
    for (int round = 0; round < 4; ++round) {
        peer_process p, bystander{area, "shares", "bystander"};
        runtime rt;
        gpu_here h{rt, area};
        finish(rt, h.open(bystander.metadata));
        const slice kept = h.kv;
        peer other = std::move(h.other);
        finish(rt, h.open(p.metadata));
        finish(rt, gpu_peer_killed(h, p.id, round % 2, 3ms + round * 7ms));
        h.kv = kept;
        finish(rt, gpu_there_and_back(h, 100'001, 3));
        h.other = {};
    }
}

// It was to take what we write, and its GPU had not; or we were at reading from it, and our GPU was not through with it.
BOOST_AUTO_TEST_CASE(a_peer_that_is_killed_before_a_gpu_is_through)
{
    for (const bool reads : {false, true}) {
        peer_process p;
        runtime rt;
        gpu_here h{rt, area};
        finish(rt, h.open(p.metadata));
        BOOST_TEST(p.ask(rt, "hold") == "done");
        fake.at_once = !reads;
        finish(rt, gpu_peer_killed(h, p.id, reads, 20ms));
        fake.at_once = true;
    }
}

// Contracts 5 and 6: `revoke` returns when nothing is under way, though our own GPU was slow, and what comes later is refused.
BOOST_AUTO_TEST_CASE(nothing_lands_in_what_was_withdrawn)
{
    for (int round = 0; round < 5; ++round) {
        peer_process p{4_MiB};
        runtime rt;
        gpu_here h{rt, 4_MiB, 100ms};
        finish(rt, h.open({}));
        region part;
        finish(rt, publishes(h, part));
        BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
        if (round % 2) fake.at_once = false;
        BOOST_TEST(p.ask(rt, "write") == "done");
        poll_for(rt, 777us * round);
        p.kill(SIGSTOP);
        BOOST_TEST(fake.idle() == (round % 2 == 0));
        finish(rt, revoked(h));
        BOOST_TEST(fake.idle());
        fake.at_once = true;
        finish(rt, used_again(h));
        p.kill(SIGCONT);
        poll_for(rt, 50ms);
        fake.step();
        finish(rt, is_as_it_was(h));
        const std::string ended = p.ask(rt, "ended");
        BOOST_TEST((ended == make_error_code(errc::withdrawn).message() || ended == make_error_code(errc::peer_lost).message()), ended);
    }
}

// And who was reading meanwhile is told that it is worth nothing.
BOOST_AUTO_TEST_CASE(what_was_read_of_it_is_worth_nothing)
{
    peer_process p{4_MiB};
    runtime rt;
    gpu_here h{rt, 4_MiB, 100ms};
    finish(rt, h.open({}));
    region part;
    finish(rt, publishes(h, part));
    BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
    BOOST_TEST(p.ask(rt, "hold") == "done");
    BOOST_TEST(p.ask(rt, "fetch") == "done");
    poll_for(rt, 5ms);
    finish(rt, revoked(h));
    finish(rt, used_again(h));
    BOOST_TEST(p.ask(rt, "go") == "done");
    BOOST_TEST(p.ask(rt, "ended") == make_error_code(errc::withdrawn).message());
    finish(rt, is_as_it_was(h));
}

// What it asks our agent for is closed to it with the key.
BOOST_AUTO_TEST_CASE(what_is_asked_for_is_closed_too)
{
    for (int round = 0; round < 3; ++round) {
        peer_process p{4_MiB};
        runtime rt;
        gpu_here h{rt, 4_MiB, 100ms};
        finish(rt, h.open({}));
        region part;
        finish(rt, publishes(h, part));
        BOOST_TEST(p.connect(rt, h.a.metadata()) == "connected");
        BOOST_TEST(p.ask(rt, "push") == "done");
        poll_for(rt, 5ms + 777us * round);
        p.kill(SIGSTOP);
        finish(rt, revoked(h));
        finish(rt, used_again(h));
        p.kill(SIGCONT);
        poll_for(rt, 50ms);
        finish(rt, is_as_it_was(h));
        const std::string ended = p.ask(rt, "ended");
        BOOST_TEST((ended == make_error_code(errc::withdrawn).message() || ended == make_error_code(errc::peer_lost).message()), ended);
    }
}

BOOST_AUTO_TEST_SUITE_END()
