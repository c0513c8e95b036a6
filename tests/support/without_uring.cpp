// SPDX-License-Identifier: Apache-2.0
//
// without_uring COMMAND [ARGUMENT...]: runs the command where the kernel refuses io_uring with EPERM, as
// container runtimes and `kernel.io_uring_disabled` do.
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <iterator>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

bool forbid_uring()
{
    constexpr unsigned setup = 425, registration = 427; // the same on every architecture
    static_assert(SYS_io_uring_setup == setup && SYS_io_uring_register == registration);
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, setup, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, registration, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    // Without this only root may filter; with it nothing the command runs can gain privileges.
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

} // namespace

int main(int count, char** arguments)
{
    if (count < 2) {
        std::fprintf(stderr, "usage: without_uring COMMAND [ARGUMENT...]\n");
        return 2;
    }
    if (!forbid_uring()) {
        std::perror("without_uring: seccomp");
        return 77; // ctest: skipped
    }
    ::execvp(arguments[1], arguments + 1);
    std::perror(arguments[1]);
    return 127;
}
