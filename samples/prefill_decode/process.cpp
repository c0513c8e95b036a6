// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rank.hpp"

namespace pd {

namespace {

/// Its parent decides about Ctrl-C, and no rank outlives it.
void become_rank(::pid_t parent)
{
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGTERM, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1); // it is gone already
}

} // namespace

::pid_t make_rank(const settings& s, place at, int socket, const std::vector<int>& others)
{
    const ::pid_t parent = ::getpid(), id = ::fork();
    if (id < 0) throw std::runtime_error{"no process for " + at.name() + ": " + std::strerror(errno)};
    if (id > 0) return id;
    become_rank(parent);
    for (const int o : others) ::close(o);
    std::exit(run_rank(s, at, socket));
}

int wait_for(::pid_t id)
{
    int status = 0;
    ::waitpid(id, &status, 0);
    return status;
}

std::string describe(int status)
{
    if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
    return "ended with status " + std::to_string(WEXITSTATUS(status));
}

} // namespace pd
