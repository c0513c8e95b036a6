// SPDX-License-Identifier: Apache-2.0
// The other process: fabric_peer RAILS BYTES POLLED [FOLDER] publishes memory, and a file, a bucket and a stand-in for GPU
// memory if it is given a folder; says how to reach it on standard output, and serves until standard input ends.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unistd.h>

#include <wye/drivers.hpp>

#include "fabric/pair.hpp"

using namespace wye;

namespace {

/// What no fabric reaches.
struct shelves {
    task<> open(agent& a, const std::filesystem::path& folder, std::size_t bytes)
    {
        a.add(drivers::vram_standin());
        memory.resize(bytes);
        disk = co_await a.open_file((folder / "disk").string());
        store = co_await a.open_bucket("dir:" + (folder / "cache").string());
        gpu = co_await a.register_memory(vram(memory.data(), bytes));
        co_await a.publish("disk", disk);
        co_await a.publish("readable", disk, access::read_only);
        co_await a.publish("cache", store);
        co_await a.publish("gpu", gpu);
    }

    lab::bytes memory;
    file disk;
    bucket store;
    region gpu;
};

task<> serve(agent& a, std::size_t bytes, const char* folder)
{
    lab::bytes memory(bytes);
    shelves more;
    region pool = co_await a.register_memory(dram(memory));
    co_await a.publish("kv", pool);
    if (folder) co_await more.open(a, folder, bytes);
    const std::vector<std::byte> how = a.metadata();
    const std::uint64_t n = how.size();
    if (::write(STDOUT_FILENO, &n, sizeof n) < 0 || ::write(STDOUT_FILENO, how.data(), how.size()) < 0) std::exit(1);
    boost::asio::posix::stream_descriptor input{a.runtime().io(), ::dup(STDIN_FILENO)};
    char end;
    try {
        co_await boost::asio::async_read(input, boost::asio::buffer(&end, 1), boost::asio::use_awaitable);
    } catch (const boost::system::system_error&) {
        // it has ended
    }
    co_await a.unpublish("kv");
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 4 && argc != 5) return 2;
    runtime rt;
    agent a{rt, "there", wye::testing::knowing("secret")};
    a.add(make_libfabric(wye::testing::loopback(static_cast<std::uint32_t>(std::atoi(argv[1])),
                                                argv[3][0] == 'p' ? queue_waits::polled : queue_waits::automatic)));
    int status = 0;
    boost::asio::co_spawn(rt, serve(a, std::strtoull(argv[2], nullptr, 10), argv[4]), [&](std::exception_ptr e) {
        status = e ? 1 : 0;
        rt.stop();
    });
    rt.run();
    return status;
}
