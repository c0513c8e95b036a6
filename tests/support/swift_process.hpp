// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace wye::testing {

/// OpenStack Swift as a child process (tests/support/swift_server.py), with a folder of its own that goes with it. Ends the
/// whole program with 77, which is a test skipped, where there is no Swift.
class swift_process {
public:
    /// `skew`: seconds that its clock is ahead. With TLS where a certificate and its key are given.
    explicit swift_process(const std::string& script, int skew = 0, std::vector<std::string> tls = {})
    {
        std::string name = std::filesystem::temp_directory_path() / "wye-swift-XXXXXX";
        if (!::mkdtemp(name.data())) throw std::runtime_error{"mkdtemp"};
        folder_ = name;
        std::vector<std::string> words{"/usr/bin/python3", script, folder_};
        words.insert(words.end(), tls.begin(), tls.end());
        start(words, "WYE_SWIFT_SKEW=" + std::to_string(skew));
        wait_for_port();
    }
    swift_process(const swift_process&) = delete;
    swift_process& operator=(const swift_process&) = delete;
    ~swift_process() { end(); }

    std::uint16_t port() const noexcept { return port_; }

private:
    void start(const std::vector<std::string>& words, std::string skew)
    {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"pipe"};
        std::vector<char*> arguments, environment;
        for (const auto& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
        arguments.push_back(nullptr);
        for (char** e = environ; *e; ++e) environment.push_back(*e);
        environment.push_back(skew.data());
        environment.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        const int failed = ::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environment.data());
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(ends[1]);
        out_ = ends[0];
        if (failed) skip("no " + words[0]);
    }
    void wait_for_port()
    {
        std::string said;
        char buffer[256];
        pollfd p{out_, POLLIN, 0};
        while (said.find('\n') == said.npos) {
            if (::poll(&p, 1, 100'000) <= 0) throw std::runtime_error{"Swift does not start"};
            const ssize_t n = ::read(out_, buffer, sizeof buffer);
            if (n <= 0) break;
            said.append(buffer, static_cast<std::size_t>(n));
        }
        if (said.starts_with("skipped")) skip(said);
        if (!said.starts_with("listening ")) throw std::runtime_error{"Swift does not start: " + said};
        port_ = static_cast<std::uint16_t>(std::stoul(said.substr(10)));
    }
    void end()
    {
        if (pid_ > 0) {
            ::kill(pid_, SIGTERM);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
        if (out_ >= 0) ::close(out_);
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    [[noreturn]] void skip(const std::string& why)
    {
        end();
        std::cout << why << std::endl;
        std::_Exit(77);
    }

    std::string folder_;
    pid_t pid_ = -1;
    int out_ = -1;
    std::uint16_t port_ = 0;
};

} // namespace wye::testing
