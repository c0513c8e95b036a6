// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/require.hpp>

#include <unistd.h>

#include <wye/wye.hpp>

#include "report.hpp"
#include "runtime_parts.hpp"

namespace perf {

namespace asio = boost::asio;

namespace {

using namespace std::chrono_literals;

/// How often the kernel has taken the processor from any other thread of this process. A thread that sleeps
/// in one system call while this stands still has made no other.
std::uint64_t switches_of_others()
{
    const std::string self = std::to_string(::gettid());
    std::uint64_t sum = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        if (task.path().filename() == self) continue;
        std::ifstream in(task.path() / "status");
        for (std::string line; std::getline(in, line);)
            if (line.find("ctxt_switches:") != line.npos) sum += std::stoull(line.substr(line.find(':') + 1));
    }
    return sum;
}

wye::task<> write_something(wye::agent& agent, std::string path)
{
    std::vector<std::byte> bytes(1 << 20);
    wye::file_options options;
    options.temporary = true;
    wye::file file = co_await agent.open_file(path, options);
    wye::region from = co_await agent.register_memory(wye::dram(bytes));
    co_await wye::copy(from, file.at(0, bytes.size()));
}

/// A runtime that has worked, has everything that it may have started, and has now nothing left to do.
/// `leave` keeps it from going while `stop` is being called.
void idle_thread(const std::string& directory, std::promise<wye::runtime*>& ready, std::future<void> leave)
{
    wye::runtime rt;
    wye::agent agent{rt, "idle"};
    const auto path = directory + "/wye-perf-idle-" + std::to_string(::getpid());
    asio::co_spawn(rt, write_something(agent, path), asio::detached);
    rt.run();
    const auto work = asio::require(rt.get_executor(), asio::execution::outstanding_work.tracked);
    ready.set_value(&rt);
    rt.run();
    leave.wait();
}

} // namespace

void measure_idle_calls(const settings& s, report& r)
{
    if (!r.wants("runtime/idle_syscalls")) return;
    std::promise<wye::runtime*> ready;
    std::promise<void> stopped;
    std::thread thread{idle_thread, std::cref(s.directory), std::ref(ready), stopped.get_future()};
    wye::runtime* const rt = ready.get_future().get();
    std::this_thread::sleep_for(300ms);
    const std::uint64_t before = switches_of_others();
    std::this_thread::sleep_for(1s);
    const std::uint64_t calls = switches_of_others() - before;
    rt->stop();
    stopped.set_value();
    thread.join();
    r.add("runtime/idle_syscalls", "calls", static_cast<double>(calls), "in a second of run(), idle");
}

} // namespace perf
