// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <two_networks.hpp>
#include <wye/libfabric.hpp>
#include <wye/side_channel.hpp>
#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

/// Two processes in two networks: a test is the near one, `networks_peer` the far one.
namespace wye::testing {

using namespace std::chrono_literals;

constexpr unsigned rail_mbits = 200;
constexpr std::size_t area_bytes = 32_MiB; ///< 0.7 s over two rails

enum class way { write, read };
inline std::ostream& operator<<(std::ostream& out, way w) { return out << (w == way::write ? "write" : "read"); }

inline constexpr way both_ways[] = {way::write, way::read};

inline std::unique_ptr<samples::two_networks>& networks_place()
{
    static std::unique_ptr<samples::two_networks> it;
    return it;
}
inline samples::two_networks& networks() { return *networks_place(); }

/// Ends the program with 77, which is a test skipped, where there can be no namespaces.
struct two_networks_fixture {
    two_networks_fixture()
    {
        try {
            networks_place() = std::make_unique<samples::two_networks>(std::vector<unsigned>{rail_mbits, rail_mbits});
        } catch (const std::exception& e) {
            std::printf("skipped: %s\n", e.what());
            std::fflush(nullptr);
            std::_Exit(77);
        }
    }
    ~two_networks_fixture() { networks_place().reset(); }
};

inline std::vector<std::string> first_of(std::vector<std::string> all, std::size_t n)
{
    all.resize(n);
    return all;
}

struct stopwatch {
    std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); }
};

struct far_options {
    std::size_t rails = 2;
    std::size_t bytes = area_bytes;
    int gap = 0;        ///< ms that it says it may not poll for
    int drain = 10'000; ///< ms that it waits when it withdraws
};

/// The other process. What it understands is said in networks_peer.cpp.
class far_process {
public:
    explicit far_process(const far_options& o = {})
    {
        std::string rails;
        for (const std::string& r : first_of(networks().far_addresses(), o.rails)) rails += rails.empty() ? r : ',' + r;
        const std::string program =
            std::filesystem::read_symlink("/proc/self/exe").replace_filename("networks_peer").string();
        const std::string words[] = {"there", rails, std::to_string(o.bytes), std::to_string(o.gap),
                                     std::to_string(o.drain), "secret"};
        int in[2], out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        id_ = ::fork();
        if (id_ == 0) {
            ::dup2(in[0], STDIN_FILENO);
            ::dup2(out[1], STDOUT_FILENO);
            networks().enter_far();
            ::close_range(3, ~0u, 0); // libfabric's sockets: a rail opens at another port while somebody has its old one
            ::execl(program.c_str(), program.c_str(), words[0].c_str(), words[1].c_str(), words[2].c_str(),
                    words[3].c_str(), words[4].c_str(), words[5].c_str(), nullptr);
            ::_exit(127);
        }
        ::close(in[0]);
        ::close(out[1]);
        to_ = in[1];
        from_ = out[0];
        ::fcntl(from_, F_SETFL, O_NONBLOCK);
    }
    far_process(const far_process&) = delete;
    far_process& operator=(const far_process&) = delete;
    ~far_process()
    {
        if (id_ > 0) {
            ::kill(id_, SIGKILL);
            ::waitpid(id_, nullptr, 0);
        }
        ::close(to_);
        ::close(from_);
    }

    void signal(int number) const { ::kill(id_, number); }
    /// Its exit status; or minus the signal that ended it.
    int wait()
    {
        int status = 0;
        ::waitpid(std::exchange(id_, 0), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    task<std::string> ask(runtime& rt, std::string line)
    {
        line += '\n';
        if (::write(to_, line.data(), line.size()) < 0) throw std::runtime_error{"the far process does not listen"};
        while (heard_.find('\n') == heard_.npos) {
            char some[256];
            const auto got = ::read(from_, some, sizeof some);
            if (got == 0) throw std::runtime_error{"the far process has ended: " + std::to_string(wait())};
            if (got > 0) heard_.append(some, static_cast<std::size_t>(got));
            else co_await rt.sleep(1ms);
        }
        const std::string answer = heard_.substr(0, heard_.find('\n'));
        heard_.erase(0, answer.size() + 1);
        co_return answer;
    }

private:
    ::pid_t id_ = 0;
    int to_ = -1, from_ = -1;
    std::string heard_;
};

/// A copy and how far it is.
struct transfer_under_way {
    transfer_under_way(runtime& r, slice from, slice to) : rt{&r}, moved{std::make_unique<progress>()}
    {
        copy_options o;
        o.progress = moved.get();
        o.notify = "done";
        flight = start(from, to, o);
    }
    /// Returns when that share of it has landed, or it is over.
    task<> reaches(double share)
    {
        while (moved->fraction() < share && !flight.done()) co_await rt->sleep(1ms);
    }
    task<error_code> ends()
    {
        const outcome o = co_await flight.drained();
        co_return o.error;
    }

    runtime* rt;
    std::unique_ptr<progress> moved;
    wye::flight flight;
};

struct near_options {
    std::size_t rails = 2;
    std::size_t bytes = area_bytes;
    agent_options agent = {};
    libfabric_options fabric = {};
    std::string fetch_secret = {}; ///< another than the agent's
};

/// The agent of this process, and what it has of the other.
struct near_side {
    near_side(runtime& r, near_options o)
        : rt{r}, options{complete(std::move(o))}, memory(options.bytes), agent{rt, "here", options.agent}
    {
        agent.add(make_libfabric(options.fabric));
    }
    static near_options complete(near_options o)
    {
        if (o.agent.peers.secret.empty()) o.agent.peers.secret = "secret";
        if (o.fetch_secret.empty()) o.fetch_secret = o.agent.peers.secret;
        o.fabric.rails = first_of(networks().near_addresses(), o.rails);
        return o;
    }
    fetch_options fetching() const
    {
        fetch_options f;
        f.secret = options.fetch_secret;
        return f;
    }

    task<> meet(far_process& p)
    {
        std::string at = co_await p.ask(rt, "at");
        fetch_options how = fetching();
        other = co_await wye::connect(agent, std::move(at), std::move(how));
        kv = other.published("kv");
        if (!region) region = co_await agent.register_memory(dram(memory));
    }
    /// The error of connecting by a side channel.
    task<error_code> meet_at(std::string endpoint)
    {
        fetch_options how = fetching();
        try {
            const peer p = co_await wye::connect(agent, std::move(endpoint), std::move(how));
            co_return error_code{};
        } catch (const system_error& e) {
            co_return e.code();
        }
    }
    task<std::vector<std::byte>> metadata_of(far_process& p)
    {
        std::string at = co_await p.ask(rt, "at");
        fetch_options how = fetching();
        metadata_source source = co_await metadata_source::open(rt, std::move(at), std::move(how));
        std::vector<std::byte> m = co_await source.fetch();
        co_return m;
    }
    /// The error of connecting by metadata.
    task<error_code> connect(std::vector<std::byte> metadata)
    {
        try {
            const peer p = co_await agent.connect(std::move(metadata));
            co_return error_code{};
        } catch (const system_error& e) {
            co_return e.code();
        }
    }

    /// Moves all of the memory, with that content, there or here.
    task<transfer_under_way> begin(far_process& p, way how, std::uint64_t seed)
    {
        if (how == way::read) {
            const std::string fill = "fill " + std::to_string(seed);
            co_await p.ask(rt, fill);
            std::fill(memory.begin(), memory.end(), std::byte{0});
        } else {
            const lab::bytes content = pattern_of(seed);
            std::copy(content.begin(), content.end(), memory.begin()); // where it is registered
        }
        const slice ours = region;
        co_return transfer_under_way{rt, how == way::write ? ours : kv, how == way::write ? kv : ours};
    }
    /// That the other side was told, and that what was moved has that content.
    task<bool> right(far_process& p, way how, std::uint64_t seed)
    {
        const std::string heard = co_await p.ask(rt, "expect");
        if (heard != "told") co_return false;
        if (how == way::read) co_return memory == pattern_of(seed);
        const std::string question = "holds " + std::to_string(seed);
        const std::string answer = co_await p.ask(rt, question);
        co_return answer == "yes";
    }
    task<outcome> copied(slice there, way how)
    {
        flight f = how == way::write ? start(region, there) : start(there, region);
        co_return co_await f.drained();
    }
    lab::bytes pattern_of(std::uint64_t seed) const { return lab::pattern(options.bytes, seed); }

    /// That all of the memory takes at best.
    double seconds_over(std::size_t rails) const
    {
        return static_cast<double>(options.bytes) / (static_cast<double>(rails) * rail_mbits * 1e6 / 8);
    }
    /// Bytes that one rail has carried.
    std::uint64_t moved_over(std::uint32_t rail) const
    {
        std::uint64_t n = 0;
        for (const driver_metrics& d : agent.measure().drivers)
            if (d.rail == rail && d.name.starts_with("fabric")) n += d.bytes;
        return n;
    }

    runtime& rt;
    near_options options;
    lab::bytes memory;
    wye::agent agent;
    wye::region region;
    peer other;
    slice kv;
};

} // namespace wye::testing

/// A test that is a coroutine on a runtime `rt` of its own, for each way (`how`) that is tried.
#define WYE_NETWORK_TEST(name)                                                                                        \
    static wye::task<> name##_body(wye::runtime& rt, wye::testing::way how);                                         \
    BOOST_AUTO_TEST_CASE(name)                                                                                        \
    {                                                                                                                 \
        for (const wye::testing::way how : wye::testing::both_ways) {                                             \
            BOOST_TEST_CONTEXT(how)                                                                                   \
            {                                                                                                         \
                wye::runtime rt;                                                                                      \
                wye::testing::finish(rt, name##_body(rt, how));                                                       \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    static wye::task<> name##_body([[maybe_unused]] wye::runtime& rt, wye::testing::way how)
