// SPDX-License-Identifier: Apache-2.0
// A program that has an io_context already: wye is a guest there, and copies run on the same thread beside a
// TCP echo server and its client.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iomanip>
#include <iostream>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/write.hpp>

#include <options.hpp>
#include <wye/wye.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace wye::literals;
using clock_type = std::chrono::steady_clock;

struct tally {
    clock_type::time_point end;
    std::uint64_t round_trips = 0, bytes = 0;
    bool over() const { return clock_type::now() >= end; }
};

wye::task<> serve(tcp::acceptor& acceptor)
{
    tcp::socket socket = co_await acceptor.async_accept(asio::deferred);
    std::array<char, 4096> buffer;
    for (;;) {
        const auto [error, n] = co_await socket.async_read_some(asio::buffer(buffer),
                                                                asio::as_tuple(asio::deferred));
        if (error == asio::error::eof) co_return;
        if (error) throw boost::system::system_error{error};
        co_await asio::async_write(socket, asio::buffer(buffer, n), asio::deferred);
    }
}

wye::task<> ask(tcp::endpoint server, tally& t)
{
    tcp::socket socket{co_await asio::this_coro::executor};
    co_await socket.async_connect(server, asio::deferred);
    socket.set_option(tcp::no_delay{true});
    std::array<char, 64> message{};
    for (; !t.over(); ++t.round_trips) {
        co_await asio::async_write(socket, asio::buffer(message), asio::deferred);
        co_await asio::async_read(socket, asio::buffer(message), asio::deferred);
    }
}

wye::task<> copy_on_and_on(wye::agent& agent, tally& t)
{
    wye::arena memory{128_MiB};
    wye::region from = co_await agent.register_memory(wye::dram(memory.data(), 64_MiB));
    wye::region to = co_await agent.register_memory(wye::dram(memory.data() + 64_MiB, 64_MiB));
    while (!t.over()) t.bytes += co_await wye::copy(from, to);
}

/// Echoes for so long, with or without copies beside them. Everything is destroyed before it returns.
tally run(double seconds, bool with_copies)
{
    const std::chrono::duration<double> time{seconds};
    tally t{clock_type::now() + std::chrono::duration_cast<clock_type::duration>(time)};
    asio::io_context io;
    wye::runtime guest{io};
    wye::agent agent{guest, "embed_asio"};
    tcp::acceptor acceptor{io, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};

    const auto rethrow = [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    };
    asio::co_spawn(io, serve(acceptor), rethrow);
    asio::co_spawn(io, ask(acceptor.local_endpoint(), t), rethrow);
    if (with_copies) asio::co_spawn(io, copy_on_and_on(agent, t), rethrow);
    io.run();
    return t;
}

} // namespace

int main(int argc, char** argv)
{
    double seconds = 4;
    samples::options options{"embed_asio [options]: wye as a guest beside a TCP echo on loopback"};
    options.add("seconds", seconds, "how long (4)");
    try {
        const auto words = options.parse(argc, argv);
        if (!words.empty()) throw samples::bad_usage{"unknown argument '" + words[0] + "'; try --help"};
        const tally alone = run(seconds / 2, false), together = run(seconds / 2, true);
        const auto rate = [&](std::uint64_t n) { return static_cast<double>(n) / (seconds / 2); };
        std::cout << std::fixed << std::setprecision(0) << "echo alone: " << rate(alone.round_trips)
                  << " round trips/s\necho beside copies: " << rate(together.round_trips)
                  << " round trips/s, and " << std::setprecision(2) << rate(together.bytes) / 1e9
                  << " GB/s copied\n";
        return together.round_trips != 0 && together.bytes != 0 ? 0 : 1;
    } catch (const samples::bad_usage& e) {
        std::cerr << "embed_asio: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "embed_asio: " << e.what() << '\n';
        return 1;
    }
}
