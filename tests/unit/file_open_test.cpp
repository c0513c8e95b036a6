// SPDX-License-Identifier: Apache-2.0
// The file driver at its seam: opening, full disks, block devices, and kernels without io_uring.
#define BOOST_TEST_MODULE file_open
#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <cstddef>
#include <deque>
#include <iterator>

#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <wye/error.hpp>

#include "file_seam.hpp"

using namespace seam;
using wye::caching;
using wye::error_code;
using wye::file_options;
using wye::drivers::file_engine;
namespace errc = boost::system::errc;

namespace {

wye::file_options with(void (*change)(file_options&))
{
    file_options o;
    change(o);
    return o;
}

error_code open_error(world& w, const std::string& path, const file_options& o = {})
{
    error_code e;
    w.open(path, o, e);
    return e;
}

/// What `body` returns in a child process, so that what it does to itself goes with it.
int in_child(int (*body)())
{
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool forbid_uring(int number)
{
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(number)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr int fine = 0, not_possible = 77;

/// A filesystem of this size in memory, for as long as it lives.
class small_filesystem {
public:
    explicit small_filesystem(const std::string& where) : where_{where}
    {
        ::mkdir(where.c_str(), 0700);
        mounted_ = ::mount("tmpfs", where.c_str(), "tmpfs", 0, "size=1m") == 0;
    }
    small_filesystem(const small_filesystem&) = delete;
    ~small_filesystem()
    {
        if (mounted_) ::umount2(where_.c_str(), MNT_DETACH);
    }
    explicit operator bool() const { return mounted_; }

private:
    std::string where_;
    bool mounted_ = false;
};

/// A block device over a file.
class loop_device {
public:
    explicit loop_device(const std::string& file)
    {
        const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        const int number = control >= 0 ? ::ioctl(control, LOOP_CTL_GET_FREE) : -1;
        if (control >= 0) ::close(control);
        if (number < 0) return;
        path_ = "/dev/loop" + std::to_string(number);
        device_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
        const int backing = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
        bound_ = device_ >= 0 && backing >= 0 && ::ioctl(device_, LOOP_SET_FD, backing) == 0;
        if (backing >= 0) ::close(backing);
    }
    loop_device(const loop_device&) = delete;
    ~loop_device()
    {
        if (bound_) ::ioctl(device_, LOOP_CLR_FD, 0);
        if (device_ >= 0) ::close(device_);
    }
    explicit operator bool() const { return bound_; }
    const std::string& path() const { return path_; }

private:
    std::string path_;
    int device_ = -1;
    bool bound_ = false;
};

} // namespace

// What cannot be opened says why, and names its tier.
BOOST_AUTO_TEST_CASE(open_errors)
{
    const scratch dir;
    world w{file_engine::automatic};
    const auto read_only = with([](file_options& o) { o.access = wye::access::read_only; });
    const auto no_create = with([](file_options& o) { o.create = false; });

    const error_code missing = open_error(w, dir / "missing", read_only);
    BOOST_TEST(missing == errc::no_such_file_or_directory);
    BOOST_TEST(missing.message().starts_with("file: "));
    BOOST_TEST(open_error(w, dir / "missing", no_create) == errc::no_such_file_or_directory);
    BOOST_TEST(!exists(dir / "missing"));
    BOOST_TEST(open_error(w, dir / "no/such/folder") == errc::no_such_file_or_directory);
    BOOST_TEST(open_error(w, dir.path()) == errc::is_a_directory);
    BOOST_TEST(open_error(w, dir.path(), read_only) == errc::is_a_directory);
    BOOST_TEST(open_error(w, "/dev/null").value() == ENOTBLK);

    BOOST_REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
    BOOST_TEST(open_error(w, dir / "pipe", read_only).value() == ENOTBLK); // and does not wait for a writer
    BOOST_REQUIRE(::symlink("nowhere", (dir / "dangling").c_str()) == 0);
    BOOST_TEST(open_error(w, dir / "dangling") == errc::no_such_file_or_directory);
    BOOST_TEST(open_error(w, dir / "new", with([](file_options& o) {
                              o.access = wye::access::read_only;
                              o.truncate = true;
                          })) == errc::invalid_argument);
}

BOOST_AUTO_TEST_CASE(options_are_kept)
{
    const scratch dir;
    world w{file_engine::automatic};
    error_code e;

    const auto reserved = w.open(dir / "reserved", with([](file_options& o) { o.preallocate = 1_MiB; }), e);
    BOOST_REQUIRE(reserved);
    BOOST_TEST(size_of(dir / "reserved") == 1_MiB);
    struct stat s {};
    BOOST_REQUIRE(::stat((dir / "reserved").c_str(), &s) == 0);
    BOOST_TEST(static_cast<std::uint64_t>(s.st_blocks) * 512 >= 1_MiB);
    BOOST_TEST(reserved->length == wye::segment::unbounded);
    BOOST_TEST(reserved->describe() == dir / "reserved");
    BOOST_TEST(reserved->home == w.driver.get());

    make_file(dir / "full", 5000, 1);
    BOOST_TEST(size_of(dir / "full") == 5000u);
    BOOST_REQUIRE(w.open(dir / "full"));
    BOOST_TEST(size_of(dir / "full") == 5000u);
    BOOST_REQUIRE(w.open(dir / "full", with([](file_options& o) { o.truncate = true; }), e));
    BOOST_TEST(size_of(dir / "full") == 0u);
}

// Nothing is left of a temporary file from the moment it is open; it works all the same, and is never one
// that was there before.
BOOST_AUTO_TEST_CASE(temporary_leaves_nothing)
{
    const scratch dir;
    world w{file_engine::automatic};
    const auto temporary = with([](file_options& o) { o.temporary = true; });
    error_code e;
    const auto file = w.open(dir / "temporary", temporary, e);
    BOOST_REQUIRE(file);
    BOOST_TEST(!exists(dir / "temporary"));
    dram out{64_KiB}, in{64_KiB};
    out.fill(1);
    BOOST_TEST(w.copy(out.at(0, 64_KiB), at(file, 100, 60000).sub(0, 64_KiB)).bytes == 64_KiB);
    BOOST_TEST(w.copy(at(file, 100, 64_KiB), in.at(0, 64_KiB)).bytes == 64_KiB);
    BOOST_TEST(std::memcmp(in.base, out.base, 64_KiB) == 0);
    BOOST_TEST(!w.sync(*file));

    make_file(dir / "precious", 10, 1);
    BOOST_TEST(open_error(w, dir / "precious", temporary) == errc::file_exists);
    BOOST_TEST(size_of(dir / "precious") == 10u);
}

// A full disk is an error, at once where the space was to be reserved, and then no file is left.
BOOST_AUTO_TEST_CASE(disk_full)
{
    const scratch dir;
    const small_filesystem small{dir / "small"};
    if (!small) {
        BOOST_TEST_MESSAGE("skipped: may not mount a filesystem here");
        return;
    }
    for (const file_engine engine : {file_engine::automatic, file_engine::threads}) {
        world w{engine};
        BOOST_TEST(open_error(w, dir / "small/reserved", with([](file_options& o) {
                                  o.preallocate = 8_MiB;
                              })) == errc::no_space_on_device);
        BOOST_TEST(!exists(dir / "small/reserved"));

        const auto file = w.open(dir / "small/written");
        dram out{2_MiB};
        const outcome o = w.copy(out.at(0, 2_MiB), at(file, 0, 2_MiB));
        BOOST_TEST(o.error == errc::no_space_on_device);
        BOOST_TEST(o.error.message().starts_with("file: "));
        BOOST_TEST(o.bytes < 2_MiB);
        ::unlink((dir / "small/written").c_str());
    }
}

// A filesystem in memory has no O_DIRECT to speak of: everything works through the cache.
BOOST_AUTO_TEST_CASE(no_direct_io)
{
    const scratch dir;
    const small_filesystem small{dir / "small"};
    if (!small) {
        BOOST_TEST_MESSAGE("skipped: may not mount a filesystem here");
        return;
    }
    world w{file_engine::automatic};
    const auto file = w.open(dir / "small/file", caching::direct);
    dram out{128_KiB}, in{128_KiB};
    out.fill(2);
    BOOST_TEST(w.copy(out.at(1, 100001), at(file, 77, 100001)).bytes == 100001u);
    BOOST_TEST(w.copy(at(file, 77, 100001), in.at(5, 100001)).bytes == 100001u);
    BOOST_TEST(std::memcmp(in.base + 5, out.base + 1, 100001) == 0);
    BOOST_TEST(size_of(dir / "small/file") == 77u + 100001u);
}

// A block device: its tier, its size, aligned and unaligned bytes, and no more than it holds.
BOOST_AUTO_TEST_CASE(block_device)
{
    const scratch dir;
    make_file(dir / "disk", 4_MiB, 3);
    const loop_device disk{dir / "disk"};
    if (!disk) {
        BOOST_TEST_MESSAGE("skipped: no loop device to be had");
        return;
    }
    for (const file_engine engine : {file_engine::automatic, file_engine::threads})
        for (const caching c : {caching::direct, caching::buffered}) {
            world w{engine};
            const auto file = w.open(disk.path(), c);
            BOOST_TEST(bool(file->tier == wye::tier::block));
            BOOST_TEST(file->length == 4_MiB);
            dram out{1_MiB}, in{1_MiB};
            out.fill(4);
            for (const auto& [offset, length] :
                 {std::pair{0u, 1048576u}, {4096u, 65536u}, {1000u, 70001u}, {4190000u, 4304u}}) {
                BOOST_TEST(w.copy(out.at(0, length), at(file, offset, length)).bytes == length);
                BOOST_TEST(w.copy(at(file, offset, length), in.at(0, length)).bytes == length);
                BOOST_TEST(std::memcmp(in.base, out.base, length) == 0);
            }
            BOOST_TEST(w.copy(at(file, 4_MiB - 4096, 8192), in.at(0, 8192)).bytes == 4096u);
            BOOST_TEST(open_error(w, disk.path(), with([](file_options& o) { o.preallocate = 5_MiB; })) ==
                       errc::no_space_on_device);
            BOOST_TEST(!w.sync(*file));
        }
}

// ---- Kernels that forbid --------------------------------------------------------------------------------

namespace {

template <int Number>
int works_on_threads()
{
    if (!forbid_uring(Number)) return not_possible;
    try {
        world{file_engine::uring};
        return 1;
    } catch (const wye::system_error& e) {
        if (e.code() != wye::file_error(Number)) return 2;
    }
    const scratch dir;
    world w{file_engine::automatic};
    if (w.driver->name() != "file/threads") return 3;
    const auto file = w.open(dir / "file");
    dram out{64_KiB}, in{64_KiB};
    out.fill(5);
    if (w.enlist(in)) return 4;
    if (w.copy(out.at(0, 50000), at(file, 3, 50000)).bytes != 50000) return 5;
    if (w.copy(at(file, 3, 50000), in.at(0, 50000)).bytes != 50000) return 6;
    return std::memcmp(in.base, out.base, 50000) == 0 ? fine : 7;
}

/// Nobody, who may lock next to nothing.
int works_unpinned()
{
    world w{file_engine::automatic};
    const scratch dir;
    const auto file = w.open(dir / "file");
    const rlimit little{64_KiB, 64_KiB};
    if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0) return not_possible;
    if (::geteuid() == 0 && ::seteuid(65534) != 0) return not_possible;
    dram out{4_MiB}, in{4_MiB};
    out.fill(6);
    int result = fine;
    if (w.enlist(out) || w.enlist(in))
        result = 1;
    else if (w.copy(out.at(0, 1_MiB), at(file, 0, 1_MiB)).bytes != 1_MiB)
        result = 2;
    else if (w.copy(at(file, 0, 1_MiB), in.at(0, 1_MiB)).bytes != 1_MiB)
        result = 3;
    else if (std::memcmp(in.base, out.base, 1_MiB) != 0)
        result = 4;
    w.driver->dismiss(in), w.driver->dismiss(out);
    if (::getuid() == 0 && ::seteuid(0) != 0) result = 5;
    return result;
}

/// The kernel takes a ring and then, all of a sudden, no more requests.
int ends_in_an_error()
{
    world w{file_engine::automatic};
    if (w.driver->name() != "file/io_uring") return not_possible;
    const scratch dir;
    make_file(dir / "file", 1_MiB, 7);
    const auto file = w.open(dir / "file");
    dram in{1_MiB};
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return not_possible;
    std::deque<loan> loans(9);
    for (std::uint64_t i = 0; i < 9; ++i) w.submit(loans[i], at(file, i * 4096, 4096), in.at(i * 4096, 4096));
    for (const loan& l : loans) {
        w.until([&] { return l.over; });
        if (l.error != wye::file_error(EPERM) || l.bytes != 0) return 1;
    }
    return fine;
}

void expect_fine(int status)
{
    if (status == not_possible)
        BOOST_TEST_MESSAGE("skipped: not possible here");
    else
        BOOST_TEST(status == fine);
}

} // namespace

BOOST_AUTO_TEST_CASE(uring_forbidden)
{
    expect_fine(in_child(works_on_threads<EPERM>));
    expect_fine(in_child(works_on_threads<ENOSYS>));
    expect_fine(in_child(works_on_threads<ENOMEM>));
}

BOOST_AUTO_TEST_CASE(memory_may_not_be_pinned) { expect_fine(in_child(works_unpinned)); }

BOOST_AUTO_TEST_CASE(ring_breaks) { expect_fine(in_child(ends_in_an_error)); }
