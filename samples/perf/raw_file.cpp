// SPDX-License-Identifier: Apache-2.0
#include "raw_file.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef WYE_HAS_URING
#include <liburing.h>
#endif

#include "statistics.hpp"

namespace perf {

namespace {

[[noreturn]] void fail(int number, const char* what)
{
    throw std::system_error{number, std::generic_category(), what};
}

/// What a read or write call returned must be what was asked for.
void check(ssize_t n, const load& l, const char* what)
{
    if (n < 0) fail(errno, what);
    if (static_cast<std::size_t>(n) != l.bytes) fail(EIO, what);
}

void read_once(const load& l, int descriptor, std::byte* into, std::uint64_t offset)
{
    const iovec v{into, l.bytes};
    const ssize_t n = ::preadv2(descriptor, &v, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    // Not all of it is in the page cache: wait for it.
    if (n != static_cast<ssize_t>(l.bytes))
        check(::pread(descriptor, into, l.bytes, static_cast<off_t>(offset)), l, "pread");
}

double run_calls(const load& l, const test_file& file, const wye::arena& buffers,
                 std::span<const std::uint64_t> offsets)
{
    const int descriptor = file.descriptor(l.direct);
    unsigned slot = 0;
    const auto begin = clock::now();
    for (const std::uint64_t offset : offsets) {
        std::byte* const at = buffers.data() + slot * l.bytes;
        slot = slot + 1 == l.depth ? 0 : slot + 1;
        if (l.write) check(::pwrite(descriptor, at, l.bytes, static_cast<off_t>(offset)), l, "pwrite");
        else read_once(l, descriptor, at, offset);
    }
    return seconds_since(begin);
}

#ifdef WYE_HAS_URING

/// A ring with everything registered that can be.
class ring {
public:
    ring(unsigned depth, int descriptor, const wye::arena& buffers)
    {
        io_uring_params p{};
        p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
        if (io_uring_queue_init_params(depth, &ring_, &p) < 0) {
            p = {}; // a kernel before 6.1
            if (const int e = io_uring_queue_init_params(depth, &ring_, &p); e < 0) fail(-e, "io_uring");
        }
        io_uring_register_ring_fd(&ring_);
        io_uring_register_files(&ring_, &descriptor, 1);
        const iovec all{buffers.data(), buffers.size()};
        fixed_ = io_uring_register_buffers(&ring_, &all, 1) == 0; // may lack RLIMIT_MEMLOCK
    }
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    ~ring() { io_uring_queue_exit(&ring_); }

    void post(const load& l, std::uint64_t offset, std::byte* at, unsigned slot)
    {
        io_uring_sqe* const e = io_uring_get_sqe(&ring_);
        const auto n = static_cast<unsigned>(l.bytes);
        if (l.write && fixed_) io_uring_prep_write_fixed(e, 0, at, n, offset, 0);
        else if (l.write) io_uring_prep_write(e, 0, at, n, offset);
        else if (fixed_) io_uring_prep_read_fixed(e, 0, at, n, offset, 0);
        else io_uring_prep_read(e, 0, at, n, offset);
        e->flags |= IOSQE_FIXED_FILE;
        e->user_data = slot;
    }
    void submit() { io_uring_submit(&ring_); }

    /// Waits for completions; hands the slot of each to `freed`.
    template <class Freed>
    void reap(const load& l, Freed&& freed)
    {
        if (const int e = io_uring_submit_and_wait(&ring_, 1); e < 0 && e != -EINTR) fail(-e, "io_uring");
        io_uring_cqe* completed[64];
        const unsigned n = io_uring_peek_batch_cqe(&ring_, completed, 64);
        for (unsigned i = 0; i < n; ++i) {
            const auto slot = static_cast<unsigned>(completed[i]->user_data);
            const int bytes = completed[i]->res;
            if (bytes < 0) fail(-bytes, "io_uring");
            check(bytes, l, "io_uring");
            freed(slot);
        }
        io_uring_cq_advance(&ring_, n);
    }

private:
    io_uring ring_{};
    bool fixed_ = false;
};

double run_ring(const load& l, const test_file& file, const wye::arena& buffers,
                std::span<const std::uint64_t> offsets, unsigned submit_every)
{
    ring r{l.depth, file.descriptor(l.direct), buffers};
    std::size_t posted = 0, ended = 0;
    const auto post = [&](unsigned slot) {
        r.post(l, offsets[posted++], buffers.data() + slot * l.bytes, slot);
        if (posted % submit_every == 0) r.submit();
    };
    const auto begin = clock::now();
    for (unsigned slot = 0; slot < l.depth && posted < offsets.size(); ++slot) post(slot);
    while (ended < offsets.size()) {
        r.reap(l, [&](unsigned slot) {
            ++ended;
            if (posted < offsets.size()) post(slot);
        });
    }
    return seconds_since(begin);
}

bool have_ring()
{
    static const bool have = [] {
        io_uring r{};
        if (io_uring_queue_init(2, &r, 0) < 0) return false;
        io_uring_queue_exit(&r);
        return true;
    }();
    return have;
}

#else

double run_ring(const load&, const test_file&, const wye::arena&, std::span<const std::uint64_t>, unsigned)
{
    fail(ENOSYS, "io_uring");
}
bool have_ring() { return false; }

#endif

} // namespace

const char* name_of(method m) noexcept
{
    switch (m) {
    case method::ring: return "io_uring";
    case method::ring_by_four: return "io_uring by 4";
    case method::call: return "calls";
    }
    return "";
}

bool can(method m, const load& l)
{
    // Without a ring plain code is left with calls, whatever the load.
    if (m == method::call) return !l.direct || !have_ring();
    return have_ring() && (m == method::ring || l.depth > 4);
}

double run_raw(method m, const load& l, const test_file& file, const wye::arena& buffers,
               std::span<const std::uint64_t> offsets)
{
    if (m == method::call) return run_calls(l, file, buffers, offsets);
    return run_ring(l, file, buffers, offsets, m == method::ring ? l.depth : 4);
}

} // namespace perf
