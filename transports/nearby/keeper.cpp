// SPDX-License-Identifier: Apache-2.0
#include "keeper.hpp"

#include <csignal>
#include <cstddef>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wye::nearby {

keeper::keeper(std::atomic<std::uint32_t>& word) : word_{word}
{
    // Signals are for the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = std::thread{[this] { keep(); }};
    } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    held_.acquire();
}

keeper::~keeper()
{
    over_.release();
    thread_.join();
}

void keeper::keep() noexcept
{
    // get_robust_list(2): a ring of nodes, and where the word lies as seen from each. A node here is on the stack, and the word
    // elsewhere. The C library's own list of this thread is given up for it: it holds no mutex.
    robust_list_head list{};
    robust_list node{&list.list};
    list.list.next = &node;
    list.futex_offset = static_cast<long>(reinterpret_cast<std::uintptr_t>(&word_) - reinterpret_cast<std::uintptr_t>(&node));
    value_ = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    word_.store(value_, std::memory_order_seq_cst);
    ::syscall(SYS_set_robust_list, &list, sizeof list);
    held_.release();
    over_.acquire();
    list.list.next = &list.list;
    word_.store(0, std::memory_order_seq_cst);
    ::syscall(SYS_set_robust_list, nullptr, sizeof list);
}

} // namespace wye::nearby
