// SPDX-License-Identifier: Apache-2.0
// The smallest program: one coroutine, two buffers, one verb.
#include <algorithm>
#include <cstddef>
#include <exception>
#include <iostream>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <wye/wye.hpp>

using namespace wye::literals;

wye::task<> hello(wye::agent& agent)
{
    std::vector<std::byte> a(64_MiB, std::byte{7}), b(64_MiB);
    wye::region from = co_await agent.register_memory(wye::dram(a));
    wye::region to = co_await agent.register_memory(wye::dram(b));
    const std::size_t bytes = co_await wye::copy(from, to);

    std::cout << "copied " << bytes << " bytes by " << agent.explain(from, to).to_string() << "; they are "
              << (std::ranges::equal(a, b) ? "the same" : "NOT the same") << '\n';
}

int main()
{
    wye::runtime rt;
    wye::agent agent{rt, "hello"};
    boost::asio::co_spawn(rt, hello(agent), [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    });
    try {
        rt.run();
    } catch (const std::exception& e) {
        std::cerr << "hello: " << e.what() << '\n';
        return 1;
    }
}
