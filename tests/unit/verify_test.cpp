// SPDX-License-Identifier: Apache-2.0
// What was written is what is read: checksums that travel with the bytes, and are checked on the way back.
#define BOOST_TEST_MODULE verify
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>

#include "support/lab_world.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

/// Real drivers in a directory of their own.
struct real_world {
    explicit real_world(runtime& rt) : agent{rt, "real"}
    {
        std::string name = std::filesystem::temp_directory_path() / "wye-verify-XXXXXX";
        BOOST_TEST_REQUIRE((::mkdtemp(name.data()) != nullptr));
        directory = name;
        agent.add(drivers::vram_standin());
    }
    ~real_world()
    {
        file = {};
        bucket = {};
        std::filesystem::remove_all(directory);
    }
    task<> open()
    {
        file_options o;
        o.caching = caching::buffered; // so that a byte flipped behind its back is the byte that is read
        from = co_await agent.register_memory(dram(a));
        to = co_await agent.register_memory(dram(b));
        gpu = co_await agent.register_memory(vram(c.data(), c.size()));
        file = co_await agent.open_file(directory / "file", o);
        bucket = co_await agent.open_bucket("dir:" + (directory / "bucket").string());
    }
    task<error_code> moves(slice x, slice y, bool verify = true)
    {
        copy_options o;
        o.verify = verify;
        const auto [e, n] = co_await copy(x, y, o, asio::as_tuple(asio::deferred));
        co_return e;
    }
    /// A bit of a file that nobody meant to change.
    static void flip(const std::filesystem::path& path, std::size_t at)
    {
        std::fstream f{path, std::ios::in | std::ios::out | std::ios::binary};
        f.seekg(static_cast<std::streamoff>(at));
        const char byte = static_cast<char>(f.get());
        f.seekp(static_cast<std::streamoff>(at));
        f.put(static_cast<char>(byte ^ 8));
        BOOST_TEST_REQUIRE(f.good());
    }

    std::filesystem::path directory;
    lab::bytes a = lab::pattern(4_MiB), b = lab::bytes(4_MiB), c = lab::bytes(4_MiB);
    wye::agent agent;
    region from, to, gpu;
    wye::file file;
    wye::bucket bucket;
};

constexpr std::size_t n = 1_MiB + 4321; // several pieces

} // namespace

WYE_CO_TEST(what_was_written_is_read)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.file.at(100, n));
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(100, n), w.to.at(0, n));
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(100, n), w.gpu.at(0, n)); // over staging
    BOOST_TEST(!e);
    BOOST_TEST(std::equal(w.a.begin(), w.a.begin() + long{n}, w.b.begin()));
    BOOST_TEST(std::equal(w.a.begin(), w.a.begin() + long{n}, w.c.begin()));
    BOOST_TEST(w.agent.measure().corruptions == 0u);
}

WYE_CO_TEST(a_flipped_byte_on_disk_is_found)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.file.at(0, n));
    e = co_await w.moves(w.from.at(0, n), w.file.at(2_MiB, n));
    BOOST_TEST(!e);
    real_world::flip(w.directory / "file", 600'000);
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n));
    BOOST_TEST(e == errc::corrupt);
    BOOST_TEST((e == boost::system::errc::io_error));
    e = co_await w.moves(w.file.at(0, n), w.gpu.at(0, n));
    BOOST_TEST(e == errc::corrupt);
    e = co_await w.moves(w.file.at(0, n), w.bucket.object("o"));
    BOOST_TEST(e == errc::corrupt);
    e = co_await w.moves(w.bucket.object("o"), w.to.at(0, n));
    BOOST_TEST((e == boost::system::errc::no_such_file_or_directory)); // it was not passed on
    BOOST_TEST(w.agent.measure().corruptions == 3u);
    e = co_await w.moves(w.file.at(2_MiB, n), w.to.at(0, n)); // the other extent is well
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n), false); // nobody asked
    BOOST_TEST(!e);
}

WYE_CO_TEST(an_extent_nobody_wrote_under_it_is_unverified)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.file.at(0, n), false);
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n));
    BOOST_TEST(e == errc::unverified);
    e = co_await w.moves(w.from.at(0, n), w.file.at(0, n));
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(0, n - 1), w.to.at(0, n - 1)); // part of one
    BOOST_TEST(e == errc::unverified);
    e = co_await w.moves(w.file.at(1, n - 1), w.to.at(0, n - 1));
    BOOST_TEST(e == errc::unverified);
    e = co_await w.moves(w.file.at(0, n + 1), w.to.at(0, n + 1));
    BOOST_TEST(e == errc::unverified);
    e = co_await w.moves(w.file.at(0, 0), w.to.at(0, 0));
    BOOST_TEST(!e);
}

// Extents that lie side by side may be read as one.
WYE_CO_TEST(extents_that_tile)
{
    real_world w{rt};
    co_await w.open();
    const std::vector<transfer> batch{{w.from.at(0, 70'000), w.file.at(0, 70'000)},
                                      {w.from.at(100'000, 200'000), w.file.at(100'000, 200'000)},
                                      {w.from.at(70'000, 30'000), w.file.at(70'000, 30'000)}};
    copy_options o;
    o.verify = true;
    co_await copy(std::span<const transfer>{batch}, o);
    error_code e = co_await w.moves(w.file.at(0, 300'000), w.to.at(0, 300'000));
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(70'000, 230'000), w.to.at(0, 230'000));
    BOOST_TEST(!e);
    BOOST_TEST(std::equal(w.a.begin() + 70'000, w.a.begin() + 300'000, w.b.begin()));
    real_world::flip(w.directory / "file", 80'000);
    e = co_await w.moves(w.file.at(0, 300'000), w.to.at(0, 300'000));
    BOOST_TEST(e == errc::corrupt);
    e = co_await w.moves(w.file.at(100'000, 200'000), w.to.at(0, 200'000));
    BOOST_TEST(!e);
}

WYE_CO_TEST(what_is_overwritten_without_it_is_forgotten)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.file.at(0, n));
    e = co_await w.moves(w.from.at(0, 1), w.file.at(500, 1), false);
    BOOST_TEST(!e);
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n));
    BOOST_TEST(e == errc::unverified);
    e = co_await w.moves(w.from.at(7, n), w.file.at(0, n));
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n));
    BOOST_TEST(!e);
}

WYE_CO_TEST(a_write_that_is_refused_forgets_nothing)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.file.at(0, n));
    const std::vector<transfer> batch{{w.from.at(0, 1), w.file.at(0, 1)}, {w.from.at(4_MiB, 1), w.file.at(1, 1)}};
    const auto [refused, bytes] = co_await copy(std::span<const transfer>{batch}, asio::as_tuple(asio::deferred));
    BOOST_TEST(refused == errc::out_of_range);
    e = co_await w.moves(w.file.at(0, n), w.to.at(0, n));
    BOOST_TEST(!e);
}

namespace {

bool keeps_attributes(const std::filesystem::path& directory)
{
    return ::setxattr(directory.c_str(), "user.wye-probe", "1", 1, 0) == 0;
}

} // namespace

// The checksum of an object lies beside it, so it outlives this process.
WYE_CO_TEST(through_objects)
{
    real_world w{rt};
    co_await w.open();
    if (!keeps_attributes(w.directory)) {
        BOOST_TEST_MESSAGE("no extended attributes here");
        co_return;
    }
    for (const std::size_t size : {5000ul, n}) {
        error_code e = co_await w.moves(w.from.at(0, size), w.bucket.object("o"));
        BOOST_TEST(!e);
        e = co_await w.moves(w.bucket.object("o"), w.to.at(0, size));
        BOOST_TEST(!e);
        e = co_await w.moves(w.bucket.object("o"), w.file.at(0, size)); // and on, with its sum
        BOOST_TEST(!e);
        e = co_await w.moves(w.file.at(0, size), w.bucket.object("p"));
        BOOST_TEST(!e);
        e = co_await w.moves(w.bucket.object("p"), w.gpu.at(0, size));
        BOOST_TEST(!e);
        BOOST_TEST(std::equal(w.a.begin(), w.a.begin() + long(size), w.c.begin()));
        e = co_await w.moves(w.bucket.object("o").range(0, size / 2), w.to.at(0, size / 2));
        BOOST_TEST(e == errc::unverified);
        e = co_await w.moves(w.bucket.object("o").range(1, size / 2), w.to.at(0, size / 2));
        BOOST_TEST(e == errc::unverified);

        bool found = false;
        for (const auto& f : std::filesystem::recursive_directory_iterator{w.directory / "bucket"})
            if (f.is_regular_file()) real_world::flip(f.path(), size / 2), found = true;
        BOOST_TEST(found);
        e = co_await w.moves(w.bucket.object("o"), w.to.at(0, size));
        BOOST_TEST(e == errc::corrupt);
        e = co_await w.moves(w.bucket.object("o"), w.bucket.object("q"));
        BOOST_TEST(e == errc::corrupt);
        e = co_await w.moves(w.bucket.object("q"), w.to.at(0, size));
        BOOST_TEST((e == boost::system::errc::no_such_file_or_directory));
        e = co_await w.moves(w.from.at(0, size), w.bucket.object("o"), false);
        e = co_await w.moves(w.bucket.object("o"), w.to.at(0, size));
        BOOST_TEST(e == errc::unverified);
    }
}

// Between memories there is nothing to compare with.
WYE_CO_TEST(between_memories_it_does_nothing)
{
    real_world w{rt};
    co_await w.open();
    error_code e = co_await w.moves(w.from.at(0, n), w.to.at(0, n));
    BOOST_TEST(!e);
    e = co_await w.moves(w.from.at(0, n), w.gpu.at(0, n));
    BOOST_TEST(!e);
}

// Pieces arrive in any order and in parts, and their sums come out the same.
BOOST_AUTO_TEST_CASE(in_any_order_and_in_parts)
{
    lab::world w;
    for (lab::device* d : {&w.near, &w.far}) d->manners = {.refuse = 60, .shorten = 100, .most_polls = 9};
    copy_options o;
    o.verify = true;
    lab::result write, onward, back;
    copy(w.vram.at(0, 100'000), w.file.at(50, 100'000), o, write.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return write.ends == 1; }));
    copy(w.file.at(50, 100'000), w.bucket.object("o"), o, onward.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return onward.ends == 1; }));
    copy(w.bucket.object("o"), w.dram.at(0, 100'000), o, back.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return back.ends == 1; }));
    BOOST_TEST((!write.error && !onward.error && !back.error));
    BOOST_TEST(std::equal(w.vram_bytes.begin(), w.vram_bytes.begin() + 100'000, w.dram_bytes.begin()));
}
