// SPDX-License-Identifier: Apache-2.0
// The other process: fabric_peer RAILS BYTES POLLED publishes memory, says how to reach it on standard output, and
// serves until standard input ends.
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unistd.h>

#include "fabric/pair.hpp"

using namespace wye;

namespace {

task<> serve(agent& a, std::size_t bytes)
{
    lab::bytes memory(bytes);
    region pool = co_await a.register_memory(dram(memory));
    co_await a.publish("kv", pool);
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
    if (argc != 4) return 2;
    runtime rt;
    agent a{rt, "there", wye::testing::knowing("secret")};
    a.add(make_libfabric(wye::testing::loopback(static_cast<std::uint32_t>(std::atoi(argv[1])),
                                                argv[3][0] == 'p' ? queue_waits::polled : queue_waits::automatic)));
    int status = 0;
    boost::asio::co_spawn(rt, serve(a, std::strtoull(argv[2], nullptr, 10)), [&](std::exception_ptr e) {
        status = e ? 1 : 0;
        rt.stop();
    });
    rt.run();
    return status;
}
