// SPDX-License-Identifier: Apache-2.0
// Two processes: what is written to the other one and read back is right, and a peer that is killed is an error in
// time. So is what it serves out of a file, a bucket and a stand-in for GPU memory.
#define BOOST_TEST_MODULE fabric_process
#include <boost/test/unit_test.hpp>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include <boost/asio/as_tuple.hpp>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabric/pair.hpp"
#include "support/co_test.hpp"

using namespace wye;
using namespace std::chrono_literals;
using wye::testing::finish;
using wye::testing::loopback;
namespace asio = boost::asio;

namespace {

/// A peer in a process of its own.
struct process {
    process(std::uint32_t rails, std::size_t bytes, bool polled, std::string folder = {})
    {
        int in[2], out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error{"pipe"};
        posix_spawn_file_actions_t files;
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
        std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("fabric_peer").string();
        std::string r = std::to_string(rails), n = std::to_string(bytes), how = polled ? "polled" : "automatic";
        char* arguments[] = {program.data(), r.data(), n.data(), how.data(),
                             folder.empty() ? nullptr : folder.data(), nullptr};
        if (::posix_spawn(&id, program.c_str(), &files, nullptr, arguments, environ) != 0)
            throw std::runtime_error{program};
        ::posix_spawn_file_actions_destroy(&files);
        ::close(in[0]);
        ::close(out[1]);
        input = in[1];
        std::uint64_t size = 0;
        take(out[0], &size, sizeof size);
        metadata.resize(size);
        take(out[0], metadata.data(), size);
        ::close(out[0]);
    }
    static void take(int fd, void* to, std::size_t n)
    {
        for (auto* at = static_cast<char*>(to); n != 0;) {
            const auto got = ::read(fd, at, n);
            if (got <= 0) throw std::runtime_error{"the peer said nothing"};
            at += got;
            n -= static_cast<std::size_t>(got);
        }
    }
    /// Its exit status, after it was asked to end; or minus the signal that ended it.
    int wait()
    {
        if (input >= 0) ::close(std::exchange(input, -1));
        int status = 0;
        ::waitpid(id, &status, 0);
        id = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    ~process()
    {
        if (input >= 0) ::close(input);
        if (id > 0) {
            ::kill(id, SIGKILL);
            ::waitpid(id, nullptr, 0);
        }
    }

    pid_t id = 0;
    int input = -1;
    std::vector<std::byte> metadata;
};

struct here {
    here(runtime& rt, std::size_t bytes, std::uint32_t rails, bool polled)
        : sent{lab::pattern(bytes, 3)}, back(bytes), a{rt, "here", wye::testing::knowing("secret")}
    {
        a.add(make_libfabric(loopback(rails, polled ? queue_waits::polled : queue_waits::automatic)));
    }
    task<> open(std::vector<std::byte> metadata)
    {
        from = co_await a.register_memory(dram(sent));
        to = co_await a.register_memory(dram(back));
        other = co_await a.connect(std::move(metadata));
        kv = other.published("kv");
    }

    lab::bytes sent, back;
    agent a;
    region from, to;
    peer other;
    slice kv;
};

task<> there_and_back(here& h, std::size_t bytes, std::size_t at)
{
    std::fill(h.back.begin(), h.back.end(), std::byte{0});
    co_await copy(h.from.at(0, bytes), h.kv.sub(at, bytes));
    co_await copy(h.kv.sub(at, bytes), h.to.at(0, bytes));
    const auto end = h.sent.begin() + static_cast<std::ptrdiff_t>(bytes);
    BOOST_TEST(std::equal(h.sent.begin(), end, h.back.begin()), bytes << " at " << at);
}

void all_sizes(std::uint32_t ours, std::uint32_t theirs, bool polled)
{
    process p{theirs, 16_MiB + 8, polled};
    {
        runtime rt;
        here h{rt, 16_MiB, ours, polled};
        finish(rt, h.open(p.metadata));
        for (const std::size_t bytes : {std::size_t{1}, 4_KiB, 1_MiB + 1, 16_MiB})
            for (const std::size_t at : {std::size_t{0}, std::size_t{3}}) finish(rt, there_and_back(h, bytes, at));
    }
    BOOST_TEST(p.wait() == 0);
}

/// By way of a tier of the other process; under `verify` only if sums are kept there.
task<> by_way_of(here& h, slice there, bool verify)
{
    copy_options o;
    o.verify = verify;
    std::fill(h.back.begin(), h.back.end(), std::byte{0});
    co_await copy(h.from, there, o);
    co_await copy(there, h.to, o);
    BOOST_TEST((h.back == h.sent));
}

task<> served(here& h, std::size_t bytes)
{
    for (const bool verify : {false, true}) {
        co_await by_way_of(h, h.other.published("disk").sub(4_KiB, bytes), verify);
        co_await by_way_of(h, h.other.object("cache", "a/b"), verify);
    }
    co_await by_way_of(h, h.other.published("gpu"), false);
    const slice readable = h.other.published("readable").sub(4_KiB, bytes);
    co_await copy(readable, h.to);
    BOOST_TEST((h.back == h.sent));
    const auto [refused, n] = co_await copy(h.from, readable, asio::as_tuple(asio::deferred));
    BOOST_TEST(refused == errc::read_only);
    BOOST_CHECK_THROW(h.other.published("private"), system_error);
}

/// Of a peer that is killed in mid-copy.
task<> served_until_killed(here& h, pid_t id, std::size_t bytes)
{
    const slice there = h.other.published("disk").sub(0, bytes);
    ::kill(id, SIGKILL);
    error_code ended;
    while (!ended) {
        const auto [e, n] = co_await copy(h.from, there, asio::as_tuple(asio::deferred));
        ended = e;
    }
    BOOST_TEST((ended == errc::peer_lost || ended == errc::path_lost), ended.message());
}

/// Copies for ever until one fails.
task<error_code> until_it_fails(here& h)
{
    for (;;) {
        const auto [e, n] = co_await copy(h.from, h.kv, asio::as_tuple(asio::deferred));
        if (e) co_return e;
    }
}

task<> killed(here& h, pid_t id)
{
    bool over = false;
    error_code ended;
    asio::co_spawn(h.a.runtime(), until_it_fails(h), [&](std::exception_ptr, error_code e) {
        ended = e;
        over = true;
    });
    co_await h.a.runtime().sleep(30ms);
    ::kill(id, SIGKILL);
    const auto begun = std::chrono::steady_clock::now();
    while (!over) co_await h.a.runtime().sleep(5ms);
    BOOST_TEST((std::chrono::steady_clock::now() - begun < 8s));
    BOOST_TEST((ended == errc::peer_lost || ended == errc::path_lost), ended.message());
    while (h.other.alive()) co_await h.a.runtime().sleep(5ms);
}

} // namespace

BOOST_AUTO_TEST_CASE(one_rail) { all_sizes(1, 1, false); }
BOOST_AUTO_TEST_CASE(four_rails_polled) { all_sizes(4, 4, true); }
BOOST_AUTO_TEST_CASE(two_rails_to_three) { all_sizes(2, 3, false); }

BOOST_AUTO_TEST_CASE(a_peer_that_is_killed_is_an_error_in_time)
{
    for (int round = 0; round < 3; ++round) {
        process p{2, 16_MiB, false};
        runtime rt;
        here h{rt, 16_MiB, 2, false};
        finish(rt, h.open(p.metadata));
        finish(rt, killed(h, p.id));
        BOOST_TEST(p.wait() == -SIGKILL);
    }
}

BOOST_AUTO_TEST_CASE(what_the_other_process_serves)
{
    constexpr std::size_t bytes = 8_MiB;
    std::string folder = (std::filesystem::temp_directory_path() / "wye-served-XXXXXX").string();
    BOOST_REQUIRE(::mkdtemp(folder.data()));
    {
        process p{2, bytes, false, folder};
        runtime rt;
        here h{rt, bytes, 2, false};
        finish(rt, h.open(p.metadata));
        finish(rt, served(h, bytes));
        finish(rt, served_until_killed(h, p.id, bytes));
        BOOST_TEST(p.wait() == -SIGKILL);
    }
    std::filesystem::remove_all(folder);
}
