// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace wye::testing {

/// etcd as a child process on loopback, with a folder of its own that goes with it. It grants leases of a second and more.
class etcd_process {
public:
    /// TLS where options for it are given ("--cert-file=…").
    explicit etcd_process(std::vector<std::string> tls = {}) : tls_{std::move(tls)}
    {
        std::string name = std::filesystem::temp_directory_path() / "wye-etcd-XXXXXX";
        if (!::mkdtemp(name.data())) throw std::runtime_error{"mkdtemp"};
        folder_ = name;
        client_ = free_port();
        peer_ = free_port();
        start();
    }
    etcd_process(const etcd_process&) = delete;
    etcd_process& operator=(const etcd_process&) = delete;
    ~etcd_process()
    {
        end(SIGKILL);
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    /// For tests that need it: ends the whole program with 77, which is a test skipped, where there is none.
    static void needed()
    {
        for (const char* const at : {"/usr/bin/etcd", "/usr/local/bin/etcd"})
            if (::access(at, X_OK) == 0) return;
        std::cout << "skipped: no etcd (Debian's etcd-server)" << std::endl;
        std::_Exit(77);
    }

    std::uint16_t port() const noexcept { return client_; }
    std::string endpoint() const { return "127.0.0.1:" + std::to_string(client_); }
    ::pid_t id() const noexcept { return pid_; }
    /// Where it was, with what it knew. Returns once it listens.
    void start()
    {
        const std::string mine = (tls_.empty() ? "http://" : "https://") + endpoint();
        const std::string peers = "http://127.0.0.1:" + std::to_string(peer_);
        std::vector<std::string> words{::access("/usr/bin/etcd", X_OK) == 0 ? "/usr/bin/etcd" : "/usr/local/bin/etcd",
                                       "--data-dir=" + folder_ + "/data", "--listen-client-urls=" + mine,
                                       "--advertise-client-urls=" + mine, "--listen-peer-urls=" + peers,
                                       "--initial-advertise-peer-urls=" + peers, "--initial-cluster=default=" + peers,
                                       "--unsafe-no-fsync", "--heartbeat-interval=10", "--election-timeout=100",
                                       "--logger=zap", "--log-level=panic"};
        words.insert(words.end(), tls_.begin(), tls_.end());
        spawn(words);
        wait_for_port();
    }
    void kill() { end(SIGKILL); }
    /// Forgets all it knew.
    void forget() { std::filesystem::remove_all(folder_ + "/data"); }
    void pause() { ::kill(pid_, SIGSTOP); }
    void go_on() { ::kill(pid_, SIGCONT); }

    static std::uint16_t free_port()
    {
        boost::asio::io_context io;
        boost::asio::ip::tcp::acceptor a{io, {boost::asio::ip::address_v4::loopback(), 0}};
        return a.local_endpoint().port();
    }

private:
    void spawn(std::vector<std::string>& words)
    {
        std::vector<char*> arguments;
        for (std::string& w : words) arguments.push_back(w.data());
        arguments.push_back(nullptr);
        const std::string log = folder_ + "/log";
        const ::pid_t parent = ::getpid();
        pid_ = ::fork();
        if (pid_ < 0) throw std::runtime_error{"etcd does not start"};
        if (pid_ > 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that crashes leaves nothing behind
        if (::getppid() != parent) ::_exit(1);
        const int to = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        ::dup2(to, 1);
        ::dup2(to, 2);
        ::execv(arguments[0], arguments.data());
        ::_exit(127);
    }
    void wait_for_port()
    {
        using boost::asio::ip::tcp;
        boost::asio::io_context io;
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{60};
        for (;;) {
            tcp::socket s{io};
            boost::system::error_code refused;
            s.connect({boost::asio::ip::address_v4::loopback(), client_}, refused);
            if (!refused) return;
            if (std::chrono::steady_clock::now() > patience) throw std::runtime_error{"etcd does not listen"};
            if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
                pid_ = -1;
                throw std::runtime_error{"etcd ends at once"};
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{5}); // between looks
        }
    }
    void end(int signal)
    {
        if (pid_ <= 0) return;
        ::kill(pid_, signal);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

    std::vector<std::string> tls_;
    std::string folder_;
    std::uint16_t client_ = 0, peer_ = 0;
    ::pid_t pid_ = -1;
};

} // namespace wye::testing
