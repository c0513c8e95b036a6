// SPDX-License-Identifier: Apache-2.0
// Two hops: bounded staging, hops that overlap, and every pair of tiers with real drivers.
#define BOOST_TEST_MODULE staged
#include <boost/test/unit_test.hpp>

#include <deque>
#include <filesystem>
#include <string>

#include <unistd.h>

#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include "support/lab_world.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

/// A directory of its own, gone with everything in it afterwards.
struct temporary_directory {
    temporary_directory()
    {
        std::string name = std::filesystem::temp_directory_path() / "wye-staged-XXXXXX";
        BOOST_TEST_REQUIRE((::mkdtemp(name.data()) != nullptr));
        path = name;
    }
    ~temporary_directory() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

} // namespace

// While the second hop writes one piece, the first reads the next.
BOOST_AUTO_TEST_CASE(hops_overlap)
{
    lab::world w;
    lab::result r;
    copy(w.file.at(0, 32_KiB), w.vram.at(0, 32_KiB), r.token());
    w.settle();
    BOOST_TEST(w.far.held() == 4u); // the staging, full
    w.far.release(w.far.chunks().at(0));
    w.settle();
    BOOST_TEST((w.far.held() == 3u && w.near.held() == 1u));
    w.near.release(w.near.chunks().at(0));
    w.settle();
    BOOST_TEST((w.far.held() == 4u && w.near.held() == 0u));
    BOOST_TEST(w.finish(r));
    BOOST_TEST((!r.error && r.bytes == 32_KiB));
    BOOST_TEST(std::equal(w.vram_bytes.begin(), w.vram_bytes.begin() + 32_KiB, w.on.files["f"]->begin()));
}

// However much waits, and wherever it stops.
BOOST_AUTO_TEST_CASE(staging_is_bounded)
{
    lab::world w;
    std::deque<lab::result> r(30);
    for (std::size_t i = 0; i < r.size(); ++i) {
        if (i % 3 == 0) copy(w.file.at(i * 8_KiB, 8_KiB), w.vram.at(i * 8_KiB, 8_KiB), r[i].token());
        else if (i % 3 == 1) copy(w.vram.at(i * 8_KiB, 8_KiB), w.bucket.object(std::to_string(i)), r[i].token());
        else copy(w.file.at(i * 8_KiB, 8_KiB), w.file.at(300_KiB + i * 8_KiB, 8_KiB), r[i].token());
    }
    w.far.manners = {.most_polls = 5};
    w.near.manners = {.most_polls = 5};
    std::uint64_t most = 0;
    BOOST_TEST(testing::poll_until(w.rt, [&] {
        most = std::max(most, w.agent->measure().staging_in_use);
        return std::all_of(r.begin(), r.end(), [](const auto& each) { return each.ends == 1; });
    }));
    BOOST_TEST(most == 16_KiB);
    BOOST_TEST(w.agent->measure().staging_bytes == 16_KiB);
    BOOST_TEST(std::all_of(r.begin(), r.end(), [](const auto& each) { return !each.error && each.bytes == 8_KiB; }));
    BOOST_TEST(w.idle());
}

// A second hop that takes nothing stops the first at the bound, and nothing is lost.
BOOST_AUTO_TEST_CASE(back_pressure_reaches_the_first_hop)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    w.far.manners = {};
    lab::result r;
    copy(w.file.at(0, 64_KiB), w.vram.at(0, 64_KiB), r.token());
    w.settle();
    BOOST_TEST(w.far.ends() == 4u);
    BOOST_TEST(w.agent->measure().staging_in_use == 16_KiB);
    w.near.manners = {};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    BOOST_TEST(std::equal(w.vram_bytes.begin(), w.vram_bytes.begin() + 64_KiB, w.on.files["f"]->begin()));
}

// A piece that has arrived in parts, on either hop, is passed on from its beginning.
BOOST_AUTO_TEST_CASE(short_completions_on_both_hops)
{
    lab::world w;
    for (lab::device* d : {&w.near, &w.far}) d->manners = {.shorten = 200};
    lab::result r;
    copy(w.file.at(100, 50'000), w.vram.at(0, 50'000), r.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    BOOST_TEST((!r.error && r.bytes == 50'000));
    BOOST_TEST(std::equal(w.vram_bytes.begin(), w.vram_bytes.begin() + 50'000, w.on.files["f"]->begin() + 100));
}

BOOST_AUTO_TEST_CASE(an_error_on_either_hop_ends_it_and_frees_the_staging)
{
    const error_code own{9, lab::category()};
    for (const bool second : {false, true}) {
        lab::world w;
        lab::result r;
        copy(w.file.at(0, 64_KiB), w.vram.at(0, 64_KiB), r.token());
        w.settle();
        if (second) {
            w.far.release(w.far.chunks().at(0));
            w.settle();
            w.near.release(w.near.chunks().at(0), own);
        } else {
            w.far.release(w.far.chunks().at(0), own);
        }
        w.settle();
        BOOST_TEST(r.ends == 0); // the others are being read
        BOOST_TEST(w.finish(r));
        BOOST_TEST(r.error == own);
        BOOST_TEST(r.bytes == 0u);
        BOOST_TEST(w.idle());
    }
}

// Objects named whole: the length is whatever it is, also of nothing.
BOOST_AUTO_TEST_CASE(objects_of_unknown_length)
{
    lab::world w;
    w.hold(false);
    for (const std::size_t n : {0, 1, 4096, 4097, 50'000}) {
        w.on.objects["from"] = std::make_shared<lab::blob>(lab::blob{lab::pattern(n, n), {}});
        lab::result r, missing;
        copy(w.bucket.object("from"), w.bucket.object("to"), r.token());
        copy(w.bucket.object("nowhere"), w.bucket.object("else"), missing.token());
        BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1 && missing.ends == 1; }));
        BOOST_TEST((!r.error && r.bytes == n), n);
        BOOST_TEST((w.on.objects["to"]->data == w.on.objects["from"]->data));
        BOOST_TEST(missing.error == errc::not_found);
        BOOST_TEST(!w.on.objects.contains("else"));
    }
}

BOOST_AUTO_TEST_CASE(an_object_of_another_length_is_said)
{
    lab::world w;
    w.hold(false);
    for (const std::size_t n : {3000u, 30'000u}) {
        w.on.objects["o"] = std::make_shared<lab::blob>(lab::blob{lab::pattern(n), {}});
        lab::result longer, shorter, past;
        copy(w.bucket.object("o"), w.vram.at(0, n - 1), longer.token());
        copy(w.bucket.object("o"), w.vram.at(0, n + 1), shorter.token());
        copy(w.bucket.object("o").range(n - 10, 20), w.vram.at(0, 20), past.token());
        BOOST_TEST(testing::poll_until(w.rt, [&] { return longer.ends && shorter.ends && past.ends; }));
        BOOST_TEST(longer.error == errc::length_mismatch, n);
        BOOST_TEST(shorter.error == errc::short_transfer, n);
        BOOST_TEST(past.error == errc::short_transfer, n);
        BOOST_TEST(w.on.sessions == 0);
    }
}

// An object that is replaced while it is read: all pieces are of one generation.
BOOST_AUTO_TEST_CASE(one_generation_of_an_object)
{
    lab::world w;
    const lab::bytes old = lab::pattern(64_KiB, 1);
    w.on.objects["o"] = std::make_shared<lab::blob>(lab::blob{old, {}});
    lab::result read, write;
    copy(w.bucket.object("o"), w.dram.at(0, 64_KiB), read.token());
    w.settle();
    w.far.release(w.far.chunks().at(0)); // the open
    w.settle();
    w.far.release(w.far.chunks().at(0)); // the first piece
    w.settle();
    w.on.objects["o"] = std::make_shared<lab::blob>(lab::blob{lab::pattern(64_KiB, 2), {}});
    BOOST_TEST(w.finish(read));
    BOOST_TEST(!read.error);
    BOOST_TEST(std::equal(old.begin(), old.end(), w.dram_bytes.begin()));
}

namespace {

struct real_world {
    explicit real_world(runtime& rt) : agent{rt, "real"} { agent.add(drivers::vram_standin()); }
    task<> open()
    {
        from = co_await agent.register_memory(dram(a));
        to = co_await agent.register_memory(dram(b));
        gpu = co_await agent.register_memory(vram(c.data(), c.size()));
        file = co_await agent.open_file(directory.path / "file");
        file_options cached;
        cached.caching = caching::buffered;
        second = co_await agent.open_file(directory.path / "second", cached);
        bucket = co_await agent.open_bucket("dir:" + (directory.path / "bucket").string());
    }
    /// Tier `i`, to be written and then read.
    slice place(std::size_t i, std::size_t n)
    {
        switch (i) {
        case 0: return to.at(3, n);
        case 1: return gpu.at(5, n);
        case 2: return file.at(7, n);
        case 3: return second.at(4096, n);
        default: names.push_back(bucket.object("o" + std::to_string(i))); return names.back();
        }
    }
    static slice sized(slice s, std::size_t n)
    {
        if (s.length == slice::whole) s.length = n;
        return s;
    }

    temporary_directory directory;
    lab::bytes a = lab::pattern(2_MiB), b = lab::bytes(2_MiB), c = lab::bytes(2_MiB);
    wye::agent agent;
    region from, to, gpu;
    wye::file file, second;
    wye::bucket bucket;
    std::deque<object> names;
};

} // namespace

// DRAM into each tier, from there into each other, and back: with and without checksums, in pieces of any size.
WYE_CO_TEST(every_pair_of_tiers_with_real_drivers)
{
    real_world w{rt};
    co_await w.open();
    for (const std::size_t n : {1ul, 4096ul, 1_MiB + 12'345}) {
        for (std::size_t i = 0; i < 6; ++i) {
            for (std::size_t j = 0; j < 6; ++j) {
                if (i == j) continue;
                for (const bool verify : {false, true}) {
                    copy_options options;
                    options.verify = verify;
                    const std::uint64_t at = n + 16 * i + j;
                    const slice source = w.from.at(at % 1000, n);
                    const slice x = w.place(i, n), y = w.place(j, n);
                    std::size_t moved = co_await copy(source, x, options);
                    BOOST_TEST(moved == n);
                    moved = co_await copy(x, y, options);
                    BOOST_TEST(moved == n);
                    std::fill(w.b.begin(), w.b.end(), std::byte{0});
                    if (j == 0) { // just overwritten
                        moved = co_await copy(x, y, options);
                        BOOST_TEST(std::equal(source.data(), source.data() + n, w.b.data() + 3));
                        continue;
                    }
                    moved = co_await copy(y, w.to.at(11, n), options);
                    BOOST_TEST(moved == n);
                    BOOST_TEST_REQUIRE(std::equal(source.data(), source.data() + n, w.b.data() + 11),
                                       "tier " << i << " to " << j << ", " << n << " bytes");
                    w.names.clear();
                }
            }
        }
    }
    const metrics m = w.agent.measure();
    BOOST_TEST(m.staging_in_use == 0u);
    BOOST_TEST(m.corruptions == 0u);
    for (const auto& p : m.pairs) BOOST_TEST((p.in_flight == 0 && p.errors == 0));
    for (const auto& d : m.drivers) BOOST_TEST(d.in_flight == 0u);
}

// Many at once over real drivers, cancelled and late ones among them; what succeeds is right.
WYE_CO_TEST(a_crowd_over_real_drivers)
{
    real_world w{rt};
    co_await w.open();
    co_await copy(w.from.at(0, 1_MiB), w.file.at(0, 1_MiB));
    std::deque<lab::result> r(60);
    for (std::size_t i = 0; i < r.size(); ++i) {
        copy_options options;
        options.priority = static_cast<priority>(i % 3);
        if (i % 7 == 3) options.deadline = duration{1};
        const std::size_t n = 10'000 + 100 * i;
        if (i % 2) copy(w.file.at(i * 17'000, n), w.gpu.at(i * 17'000, n), options, r[i].token());
        else copy(w.file.at(i * 17'000, n), w.bucket.object("c" + std::to_string(i)), options, r[i].token());
        if (i % 5 == 4) r[i - 2].cancel();
    }
    const auto all = [&] { return std::all_of(r.begin(), r.end(), [](const auto& each) { return each.ends == 1; }); };
    while (!all()) co_await asio::post(rt, asio::deferred);
    for (std::size_t i = 0; i < r.size(); ++i) {
        const std::size_t n = 10'000 + 100 * i;
        if (r[i].error) {
            BOOST_TEST((r[i].error == asio::error::operation_aborted || r[i].error == errc::deadline_missed));
            continue;
        }
        BOOST_TEST(r[i].bytes == n);
        if (i % 2 == 0) co_await copy(w.bucket.object("c" + std::to_string(i)), w.gpu.at(i * 17'000, n));
        BOOST_TEST_REQUIRE(std::equal(w.a.begin() + long(i * 17'000), w.a.begin() + long(i * 17'000 + n),
                                      w.c.begin() + long(i * 17'000)));
    }
    BOOST_TEST(w.agent.measure().staging_in_use == 0u);
}
