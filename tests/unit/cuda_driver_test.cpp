// SPDX-License-Identifier: Apache-2.0
// The CUDA driver over a driver library that is ordinary memory: order, errors, gathering, quiescence, without a GPU.
#define BOOST_TEST_MODULE cuda_driver
#include <boost/test/unit_test.hpp>

#include <deque>
#include <random>

#include "driver.hpp"
#include "sharing.hpp"
#include "support/fake_cuda.hpp"
#include "support/lab_world.hpp"

namespace wye {
inline std::ostream& boost_test_print_type(std::ostream& out, cuda_errc e) { return out << make_error_code(e).message(); }
} // namespace wye

using namespace wye;
using namespace wye::testing;

namespace {

task<> know(wye::agent& a, memory m, region& into) { into = co_await a.register_memory(m); }

task<> know_not(wye::agent& a, memory m, error_code& why)
{
    try {
        region r = co_await a.register_memory(m);
    } catch (const system_error& x) {
        why = x.code();
    }
}

/// An agent on two fake devices, with something in each memory.
struct world {
    explicit world(cuda_options o = {}, std::size_t bytes = 4_MiB)
        : host(bytes), back(bytes), gpu{fake.allocate(bytes, CU_MEMORYTYPE_DEVICE)},
          other{fake.allocate(bytes, CU_MEMORYTYPE_DEVICE, 1)}, agent{std::in_place, rt, "gpu", none()}
    {
        fake.calls.clear();
        fake.pages_launched = 0;
        fake.contexts_were_right = true;
        cuda = &agent->add(std::make_unique<cu::cuda_driver>(fake_cuda::table(), o));
        for (std::size_t i = 0; i < bytes; ++i) host[i] = static_cast<std::byte>(i * 7 + i / 256);
        finish(rt, open(bytes));
    }
    ~world()
    {
        fake.failing.clear();
        while (fake.step()) {}
        for (region* r : {&up, &down, &vram, &far}) r->reset();
        agent.reset();
        fake.lost = CUDA_SUCCESS;
        fake.works = false;
        fake.streams.clear();
        fake.events.clear();
        fake.free(gpu);
        fake.free(other);
        BOOST_TEST(fake.quiet());
        BOOST_TEST(fake.contexts_were_right);
    }
    static agent_options none()
    {
        agent_options o;
        o.default_drivers = false;
        return o;
    }
    task<> open(std::size_t bytes)
    {
        up = co_await agent->register_memory(dram(host));
        down = co_await agent->register_memory(dram(back));
        vram = co_await agent->register_memory(wye::vram(gpu, bytes));
        far = co_await agent->register_memory(wye::vram(other, bytes, 1));
    }
    void settle()
    {
        for (int i = 0; i < 50; ++i) rt.poll();
    }
    template <class... R>
    bool finished(const R&... r)
    {
        return poll_until(rt, [&] {
            fake.step();
            return (... && (r.ends != 0));
        });
    }
    error_code refusal(memory m)
    {
        error_code e;
        finish(rt, know_not(*agent, m, e));
        return e;
    }

    fake_cuda& fake = fake_cuda::self();
    std::vector<std::byte> host, back;
    std::byte* gpu;
    std::byte* other;
    runtime rt;
    std::optional<wye::agent> agent;
    const driver* cuda;
    region up, down, vram, far;
};

cuda_options singly()
{
    cuda_options o;
    o.gather = gather_by::copies;
    return o;
}

} // namespace

// Nothing is over before the device has done it, and then all of it is.
BOOST_AUTO_TEST_CASE(ends_when_the_device_has_done_it)
{
    world w;
    lab::result up, down;
    copy(w.up, w.vram, up.token());
    w.settle();
    BOOST_TEST(up.ends == 0);
    BOOST_TEST(w.finished(up));
    BOOST_TEST(up.bytes == w.host.size());
    copy(w.vram, w.down, down.token());
    BOOST_TEST(w.finished(down));
    BOOST_TEST((w.back == w.host));
}

// From one device to another, and back from there.
BOOST_AUTO_TEST_CASE(between_devices)
{
    world w;
    lab::result a, b, c;
    copy(w.up, w.vram, a.token());
    BOOST_TEST(w.finished(a));
    copy(w.vram, w.far, b.token());
    BOOST_TEST(w.finished(b));
    copy(w.far, w.down, c.token());
    BOOST_TEST(w.finished(c));
    BOOST_TEST((w.back == w.host));
    BOOST_TEST(w.fake.calls["peer"] == 2); // each way, once
}

// A thousand pages are a few launches, and one number for each of them; misaligned ones go by themselves.
BOOST_AUTO_TEST_CASE(pages_are_gathered)
{
    world w;
    if (!cu::page_kernel()) return;
    std::vector<transfer> pages;
    for (std::uint32_t i = 0; i < 1000; ++i) pages.push_back({w.up.block(i, 4096), w.vram.block(999 - i, 4096)});
    lab::result r;
    copy(pages, r.token());
    BOOST_TEST(w.finished(r));
    BOOST_TEST(w.fake.pages_launched == 1000u);
    BOOST_TEST(w.fake.calls["copy"] == 0);
    BOOST_TEST(w.fake.calls["launch"] <= 8);
    BOOST_TEST(w.fake.calls["write"] <= 8);
    for (std::size_t i = 0; i < 1000; ++i)
        BOOST_TEST((std::memcmp(w.gpu + (999 - i) * 4096, w.host.data() + i * 4096, 4096) == 0));
    std::vector<transfer> odd;
    for (std::uint32_t i = 0; i < 10; ++i) odd.push_back({w.up.at(i * 4096, 100), w.vram.at(i * 4096 + 3, 100)});
    lab::result s;
    copy(odd, s.token());
    BOOST_TEST(w.finished(s));
    BOOST_TEST(w.fake.pages_launched == 1000u);
    BOOST_TEST(w.fake.calls["copy"] == 10);
}

// More pages than there are lists for wait, and go.
BOOST_AUTO_TEST_CASE(more_pages_than_lists)
{
    world w{{}, 8_MiB};
    std::vector<transfer> pages;
    for (std::uint32_t i = 0; i < 8192; ++i) pages.push_back({w.up.block(i, 1024), w.vram.block(8191 - i, 1024)});
    lab::result r;
    copy(pages, r.token());
    w.settle();
    BOOST_TEST(r.ends == 0);
    BOOST_TEST(w.finished(r));
    BOOST_TEST(r.bytes == 8_MiB);
    for (std::size_t i = 0; i < 8192; ++i)
        if (std::memcmp(w.gpu + (8191 - i) * 1024, w.host.data() + i * 1024, 1024) != 0) BOOST_ERROR("page " << i);
}

// Cancelled: over only when the device is, and the count says what landed.
BOOST_AUTO_TEST_CASE(cancelled_is_quiescent)
{
    world w{singly()};
    lab::result r;
    copy(w.up, w.vram, r.token());
    w.settle();
    r.cancel();
    w.settle();
    BOOST_TEST(r.ends == 0); // two megabytes twice are with the device
    BOOST_TEST(w.finished(r));
    BOOST_TEST(!w.fake.step()); // nothing is left on any stream
    BOOST_TEST(r.bytes <= w.host.size());
}

// What fails when it is issued fails alone.
BOOST_AUTO_TEST_CASE(an_error_is_its_own)
{
    world w{singly()};
    lab::result bad, good;
    w.fake.failing["copy"] = CUDA_ERROR_INVALID_VALUE;
    copy(w.up.at(0, 100), w.vram.at(0, 100), bad.token());
    w.settle();
    w.fake.failing.clear();
    copy(w.up.at(0, 100), w.vram.at(0, 100), good.token());
    BOOST_TEST(w.finished(bad, good));
    BOOST_TEST(bad.error == boost::system::errc::invalid_argument);
    BOOST_TEST((bad.error.category() == cuda_category()));
    BOOST_TEST(!good.error.failed());
}

// A sticky error of the device ends all that is under way, and all that comes later.
BOOST_AUTO_TEST_CASE(a_lost_device_ends_everything)
{
    world w;
    std::vector<transfer> pages;
    for (std::uint32_t i = 0; i < 100; ++i) pages.push_back({w.up.block(i, 4096), w.vram.block(i, 4096)});
    lab::result whole, some, waits, later;
    auto& model = w.fake.new_stream();
    model.work.push_back([] { return false; }); // a kernel that never ends
    copy_options o;
    o.after = after_stream(&model);
    copy(w.up, w.vram, whole.token());
    copy(pages, some.token());
    copy(w.vram, w.down, o, waits.token());
    w.settle();
    w.fake.lost = CUDA_ERROR_ILLEGAL_ADDRESS;
    const bool over = poll_until(w.rt, [&] { return whole.ends && some.ends && waits.ends; });
    BOOST_TEST(over);
    copy(w.up, w.vram, later.token());
    BOOST_TEST(poll_until(w.rt, [&] { return later.ends != 0; }));
    for (const lab::result* r : {&whole, &some, &waits, &later}) {
        BOOST_TEST(r->error.value() == CUDA_ERROR_ILLEGAL_ADDRESS);
        BOOST_TEST(r->error == boost::system::errc::io_error);
    }
}

// And what is shared with other processes, though all lists are out and their numbers never come.
BOOST_AUTO_TEST_CASE(a_lost_device_ends_what_is_shared)
{
    fake_cuda& fake = fake_cuda::self();
    std::byte* const memory = fake.allocate(1_MiB, CU_MEMORYTYPE_DEVICE);
    {
        cu::sharing shared{fake_cuda::table(), {}};
        std::deque<gpu_copy> all;
        std::size_t over = 0;
        const auto begin = [&] {
            gpu_copy& c = all.emplace_back();
            c.to = memory;
            c.from = memory + 512_KiB;
            c.bytes = 4_KiB;
            if (shared.start(c)) return true;
            all.pop_back();
            return false;
        };
        const auto end_all = [&] {
            shared.flush();
            for (int i = 0; i < 100'000 && over != all.size(); ++i)
                if (const gpu_copy* const c = shared.next_over()) {
                    BOOST_TEST(c->error.value() == CUDA_ERROR_ILLEGAL_ADDRESS);
                    ++over;
                }
            BOOST_TEST(over == all.size());
        };
        for (int i = 0; i < 5000 && begin(); ++i) {}
        fake.lost = CUDA_ERROR_ILLEGAL_ADDRESS;
        end_all();
        for (int i = 0; i < 5000; ++i) BOOST_TEST_REQUIRE(begin());
        end_all();
        fake.lost = CUDA_SUCCESS;
    }
    fake.streams.clear();
    fake.free(memory);
}

// The number of a stream does not come, and yet the stream is done.
BOOST_AUTO_TEST_CASE(a_number_that_does_not_come)
{
    world w;
    lab::result r;
    w.fake.failing["write"] = CUDA_ERROR_NOT_SUPPORTED;
    copy(w.up, w.vram, r.token());
    BOOST_TEST(w.finished(r));
    BOOST_TEST(!r.error.failed());
    BOOST_TEST((std::memcmp(w.gpu, w.host.data(), w.host.size()) == 0));
}

// What is to come shortly keeps the loop awake, and what has been asked about in vain does not.
BOOST_AUTO_TEST_CASE(what_takes_long_lets_the_loop_sleep)
{
    world w;
    lab::result r;
    copy(w.up, w.vram, r.token());
    w.settle();
    BOOST_TEST(w.cuda->due());
    BOOST_TEST(poll_until(w.rt, [&] { return !w.cuda->due(); }));
    w.settle();
    BOOST_TEST(!w.cuda->due());
    BOOST_TEST(w.finished(r));
    lab::result next;
    copy(w.up, w.vram, next.token());
    w.settle();
    BOOST_TEST(w.cuda->due());
    BOOST_TEST(w.finished(next));
}

// What a pointer is not.
BOOST_AUTO_TEST_CASE(pointers_are_checked)
{
    world w;
    BOOST_TEST(w.refusal(vram(w.host.data(), 100)) == cuda_errc::host_pointer); // pinned, so CUDA knows it
    std::vector<std::byte> plain(100);
    BOOST_TEST(w.refusal(vram(plain.data(), 100)) == cuda_errc::unknown_pointer);
    BOOST_TEST(w.refusal(vram(w.gpu, 4_MiB + 1)) == cuda_errc::past_the_end);
    BOOST_TEST(w.refusal(vram(w.gpu, 100, 1)) == cuda_errc::other_device);
    BOOST_TEST(w.refusal(vram(w.gpu, 100, 5)) == cuda_errc::no_such_device);
    BOOST_TEST(w.refusal(dram(w.gpu, 100)) == cuda_errc::device_pointer);
    BOOST_TEST(make_error_code(cuda_errc::host_pointer).message() == "cuda: this is host memory, not a GPU's");
    std::byte* const freed = w.fake.allocate(4096, CU_MEMORYTYPE_DEVICE);
    w.fake.memory.erase(reinterpret_cast<std::uintptr_t>(freed));
    BOOST_TEST(w.refusal(vram(freed, 100)) == cuda_errc::unknown_pointer);
    std::free(freed);
}

// Pages are pinned once, and as long as somebody wants them.
BOOST_AUTO_TEST_CASE(pages_are_pinned_once)
{
    world w;
    std::vector<std::byte> heap(64_KiB);
    region a, b, all;
    finish(w.rt, know(*w.agent, dram(heap.data() + 1000, 5000), a));
    finish(w.rt, know(*w.agent, dram(heap.data() + 6000, 5000), b));
    finish(w.rt, know(*w.agent, dram(heap), all));
    std::size_t pinned = 0;
    for (const auto& [begin, end] : w.fake.registered)
        if (begin >= reinterpret_cast<std::uintptr_t>(heap.data()) / 4096 * 4096 && begin < reinterpret_cast<std::uintptr_t>(heap.data() + heap.size()))
            pinned += end - begin;
    const auto first = reinterpret_cast<std::uintptr_t>(heap.data()) / 4096, last = (reinterpret_cast<std::uintptr_t>(heap.data() + heap.size()) + 4095) / 4096;
    BOOST_TEST(pinned == (last - first) * 4096);
    a.reset();
    b.reset();
    lab::result r; // across the borders of what was pinned apart
    copy(all, w.vram.at(0, heap.size()), r.token());
    BOOST_TEST(w.finished(r));
    BOOST_TEST(!r.error.failed());
    BOOST_TEST((std::memcmp(w.gpu, heap.data(), heap.size()) == 0));
}

BOOST_AUTO_TEST_CASE(memory_that_cannot_be_pinned)
{
    world w;
    const arena plain{4096}; // a page of its own
    w.fake.failing["register"] = CUDA_ERROR_OUT_OF_MEMORY;
    BOOST_TEST(w.refusal(dram(plain)) == boost::system::errc::not_enough_memory);
}

// A large registration goes on beside the loop; what comes meanwhile for that memory waits.
BOOST_AUTO_TEST_CASE(large_memory_is_pinned_off_the_loop)
{
    world w;
    std::vector<std::byte> large(40_MiB);
    BOOST_TEST(!w.refusal(dram(large)).failed());
}

// A copy waits for what a stream was given before it, and not for what comes later.
BOOST_AUTO_TEST_CASE(after_a_stream)
{
    world w;
    auto& model = w.fake.new_stream();
    bool computed = false;
    model.work.push_back([&] { return computed; });
    copy_options o;
    o.after = after_stream(&model);
    lab::result r, free;
    copy(w.up.at(0, 1000), w.vram.at(0, 1000), o, r.token());
    model.work.push_back([] { return false; }); // for ever, but later
    copy(w.up.at(2000, 1000), w.vram.at(2000, 1000), free.token());
    BOOST_TEST(w.finished(free)); // which waits for nothing
    for (int i = 0; i < 100; ++i) w.fake.step(), w.settle();
    BOOST_TEST(r.ends == 0);
    computed = true;
    BOOST_TEST(w.finished(r));
    BOOST_TEST(!r.error.failed());
    model.work.clear();
}

// Ten copies wait for a stream that waits for an eleventh: it is not held up behind them.
BOOST_AUTO_TEST_CASE(what_waits_is_in_nobodys_way)
{
    world w;
    auto& model = w.fake.new_stream();
    lab::result awaited;
    std::vector<lab::result> waiting(10);
    copy_options hold, after;
    hold.before = hold_stream(&model);
    after.after = after_stream(&model);
    bool gone = false;
    model.work.push_back([&] { return gone; });
    for (auto& r : waiting) copy(w.vram, w.down, after, r.token());
    w.settle();
    copy(w.up.at(0, 64_KiB), w.vram.at(0, 64_KiB), hold, awaited.token());
    gone = true;
    BOOST_TEST(w.finished(awaited));
    for (auto& r : waiting) BOOST_TEST(w.finished(r));
}

// Cancelled while it waits: over at once, and nothing of it moves later.
BOOST_AUTO_TEST_CASE(cancelled_while_it_waits)
{
    world w;
    auto& model = w.fake.new_stream();
    bool computed = false;
    model.work.push_back([&] { return computed; });
    copy_options o;
    o.after = after_stream(&model);
    std::vector<lab::result> r(6); // four may wait on the device
    for (auto& one : r) copy(w.vram, w.down, o, one.token());
    w.settle();
    for (auto& one : r) one.cancel();
    w.settle();
    BOOST_TEST(r[5].ends == 1);
    BOOST_TEST(r[5].error == boost::asio::error::operation_aborted);
    BOOST_TEST(r[5].bytes == 0u);
    BOOST_TEST(r[0].ends == 0); // the device has it, and will do it
    computed = true;
    for (auto& one : r) BOOST_TEST(w.finished(one));
}

// A stream waits for a copy, learns how it ended, and goes on whichever way that was.
BOOST_AUTO_TEST_CASE(before_a_stream)
{
    world w{singly()};
    for (const auto how : {gpu_status::landed, gpu_status::failed}) {
        auto& model = w.fake.new_stream();
        std::uint32_t status = 77, seen = 77;
        copy_options o;
        o.before = hold_stream(&model, &status);
        lab::result r;
        if (how == gpu_status::failed) w.fake.failing["copy"] = CUDA_ERROR_INVALID_VALUE;
        copy(w.up, w.vram, o, r.token());
        model.work.push_back([&] { return seen = status, true; });
        BOOST_TEST(status == static_cast<std::uint32_t>(gpu_status::pending));
        w.settle();
        BOOST_TEST(seen == 77u);
        w.fake.failing.clear();
        BOOST_TEST(w.finished(r));
        w.fake.step();
        BOOST_TEST(seen == static_cast<std::uint32_t>(how));
        BOOST_TEST(model.work.empty());
    }
}

// One that cannot begin holds no stream.
BOOST_AUTO_TEST_CASE(refused_before_a_stream)
{
    world w;
    auto& model = w.fake.new_stream();
    std::uint32_t status = 0;
    copy_options o;
    o.before = hold_stream(&model, &status);
    lab::result r, s;
    copy(w.up.at(0, 10), w.vram.at(8_MiB, 10), o, r.token());
    BOOST_TEST(w.finished(r));
    BOOST_TEST(status == static_cast<std::uint32_t>(gpu_status::failed));
    BOOST_TEST(model.work.empty());
    status = 0;
    copy(w.up.at(0, 10), w.vram.at(0, 11), o, s.token());
    BOOST_TEST(w.finished(s));
    BOOST_TEST(status == static_cast<std::uint32_t>(gpu_status::failed));
    BOOST_TEST(model.work.empty());
}

// The agent goes while copies wait: they end, and streams that wait for them go on.
BOOST_AUTO_TEST_CASE(the_agent_goes_first)
{
    world w;
    auto& model = w.fake.new_stream();
    auto& producer = w.fake.new_stream();
    bool computed = false;
    producer.work.push_back([&] { return computed; });
    copy_options o;
    o.after = after_stream(&producer);
    o.before = hold_stream(&model);
    lab::result r;
    copy(w.up.at(0, 16_KiB), w.vram.at(0, 16_KiB), o, r.token());
    w.settle();
    BOOST_TEST(r.ends == 0);
    computed = true;
    w.fake.works = true; // an agent that goes waits for the device
    w.agent.reset();
    w.settle();
    BOOST_TEST(r.ends == 1);
    w.fake.step();
    BOOST_TEST(model.work.empty());
}

BOOST_AUTO_TEST_CASE(a_stream_that_is_captured)
{
    world w;
    auto& model = w.fake.new_stream();
    model.capturing = true;
    copy_options after, before;
    after.after = after_stream(&model);
    before.before = hold_stream(&model);
    lab::result r, s;
    copy(w.up, w.vram, after, r.token());
    copy(w.up, w.vram, before, s.token());
    BOOST_TEST(w.finished(r, s));
    BOOST_TEST(r.error == cuda_errc::capturing);
    BOOST_TEST(s.error == cuda_errc::capturing);
    BOOST_TEST(model.work.empty());
}

// Without a GPU's driver there is nothing to be ordered with.
BOOST_AUTO_TEST_CASE(order_needs_a_gpu)
{
    runtime rt;
    std::vector<std::byte> a(10), b(10);
    agent plain{rt, "plain"};
    region x, y;
    finish(rt, know(plain, dram(a), x));
    finish(rt, know(plain, dram(b), y));
    copy_options o;
    o.after = after_stream(nullptr);
    lab::result r;
    copy(x, y, o, r.token());
    BOOST_TEST(poll_until(rt, [&] { return r.ends != 0; }));
    BOOST_TEST(r.error == errc::not_supported);
}
