// SPDX-License-Identifier: Apache-2.0
//
// Copies through DRAM and a file with an installed wye; ends with 0 when what was written is what is read.
#include <cstddef>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <wye/wye.hpp>

using namespace wye::literals;

namespace {

wye::task<> there_and_back(wye::agent& agent, std::string path, bool& same)
{
    std::vector<std::byte> sent(1_MiB, std::byte{7}), back(1_MiB);
    wye::region from = co_await agent.register_memory(wye::dram(sent));
    wye::region to = co_await agent.register_memory(wye::dram(back));
    wye::file_options options;
    options.temporary = true;
    wye::file file = co_await agent.open_file(path, options);

    co_await wye::copy(from, file.at(0, from.size()));
    co_await wye::copy(file.at(0, to.size()), to);
    same = sent == back;
}

} // namespace

int main(int count, char** arguments)
{
    if (count != 2) {
        std::fprintf(stderr, "usage: consumer FILE\n");
        return 2;
    }
    wye::runtime runtime;
    wye::agent agent{runtime};
    bool same = false;
    std::exception_ptr failure;
    boost::asio::co_spawn(runtime, there_and_back(agent, arguments[1], same),
                          [&failure](std::exception_ptr e) { failure = e; });
    runtime.run();
    if (failure) std::rethrow_exception(failure);
    return same ? 0 : 1;
}
