// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace samples {

/// Two networks on one machine, joined by pairs of veth: the one that this process is in from now on, and a far one for
/// its children. Rail `i` joins 10.77.i.1 here to 10.77.i.2 there.
///
/// The namespaces have no names: they are there as long as a process is in them, and the far one's keeper ends with
/// this process, so nothing is left behind however it ends. Make it once, before there are threads. Needs root, iproute2
/// and nsenter (util-linux).
class two_networks {
public:
    /// What each rail carries each way, in Mbit/s. Throws std::runtime_error that says why it cannot be.
    explicit two_networks(const std::vector<unsigned>& rates) : rails_{rates.size()}
    {
        if (::geteuid() != 0) throw std::runtime_error{"network namespaces need root"};
        if (::unshare(CLONE_NEWNET) != 0) refuse("no network namespace", errno);
        keep_far();
        try {
            command(near, "ip link set lo up");
            command(far, "ip link set lo up");
            for (std::size_t i = 0; i < rails_; ++i) join(std::to_string(i), rates[i]);
        } catch (...) {
            let_go();
            throw;
        }
    }
    two_networks(const two_networks&) = delete;
    two_networks& operator=(const two_networks&) = delete;
    ~two_networks() { let_go(); }

    std::size_t rails() const noexcept { return rails_; }
    static std::string near_address(std::size_t rail) { return "10.77." + std::to_string(rail) + ".1"; }
    static std::string far_address(std::size_t rail) { return "10.77." + std::to_string(rail) + ".2"; }
    std::vector<std::string> near_addresses() const { return all(&near_address); }
    std::vector<std::string> far_addresses() const { return all(&far_address); }

    /// For a child of this process: moves it to the far network, and has it end with its parent.
    void enter_far() const
    {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int there = ::open(("/proc/" + std::to_string(keeper_) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
        if (there < 0 || ::setns(there, CLONE_NEWNET) != 0) refuse("cannot enter the far network", errno);
        ::close(there);
    }
    /// Takes the cable out, or puts it in again.
    void plug(std::size_t rail, bool in) const
    {
        command(near, "ip link set near" + std::to_string(rail) + (in ? " up" : " down"));
    }

private:
    enum side { near, far };

    [[noreturn]] static void refuse(const std::string& what, int error)
    {
        throw std::runtime_error{what + ": " + std::strerror(error)};
    }

    /// A process that does nothing but be in the far network.
    void keep_far()
    {
        int said[2];
        if (::pipe2(said, O_CLOEXEC) != 0) refuse("no pipe", errno);
        const ::pid_t parent = ::getpid();
        keeper_ = ::fork();
        if (keeper_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() != parent) ::_exit(1); // it is gone already
            const int error = ::unshare(CLONE_NEWNET) == 0 ? 0 : errno;
            if (::write(said[1], &error, sizeof error) < 0 || error != 0) ::_exit(1);
            for (;;) ::pause();
        }
        ::close(said[1]);
        int error = EAGAIN;
        const auto got = keeper_ > 0 ? ::read(said[0], &error, sizeof error) : 0;
        ::close(said[0]);
        if (got == sizeof error && error == 0) return;
        let_go();
        refuse("no second network namespace", error);
    }
    void let_go() noexcept
    {
        if (keeper_ <= 0) return;
        ::kill(keeper_, SIGKILL);
        ::waitpid(std::exchange(keeper_, 0), nullptr, 0);
    }

    void join(const std::string& i, unsigned rate) const
    {
        // A burst smaller than what segmentation offload hands down at once, and tbf drops it all.
        const std::string shape = " root tbf rate " + std::to_string(rate) + "mbit burst 256kb latency 50ms";
        command(near, "ip link add near" + i + " type veth peer name far" + i + " netns " + std::to_string(keeper_));
        for (const side s : {near, far}) {
            const std::string device = (s == near ? "near" : "far") + i;
            command(s, "ip addr add 10.77." + i + (s == near ? ".1" : ".2") + "/24 dev " + device);
            command(s, "ip link set " + device + " up");
            command(s, "tc qdisc add dev " + device + shape);
        }
    }
    void command(side s, const std::string& words) const
    {
        const std::string where = s == near ? "" : "nsenter --net=/proc/" + std::to_string(keeper_) + "/ns/net ";
        const int status = std::system((where + words + " > /dev/null 2>&1").c_str());
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) ::raise(SIGINT); // system() kept it from us
        if (status != 0) throw std::runtime_error{"this does not work here: " + words};
    }
    std::vector<std::string> all(std::string (*address)(std::size_t)) const
    {
        std::vector<std::string> a;
        for (std::size_t i = 0; i < rails_; ++i) a.push_back(address(i));
        return a;
    }

    std::size_t rails_;
    ::pid_t keeper_ = 0;
};

} // namespace samples
