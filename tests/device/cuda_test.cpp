// SPDX-License-Identifier: Apache-2.0
// Copies between DRAM and a real GPU: contents, order with kernels, errors. Skips where there is no GPU.
#define BOOST_TEST_NO_MAIN
#define BOOST_TEST_ALTERNATIVE_INIT_API
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <random>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>

#include "device/gpu.hpp"
#include "support/co_test.hpp"

namespace wye {
inline std::ostream& boost_test_print_type(std::ostream& out, cuda_errc e) { return out << make_error_code(e).message(); }
} // namespace wye

using namespace wye;
using namespace wye::testing;
namespace asio = boost::asio;

namespace {

/// What most tests start from.
struct bench {
    explicit bench(runtime& rt, std::size_t bytes = 64_MiB, cuda_options o = {})
        : host{bytes}, back{bytes}, gpu{bytes + 4096}, agent{rt, "gpu"}
    {
        agent.add(drivers::cuda(o));
    }
    task<> open()
    {
        up = co_await agent.register_memory(dram(host));
        down = co_await agent.register_memory(dram(back));
        vram = co_await agent.register_memory(gpu.memory());
    }
    /// There and back, at these offsets; how many bytes came back wrong.
    task<std::size_t> round(std::uint64_t h, std::uint64_t d, std::uint64_t b, std::size_t bytes)
    {
        const unsigned seed = static_cast<unsigned>(bytes % 251 + h % 13);
        fill(host.data() + h, bytes, seed);
        std::memset(back.data() + b, 0x5a, bytes);
        const std::size_t there = co_await copy(up.at(h, bytes), vram.at(d, bytes));
        BOOST_TEST(there == bytes);
        co_await copy(vram.at(d, bytes), down.at(b, bytes));
        co_return wrong_bytes(back.data() + b, bytes, seed);
    }

    arena host, back;
    gpu_memory gpu;
    wye::agent agent;
    region up, down, vram;
};

/// False when it does not come to pass in a minute.
template <class Over>
task<bool> until(runtime& rt, Over over)
{
    const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes{1};
    while (!over()) {
        if (std::chrono::steady_clock::now() > patience) co_return false;
        co_await asio::post(rt, asio::deferred);
    }
    co_return true;
}

/// Under a memory checker, which is slow, and under which the device does one thing at a time: nothing can wait there.
bool quick() { return std::getenv("WYE_TEST_QUICK") != nullptr; }

/// The error that registering this gives.
task<error_code> refused(wye::agent& agent, memory m)
{
    error_code e;
    try {
        region r = co_await agent.register_memory(m);
    } catch (const system_error& x) {
        e = x.code();
    }
    co_return e;
}

struct result {
    int ends = 0;
    error_code error;
    std::size_t bytes = 0;
    asio::cancellation_signal signal;
    auto token()
    {
        return asio::bind_cancellation_slot(signal.slot(), [this](error_code e, std::size_t n) {
            ++ends;
            error = e;
            bytes = n;
        });
    }
};

} // namespace

// Every size that may go another way, at offsets that nothing is aligned to.
WYE_CO_TEST(any_size_at_any_place)
{
    bench b{rt, quick() ? 8_MiB : 64_MiB};
    co_await b.open();
    std::mt19937 random{5};
    const std::size_t most = b.host.size() - 64;
    std::vector<std::size_t> sizes{1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 255, 256, 257, 511, 513};
    for (std::size_t s = 1024; s < most; s *= 2) sizes.insert(sizes.end(), {s - 1, s, s + 1, s + 17});
    std::size_t wrong = 0;
    for (const std::size_t bytes : sizes) {
        if (bytes > most) continue;
        for (int i = 0; i < (bytes < 1_MiB ? 6 : 2); ++i) {
            const std::size_t w = co_await b.round(random() % 64, random() % 64, random() % 64, bytes);
            wrong += w;
            if (w) BOOST_TEST_MESSAGE(bytes << " bytes: " << w << " wrong");
        }
    }
    BOOST_TEST(wrong == 0u);
}

WYE_CO_TEST(a_gibibyte)
{
    if (quick()) co_return;
    bench b{rt, 1_GiB + 64};
    co_await b.open();
    const std::size_t aligned = co_await b.round(0, 0, 0, 1_GiB);
    BOOST_TEST(aligned == 0u);
    const std::size_t odd = co_await b.round(3, 8, 13, 1_GiB - 5);
    BOOST_TEST(odd == 0u);
}

namespace {

struct page_case {
    std::size_t bytes, count, skew_host, skew_device;
};

/// Pages of a size and alignment there and back in random places, and what lies between them untouched.
task<std::size_t> pages_round(bench& b, page_case p)
{
    const std::size_t apart = (p.bytes + 63 + 64) / 64 * 64;
    std::vector<std::uint32_t> from(p.count), to(p.count);
    std::iota(from.begin(), from.end(), 0);
    std::iota(to.begin(), to.end(), 0);
    std::mt19937 random{static_cast<unsigned>(p.bytes)};
    std::shuffle(from.begin(), from.end(), random);
    std::shuffle(to.begin(), to.end(), random);
    fill(b.host.data(), b.host.size(), 9);
    std::memset(b.back.data(), 0x5a, b.back.size());
    std::vector<transfer> there, back;
    for (std::size_t i = 0; i < p.count; ++i) {
        const slice h = b.up.at(from[i] * apart + p.skew_host, p.bytes), d = b.vram.at(to[i] * apart + p.skew_device, p.bytes);
        there.push_back({h, d});
        back.push_back({d, b.down.at(from[i] * apart + p.skew_host, p.bytes)});
    }
    co_await copy(there);
    co_await copy(back);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < p.count * apart; ++i) {
        const std::size_t in = i % apart;
        const bool page = in >= p.skew_host && in < p.skew_host + p.bytes;
        wrong += page ? b.back.data()[i] != b.host.data()[i] : b.back.data()[i] != std::byte{0x5a};
    }
    co_return wrong;
}

task<> all_pages(runtime& rt, cuda_options o)
{
    bench b{rt, quick() ? 4_MiB : 48_MiB, o};
    co_await b.open();
    for (const std::size_t bytes : {1, 5, 15, 16, 17, 100, 1000, 2048, 4095, 4096, 4099, 8192, 12'345, 16'384, 32'768, 40'000})
        for (const auto& [h, d] : {std::pair<std::size_t, std::size_t>{0, 0}, {16, 48}, {5, 21}, {3, 8}}) {
            const std::size_t apart = (bytes + 127) / 64 * 64;
            const page_case p{bytes, std::min<std::size_t>(1024, b.host.size() / apart), h, d};
            const std::size_t wrong = co_await pages_round(b, p);
            BOOST_TEST(wrong == 0u, bytes << " bytes at " << h << " and " << d << ": " << wrong << " bytes are wrong");
        }
}

} // namespace

WYE_CO_TEST(pages_by_the_kernel)
{
    if (!read_cuda().kernel) co_return;
    cuda_options o;
    o.gather = gather_by::kernel;
    co_await all_pages(rt, o);
}
WYE_CO_TEST(pages_by_few_blocks)
{
    cuda_options o;
    o.gather_blocks = 1;
    co_await all_pages(rt, o);
}
WYE_CO_TEST(pages_by_the_batch_call)
{
    cuda_options o;
    o.gather = gather_by::batch;
    co_await all_pages(rt, o);
}
WYE_CO_TEST(pages_by_single_copies)
{
    cuda_options o;
    o.gather = gather_by::copies;
    co_await all_pages(rt, o);
}

// Within the device, large and in pages.
WYE_CO_TEST(within_the_device)
{
    bench b{rt, 16_MiB};
    co_await b.open();
    fill(b.host.data(), b.host.size(), 4);
    co_await copy(b.up.at(0, 8_MiB), b.vram.at(0, 8_MiB));
    co_await copy(b.vram.at(0, 4_MiB), b.vram.at(8_MiB, 4_MiB));
    std::vector<transfer> pages;
    for (std::size_t i = 0; i < 500; ++i) pages.push_back({b.vram.block(i, 4_KiB), b.vram.at(12_MiB + (499 - i) * 4_KiB, 4_KiB)});
    co_await copy(pages);
    co_await copy(b.vram.at(8_MiB, 8_MiB), b.down.at(0, 8_MiB));
    BOOST_TEST((std::memcmp(b.back.data(), b.host.data(), 4_MiB) == 0));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 500; ++i)
        wrong += std::memcmp(b.back.data() + 4_MiB + (499 - i) * 4_KiB, b.host.data() + i * 4_KiB, 4_KiB) != 0;
    BOOST_TEST(wrong == 0u);
}

// Memory that cannot be what it is said to be.
WYE_CO_TEST(what_is_no_memory_of_the_gpu)
{
    bench b{rt, 1_MiB};
    co_await b.open();
    error_code e = co_await refused(b.agent, vram(b.host.data(), 4096));
    BOOST_TEST(e == cuda_errc::host_pointer);
    std::vector<std::byte> plain(4096);
    e = co_await refused(b.agent, vram(plain.data(), plain.size()));
    BOOST_TEST(e == cuda_errc::unknown_pointer);
    e = co_await refused(b.agent, vram(b.gpu.data() + 4096, b.gpu.size()));
    BOOST_TEST(e == cuda_errc::past_the_end);
    e = co_await refused(b.agent, vram(b.gpu.data(), b.gpu.size(), 63));
    BOOST_TEST(e == cuda_errc::no_such_device);
    e = co_await refused(b.agent, dram(b.gpu.data(), b.gpu.size()));
    BOOST_TEST(e == cuda_errc::device_pointer);
    std::byte* freed = nullptr;
    {
        const gpu_memory gone{32_MiB};
        freed = gone.data();
    }
    e = co_await refused(b.agent, vram(freed, 1_MiB));
    BOOST_TEST(e == cuda_errc::unknown_pointer);
    BOOST_TEST_MESSAGE(e.message());
}

WYE_CO_TEST(more_than_the_device_has)
{
    try {
        const gpu_memory all{std::size_t{1} << 40};
        BOOST_TEST(false);
    } catch (const system_error& e) {
        BOOST_TEST(e.code() == boost::system::errc::not_enough_memory);
        BOOST_TEST_MESSAGE(e.what());
    }
    co_return;
}

// A range of the virtual memory API, in several pieces, as a framework's expandable segments have.
WYE_CO_TEST(memory_that_was_mapped)
{
    model m;
    CUmemAllocationProp p{};
    p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    std::size_t unit = 0;
    must(model::symbol<decltype(cuMemGetAllocationGranularity)>("cuMemGetAllocationGranularity")(&unit, &p, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    CUdeviceptr base = 0;
    must(model::symbol<decltype(cuMemAddressReserve)>("cuMemAddressReserve")(&base, 8 * unit, 0, 0, 0));
    CUmemAccessDesc access{};
    access.location = p.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    std::vector<CUmemGenericAllocationHandle> pieces(3);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        must(model::symbol<decltype(cuMemCreate)>("cuMemCreate")(&pieces[i], unit, &p, 0));
        must(model::symbol<decltype(cuMemMap)>("cuMemMap")(base + i * unit, unit, 0, pieces[i], 0));
    }
    must(model::symbol<decltype(cuMemSetAccess)>("cuMemSetAccess")(base, pieces.size() * unit, &access, 1));
    auto* const at = reinterpret_cast<std::byte*>(base);
    {
        bench b{rt, 8_MiB};
        co_await b.open();
        const std::size_t bytes = pieces.size() * unit;
        region mapped = co_await b.agent.register_memory(vram(at, bytes));
        fill(b.host.data(), bytes, 6);
        std::memset(b.back.data(), 0, bytes);
        co_await copy(b.up.at(0, bytes), mapped);
        std::vector<transfer> pages; // across the borders of its pieces
        for (std::size_t i = 0; i + 1 <= bytes / 48_KiB; ++i) pages.push_back({mapped.block(i, 48_KiB), b.down.block(i, 48_KiB)});
        co_await copy(pages);
        BOOST_TEST((wrong_bytes(b.back.data(), bytes / 48_KiB * 48_KiB, 6) == 0));
        const error_code e = co_await refused(b.agent, vram(at, 4 * unit));
        BOOST_TEST(e == cuda_errc::past_the_end);
    }
    must(model::symbol<decltype(cuMemUnmap)>("cuMemUnmap")(base, pieces.size() * unit));
    for (const auto h : pieces) must(m.a.cuMemRelease(h));
    must(model::symbol<decltype(cuMemAddressFree)>("cuMemAddressFree")(base, 8 * unit));
}

// A copy that is to come after a kernel sees what it wrote; one that is not, does not wait for it.
WYE_CO_TEST(after_a_kernel)
{
    if (quick()) co_return;
    model m;
    bench b{rt, 32_MiB};
    co_await b.open();
    for (const std::size_t bytes : {std::size_t{64_KiB}, std::size_t{4_MiB}, std::size_t{32_MiB}}) {
        m.fill(b.gpu.data(), bytes, 21, 20'000'000);
        result other;
        copy(b.vram.at(b.host.size(), 4096), b.down.at(0, 4096), other.token());
        copy_options o;
        o.after = after_stream(m.stream);
        result r;
        copy(b.vram.at(0, bytes), b.down.at(0, bytes), o, r.token());
        const bool went = co_await until(rt, [&] { return other.ends == 1; });
        BOOST_TEST(went);
        BOOST_TEST(r.ends == 0); // the kernel takes 20 ms, the other copy some microseconds
        const bool came = co_await until(rt, [&] { return r.ends == 1; });
        BOOST_TEST(came);
        BOOST_TEST(!r.error.failed());
        BOOST_TEST((wrong_bytes(b.back.data(), bytes, 21) == 0));
        std::memset(b.back.data(), 0, bytes);
    }
}

// Many that wait, pages among them, and an event in place of a stream.
WYE_CO_TEST(many_after_a_kernel)
{
    if (quick()) co_return;
    model m;
    bench b{rt, 32_MiB};
    co_await b.open();
    m.fill(b.gpu.data(), 32_MiB, 33, 10'000'000);
    CUevent event{};
    must(m.a.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    must(m.a.cuEventRecord(event, m.stream));
    std::vector<result> r(16);
    for (std::size_t i = 0; i < r.size(); ++i) {
        copy_options o;
        o.after = i % 2 ? after_event(event) : after_stream(m.stream);
        std::vector<transfer> pages;
        for (std::size_t k = i; k < 2048; k += 16) pages.push_back({b.vram.block(k, 16_KiB), b.down.block(k, 16_KiB)});
        copy(pages, o, r[i].token());
    }
    const bool came = co_await until(rt, [&] { return std::all_of(r.begin(), r.end(), [](auto& x) { return x.ends == 1; }); });
    BOOST_TEST(came);
    BOOST_TEST((wrong_bytes(b.back.data(), 32_MiB, 33) == 0));
    must(m.a.cuEventDestroy(event));
    co_return;
}

// A kernel that waits for a copy sees what it brought, and how it ended.
WYE_CO_TEST(before_a_kernel)
{
    if (quick()) co_return;
    model m;
    bench b{rt, 32_MiB};
    co_await b.open();
    arena words{4096};
    region known = co_await b.agent.register_memory(dram(words));
    auto* const status = reinterpret_cast<std::uint32_t*>(words.data());
    auto* const answer = status + 16;
    for (const bool well : {true, false}) {
        fill(b.host.data(), 32_MiB, 40);
        answer[0] = 99;
        answer[1] = 0;
        result r;
        copy_options o;
        o.before = hold_stream(m.stream, status);
        copy(b.up.at(0, 32_MiB), b.vram.at(0, 32_MiB), o, r.token());
        if (!well) r.signal.emit(asio::cancellation_type::terminal);
        m.look_at(b.gpu.data(), 32_MiB, 40, status, answer);
        const bool over = co_await until(rt, [&] { return r.ends == 1; });
        BOOST_TEST(over);
        must(m.a.cuStreamSynchronize(m.stream));
        BOOST_TEST(r.error.failed() == !well);
        BOOST_TEST(answer[0] == static_cast<std::uint32_t>(well ? gpu_status::landed : gpu_status::failed));
        if (well) BOOST_TEST(answer[1] == 0u);
    }
    // One that cannot begin holds nobody, and says so.
    copy_options o;
    o.before = hold_stream(m.stream, status);
    result bad;
    copy(b.up.at(0, 1), b.vram.at(std::uint64_t{1} << 40, 1), o, bad.token());
    const bool over = co_await until(rt, [&] { return bad.ends == 1; });
    BOOST_TEST(over);
    BOOST_TEST(bad.error == errc::out_of_range);
    BOOST_TEST(*status == static_cast<std::uint32_t>(gpu_status::failed));
    must(m.a.cuStreamSynchronize(m.stream));
}

// A layer at a time: each waits for its pages, computes, and is written back, all of it queued ahead.
WYE_CO_TEST(layer_by_layer)
{
    if (quick()) co_return;
    model m;
    bench b{rt, 32_MiB};
    co_await b.open();
    constexpr std::size_t layers = 8, bytes = 4_MiB;
    std::vector<result> loads(layers), stores(layers);
    fill(b.host.data(), 32_MiB, 1);
    for (std::size_t l = 0; l < layers; ++l) {
        copy_options load, store;
        load.before = hold_stream(m.stream);
        copy(b.up.block(l, bytes), b.vram.block(l, bytes), load, loads[l].token());
        m.fill(b.gpu.data() + l * bytes, bytes, static_cast<unsigned>(l), 500'000);
        store.after = after_stream(m.stream);
        copy(b.vram.block(l, bytes), b.down.block(l, bytes), store, stores[l].token());
    }
    const bool over = co_await until(rt, [&] {
        return std::all_of(stores.begin(), stores.end(), [](auto& r) { return r.ends == 1; }) &&
               std::all_of(loads.begin(), loads.end(), [](auto& r) { return r.ends == 1; });
    });
    BOOST_TEST(over);
    std::size_t wrong = 0;
    for (std::size_t l = 0; l < layers; ++l) wrong += wrong_bytes(b.back.data() + l * bytes, bytes, static_cast<unsigned>(l));
    BOOST_TEST(wrong == 0u);
}

// A graph that is being captured is not disturbed, and no copy becomes part of it.
WYE_CO_TEST(beside_a_capture)
{
    model m;
    bench b{rt, 8_MiB};
    co_await b.open();
    must(model::symbol<decltype(cuStreamBeginCapture)>("cuStreamBeginCapture_v2")(m.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    m.fill(b.gpu.data() + 4_MiB, 4096, 1, 1000);
    const std::size_t wrong = co_await b.round(1, 2, 3, 1_MiB);
    BOOST_TEST(wrong == 0u);
    std::vector<std::byte> more(1_MiB);
    region another = co_await b.agent.register_memory(dram(more));
    copy_options o;
    o.after = after_stream(m.stream);
    const auto [e, n] = co_await copy(b.vram.at(0, 4096), b.down.at(0, 4096), o, asio::as_tuple(asio::deferred));
    BOOST_TEST(e == cuda_errc::capturing);
    m.fill(b.gpu.data() + 4_MiB, 4096, 2, 1000);
    CUgraph graph{};
    must(model::symbol<decltype(cuStreamEndCapture)>("cuStreamEndCapture")(m.stream, &graph));
    std::size_t nodes = 0;
    must(model::symbol<decltype(cuGraphGetNodes)>("cuGraphGetNodes")(graph, nullptr, &nodes));
    BOOST_TEST(nodes == 2u);
    must(model::symbol<decltype(cuGraphDestroy)>("cuGraphDestroy")(graph));
}

// Cancelled in mid-flight: the count of bytes is true, and nothing is written after the end.
WYE_CO_TEST(cancelled_in_mid_copy)
{
    bench b{rt, quick() ? 32_MiB : 256_MiB};
    co_await b.open();
    fill(b.host.data(), b.host.size(), 3);
    co_await copy(b.up, b.vram.at(0, b.host.size()));
    for (int polls : {0, 1, 5, 50, 500}) {
        std::memset(b.back.data(), 0, b.back.size());
        result r;
        copy(b.vram.at(0, b.host.size()), b.down, r.token());
        for (int i = 0; i < polls; ++i) co_await asio::post(rt, asio::deferred);
        r.signal.emit(asio::cancellation_type::terminal);
        const bool over = co_await until(rt, [&] { return r.ends == 1; });
        BOOST_TEST(over);
        std::memset(b.back.data(), 0x77, b.back.size());
        for (int i = 0; i < 1000; ++i) co_await asio::post(rt, asio::deferred);
        std::size_t touched = 0;
        for (std::size_t i = 0; i < b.back.size(); i += 64) touched += b.back.data()[i] != std::byte{0x77};
        BOOST_TEST(touched == 0u);
    }
}

// Through pinned staging to a file and back.
WYE_CO_TEST(to_a_file_and_back)
{
    bench b{rt, 32_MiB};
    co_await b.open();
    file_options fo;
    fo.temporary = true;
    file f = co_await b.agent.open_file("/tmp/wye-gpu-test", fo);
    fill(b.host.data(), 32_MiB, 12);
    co_await copy(b.up.at(0, 32_MiB), b.vram.at(0, 32_MiB));
    copy_options verified;
    verified.verify = true;
    co_await copy(b.vram.at(0, 32_MiB), f.at(0, 32_MiB), verified);
    const gpu_memory second{32_MiB};
    region other = co_await b.agent.register_memory(second.memory());
    co_await copy(f.at(0, 32_MiB), other, verified);
    co_await copy(other, b.down.at(0, 32_MiB));
    BOOST_TEST((wrong_bytes(b.back.data(), 32_MiB, 12) == 0));
    const std::string route = b.agent.explain(b.vram.at(0, 1_MiB), f.at(0, 1_MiB)).to_string();
    BOOST_TEST(route.find("(cuda)") != route.npos);
    BOOST_TEST_MESSAGE(route);
}

// Neighbours that share pages, memory that is registered twice, by two agents, and pinned by the program itself.
WYE_CO_TEST(host_memory_of_all_kinds)
{
    model m;
    bench b{rt, 4_MiB};
    co_await b.open();
    wye::agent second{rt, "second"};
    second.add(drivers::cuda());
    std::vector<std::byte> heap(300'000);
    std::vector<region> parts;
    for (std::size_t i = 0; i < 30; ++i) {
        wye::agent& by = i % 2 ? second : b.agent;
        region r = co_await by.register_memory(dram(heap.data() + i * 10'000, 10'000));
        parts.push_back(std::move(r));
    }
    region whole = co_await b.agent.register_memory(dram(heap));
    fill(b.host.data(), 300'000, 8);
    co_await copy(b.up.at(0, 300'000), b.vram.at(0, 300'000));
    co_await copy(b.vram.at(0, 300'000), whole);
    BOOST_TEST((wrong_bytes(heap.data(), heap.size(), 8) == 0));
    parts.clear();
    std::memset(heap.data(), 0, heap.size());
    std::vector<transfer> pages;
    for (std::size_t i = 0; i < 73; ++i) pages.push_back({b.vram.block(i, 4096), whole.operator slice().block(i, 4096)});
    co_await copy(pages);
    BOOST_TEST((wrong_bytes(heap.data(), 73 * 4096, 8) == 0));
    void* pinned = nullptr;
    must(m.a.cuMemHostAlloc(&pinned, 1_MiB, 0));
    {
        region theirs = co_await b.agent.register_memory(dram(pinned, 1_MiB));
        co_await copy(b.vram.at(0, 300'000), theirs.at(0, 300'000));
        BOOST_TEST((wrong_bytes(static_cast<std::byte*>(pinned), 300'000, 8) == 0));
    }
    must(m.a.cuMemFreeHost(pinned));
}

// The caller's current context is what it was.
WYE_CO_TEST(the_current_context_stays)
{
    CUcontext now{};
    const auto current = model::symbol<decltype(cuCtxGetCurrent)>("cuCtxGetCurrent");
    must(current(&now));
    BOOST_TEST(now == nullptr);
    bench b{rt, 1_MiB};
    co_await b.open();
    const std::size_t wrong = co_await b.round(0, 0, 0, 1_MiB);
    BOOST_TEST(wrong == 0u);
    must(current(&now));
    BOOST_TEST(now == nullptr);
}

int main(int argc, char** argv)
{
    skip_without_gpu();
    return boost::unit_test::unit_test_main([] { return true; }, argc, argv);
}
