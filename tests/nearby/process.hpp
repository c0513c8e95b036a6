// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wye/runtime.hpp>

namespace wye::testing {

/// A peer in a process of its own (server.hpp).
struct process {
    process(const char* name, std::vector<std::string> arguments)
    {
        int in[2], out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error{"pipe"};
        posix_spawn_file_actions_t files;
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
        std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename(name).string();
        std::vector<char*> words{program.data()};
        for (std::string& a : arguments) words.push_back(a.data());
        words.push_back(nullptr);
        if (::posix_spawn(&id, program.c_str(), &files, nullptr, words.data(), environ) != 0) throw std::runtime_error{program};
        ::posix_spawn_file_actions_destroy(&files);
        ::close(in[0]);
        ::close(out[1]);
        input = in[1];
        output = out[0];
        std::uint64_t size = 0;
        take(&size, sizeof size);
        metadata.resize(size);
        take(metadata.data(), size);
    }
    void take(void* to, std::size_t n) const
    {
        for (auto* at = static_cast<char*>(to); n != 0;) {
            const auto got = ::read(output, at, n);
            if (got <= 0) throw std::runtime_error{"the peer said nothing"};
            at += got;
            n -= static_cast<std::size_t>(got);
        }
    }
    void say(std::string_view what) const
    {
        if (::write(input, what.data(), what.size()) != static_cast<ssize_t>(what.size())) throw std::runtime_error{"it hears nothing"};
    }
    std::string answer() const
    {
        std::string line;
        for (char c; take(&c, 1), c != '\n';) line += c;
        return line;
    }
    /// While this process does nothing else.
    std::string ask(const std::string& what) const
    {
        say(what + '\n');
        return answer();
    }
    /// While it serves.
    std::string ask(runtime& rt, std::string what) const
    {
        what += '\n';
        return ask_bytes(rt, what);
    }
    std::string ask_bytes(runtime& rt, std::string_view what) const
    {
        std::string line;
        std::atomic<bool> over{false};
        std::thread other{[&] {
            say(what);
            line = answer();
            over = true;
        }};
        while (!over) rt.poll(std::chrono::microseconds{100});
        other.join();
        return line;
    }
    std::string connect(runtime& rt, std::span<const std::byte> to) const
    {
        std::string all = "connect " + std::to_string(to.size()) + '\n';
        all.append(reinterpret_cast<const char*>(to.data()), to.size());
        return ask_bytes(rt, all);
    }
    void kill(int signal) const { ::kill(id, signal); }
    /// Its exit status, after it was asked to end; or minus the signal that ended it.
    int wait()
    {
        if (input >= 0) ::close(std::exchange(input, -1));
        int status = 0;
        ::waitpid(id, &status, 0);
        id = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    process(const process&) = delete;
    ~process()
    {
        if (input >= 0) ::close(input);
        if (output >= 0) ::close(output);
        if (id > 0) {
            ::kill(id, SIGKILL);
            ::waitpid(id, nullptr, 0);
        }
    }

    pid_t id = 0;
    int input = -1, output = -1;
    std::vector<std::byte> metadata;
};

} // namespace wye::testing
