// SPDX-License-Identifier: Apache-2.0
// What no fabric reaches, over libfabric: a file, a bucket and the VRAM stand-in of a peer, which its agent serves.
#define BOOST_TEST_MODULE fabric_served
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>

#include <boost/asio/as_tuple.hpp>

#include <wye/drivers.hpp>

#include "fabric/pair.hpp"
#include "support/co_test.hpp"

using namespace wye;
using wye::testing::finish;
using wye::testing::loopback;
using wye::testing::pair;
namespace asio = boost::asio;

namespace {

constexpr std::size_t bytes = 8_MiB;

/// A folder of this test's, which goes with it.
struct scratch {
    scratch()
    {
        std::string name = (std::filesystem::temp_directory_path() / "wye-served-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::runtime_error{"no temporary folder"};
        path = name;
    }
    ~scratch() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

copy_options verified()
{
    copy_options o;
    o.verify = true;
    return o;
}

/// What `there` publishes beside its memory, in a folder.
struct shelves {
    explicit shelves(pair& p) : w{p} {}
    task<> open()
    {
        disk = co_await w.there.open_file((dir.path / "disk").string());
        store = co_await w.there.open_bucket("dir:" + (dir.path / "cache").string());
        co_await w.there.publish("disk", disk);
        co_await w.there.publish("readable", disk, access::read_only);
        co_await w.there.publish("cache", store);
        back = co_await w.here.register_memory(dram(read));
        w.to = co_await w.here.connect(w.there.metadata());
    }
    task<> close()
    {
        for (const char* name : {"disk", "readable", "cache"}) co_await w.there.unpublish(name);
    }

    pair& w;
    scratch dir;
    file disk;
    bucket store;
    lab::bytes read = lab::bytes(bytes);
    region back;
};

task<> files_and_objects(pair& w)
{
    shelves s{w};
    co_await s.open();
    for (const copy_options& o : {copy_options{}, verified()}) {
        std::fill(s.read.begin(), s.read.end(), std::byte{});
        const slice there = w.to.published("disk").sub(4_KiB, bytes);
        std::size_t n = co_await copy(w.from, there, o);
        BOOST_TEST(n == bytes);
        n = co_await copy(there, s.back, o);
        BOOST_TEST(n == bytes);
        BOOST_TEST((s.read == w.sent));
        for (const std::size_t length : {std::size_t{0}, std::size_t{5}, std::size_t{300'000}, bytes}) {
            std::fill(s.read.begin(), s.read.end(), std::byte{});
            co_await copy(w.from.at(0, length), w.to.object("cache", "a/b"), o);
            n = co_await copy(w.to.object("cache", "a/b"), s.back.at(0, length), o);
            BOOST_TEST(n == length);
            BOOST_TEST(std::equal(w.sent.begin(), w.sent.begin() + static_cast<std::ptrdiff_t>(length), s.read.begin()));
        }
    }
    copy_options told;
    told.notify = "stored";
    co_await copy(w.from, w.to.object("cache", "told"), told);
    co_await w.there.notified("stored");
    const object_info kept = co_await s.store.stat("told");
    BOOST_TEST(kept.size == bytes);

    const slice readable = w.to.published("readable").sub(4_KiB, bytes);
    const auto [refused, n] = co_await copy(w.from, readable, asio::as_tuple(asio::deferred));
    BOOST_TEST(refused == errc::read_only);
    co_await copy(readable, s.back, verified());
    BOOST_CHECK_THROW(w.to.published("other"), system_error);
    co_await s.close();
    const auto [gone, m] = co_await copy(readable, s.back, asio::as_tuple(asio::deferred));
    BOOST_TEST(gone == errc::withdrawn);
    BOOST_CHECK_THROW(w.to.object("cache", "told"), system_error);
}

task<> gpus(pair& w)
{
    w.here.add(drivers::vram_standin());
    w.there.add(drivers::vram_standin());
    lab::bytes mine = lab::pattern(bytes, 7), theirs(bytes), again(bytes);
    region a = co_await w.here.register_memory(vram(mine.data(), bytes));
    region b = co_await w.there.register_memory(vram(theirs.data(), bytes));
    region c = co_await w.here.register_memory(vram(again.data(), bytes));
    co_await w.there.publish("gpu", b);
    w.to = co_await w.here.connect(w.there.metadata());
    const slice gpu = w.to.published("gpu");
    const std::string route = w.here.explain(a, gpu).to_string();
    BOOST_TEST(route.starts_with("VRAM -> DRAM (vram_standin) -> remote VRAM (served), "), route);
    co_await copy(a, gpu);
    BOOST_TEST((theirs == mine));
    co_await copy(gpu, c);
    BOOST_TEST((again == mine));
    co_await w.there.unpublish("gpu");
}

} // namespace

BOOST_AUTO_TEST_CASE(files_and_objects_of_a_peer)
{
    runtime rt;
    pair w{rt, bytes, loopback(2), loopback(2)};
    finish(rt, w.open());
    finish(rt, files_and_objects(w));
}

BOOST_AUTO_TEST_CASE(gpus_are_staged_at_both_ends)
{
    runtime rt;
    pair w{rt, bytes, loopback(2), loopback(1)};
    finish(rt, w.open());
    finish(rt, gpus(w));
}
