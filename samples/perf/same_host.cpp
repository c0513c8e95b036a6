// SPDX-License-Identifier: Apache-2.0
// Writes to and reads from an agent in another process of this machine, against bare process_vm_writev and readv on the same
// memory. Two processes, each on a processor of its own: the other one polls and moves with ours, and sleeps beside the plain code, which needs
// nobody over there.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wye/same_host.hpp>
#include <wye/wye.hpp>

#include "pinned.hpp"
#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace asio = boost::asio;
using namespace wye::literals;

namespace {

enum class kind : std::uint8_t {
    write,
    read,
    batch,        ///< all of the window as one transfer, and as one call of the kernel
    write_notify, ///< each tells the peer, which counts them; the plain code tells nobody
};

struct moves {
    std::size_t bytes;
    unsigned window = 1;
    perf::kind kind = perf::kind::write;
    bool huge_pages = false; ///< as pools for caches best have them; else memory is in pages of 4 KiB
};

constexpr moves cases[] = {{4_KiB},
                           {16_KiB},
                           {64_KiB},
                           {128_KiB},
                           {1_MiB},
                           {4_KiB, 16},
                           {64_KiB, 16},
                           {1_MiB, 16},
                           {4_KiB, 16, kind::batch},
                           {4_KiB, 1, kind::read},
                           {64_KiB, 1, kind::read},
                           {1_MiB, 1, kind::read},
                           {4_KiB, 16, kind::read},
                           {64_KiB, 16, kind::read},
                           {4_KiB, 1, kind::write_notify},
                           {4_KiB, 16, kind::write_notify},
                           {64_KiB, 1, kind::write, true},
                           {1_MiB, 1, kind::write, true},
                           {1_MiB, 16, kind::write, true},
                           {64_KiB, 1, kind::read, true},
                           {1_MiB, 1, kind::read, true}};
constexpr std::size_t area_bytes = 64_MiB;
constexpr std::uint32_t at_once = 64; ///< notifications that are counted by one wait

std::string name_of(const moves& m)
{
    constexpr const char* names[] = {"", "read/", "batch/", "write_notify/"};
    const bool large = m.bytes >= 1_MiB;
    const std::string size = std::to_string(m.bytes / (large ? 1_MiB : 1_KiB)) + (large ? "MiB" : "KiB");
    return std::string{"fabric/same_host/"} + (m.huge_pages ? "huge_pages/" : "") + names[static_cast<std::size_t>(m.kind)] + size +
           (m.window == 1 ? "" : "/w" + std::to_string(m.window));
}

wye::agent_options knowing_it()
{
    wye::agent_options o;
    o.peers.secret = "perf";
    return o;
}

void spawn(wye::runtime& rt, wye::task<> t)
{
    asio::co_spawn(rt, std::move(t), [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
    });
}

/// Memory to copy from or to, all of it there.
class area {
public:
    explicit area(bool huge_pages) : at_{static_cast<std::byte*>(std::aligned_alloc(2_MiB, area_bytes))}
    {
        if (!at_) throw std::bad_alloc{};
        ::madvise(at_, area_bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        std::memset(at_, 1, area_bytes);
    }
    ~area() { std::free(at_); }
    area(const area&) = delete;
    std::byte* data() const noexcept { return at_; }
    std::span<std::byte> bytes() const noexcept { return {at_, area_bytes}; }

private:
    std::byte* at_;
};

/// What the other process says of itself, and then its metadata.
struct introduction {
    std::uint64_t landed[2]{}; ///< where its memory is, in small pages and in huge ones
    std::uint64_t bytes = 0;   ///< of metadata
};

/// The other process. Ends when `input` does.
class target {
public:
    target(int input, int output) : input_{rt_.io(), input}, output_{output} {}
    void run()
    {
        there_.add(wye::make_same_host());
        spawn(rt_, serve());
        spawn(rt_, count());
        rt_.run();
    }

private:
    wye::task<> serve()
    {
        pool_ = co_await there_.register_memory(wye::dram(landed_.bytes()));
        huge_pool_ = co_await there_.register_memory(wye::dram(huge_.bytes()));
        co_await there_.publish("kv", pool_);
        co_await there_.publish("huge", huge_pool_);
        introduce();
        char end;
        try {
            co_await asio::async_read(input_, asio::buffer(&end, 1), asio::use_awaitable);
        } catch (const boost::system::system_error&) {
            ::_exit(0);
        }
    }
    void introduce()
    {
        const std::vector<std::byte> how = there_.metadata();
        const introduction about{
            {reinterpret_cast<std::uintptr_t>(landed_.data()), reinterpret_cast<std::uintptr_t>(huge_.data())}, how.size()};
        if (::write(output_, &about, sizeof about) < 0 || ::write(output_, how.data(), how.size()) < 0) ::_exit(1);
    }
    wye::task<> count()
    {
        for (;;) {
            const wye::wanted some{.key = "page", .count = at_once};
            co_await there_.notified(some);
        }
    }

    area landed_{false}, huge_{true};
    wye::runtime rt_;
    wye::agent there_{rt_, "there", knowing_it()};
    wye::region pool_, huge_pool_;
    asio::posix::stream_descriptor input_;
    int output_;
};

/// That process, and what it said.
class other_process {
public:
    other_process()
    {
        int in[2], out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        id = ::fork();
        if (id < 0) throw std::runtime_error{"no process"};
        if (id == 0) {
            ::close(in[1]);
            ::close(out[0]);
            try {
                const pinned there{1};
                target{in[0], out[1]}.run();
            } catch (...) {
            }
            ::_exit(1);
        }
        ::close(in[0]);
        ::close(out[1]);
        input_ = in[1];
        introduction about;
        take(out[0], &about, sizeof about);
        metadata.resize(about.bytes);
        take(out[0], metadata.data(), about.bytes);
        std::ranges::copy(about.landed, landed);
        ::close(out[0]);
    }
    ~other_process()
    {
        ::close(input_);
        ::waitpid(id, nullptr, 0);
    }
    other_process(const other_process&) = delete;

    pid_t id;
    std::uint64_t landed[2]{};
    std::vector<std::byte> metadata;

private:
    static void take(int fd, void* to, std::size_t n)
    {
        for (auto* at = static_cast<char*>(to); n != 0;) {
            const auto got = ::read(fd, at, n);
            if (got <= 0) throw std::runtime_error{"the other process said nothing"};
            at += got;
            n -= static_cast<std::size_t>(got);
        }
    }
    int input_;
};

class bench {
public:
    bench()
    {
        here_.add(wye::make_same_host());
        spawn(rt_, open());
        rt_.run();
    }

    double megabytes_per_second_ours(const moves& m, std::size_t operations)
    {
        left_ = operations;
        const auto begin = clock::now();
        if (m.kind == kind::batch) spawn(rt_, batches(m));
        else
            for (unsigned slot = 0; slot < m.window; ++slot)
                spawn(rt_, m.kind == kind::write_notify ? tell(m, slot) : work(m, slot));
        rt_.run();
        return rate(m, operations, seconds_since(begin));
    }
    double megabytes_per_second_raw(const moves& m, std::size_t operations)
    {
        const auto begin = clock::now();
        const unsigned at_a_time = m.kind == kind::batch ? m.window : 1;
        std::vector<iovec> here(at_a_time), there(at_a_time);
        std::byte* const sent = (m.huge_pages ? huge_ : sent_).data();
        const std::uint64_t landed = other_.landed[m.huge_pages];
        for (std::size_t i = 0; i < operations; i += at_a_time) {
            for (unsigned part = 0; part < at_a_time; ++part) {
                const std::size_t at = (i + part) % m.window * m.bytes;
                here[part] = {sent + at, m.bytes};
                there[part] = {reinterpret_cast<void*>(landed + at), m.bytes};
            }
            const ssize_t moved = m.kind == kind::read
                                      ? ::process_vm_readv(other_.id, here.data(), at_a_time, there.data(), at_a_time, 0)
                                      : ::process_vm_writev(other_.id, here.data(), at_a_time, there.data(), at_a_time, 0);
            if (moved != static_cast<ssize_t>(m.bytes * at_a_time)) throw std::runtime_error{"process_vm_writev does not work here"};
        }
        return rate(m, operations, seconds_since(begin));
    }

private:
    wye::task<> open()
    {
        from_ = co_await here_.register_memory(wye::dram(sent_.bytes()));
        huge_from_ = co_await here_.register_memory(wye::dram(huge_.bytes()));
        to_ = co_await here_.connect(other_.metadata);
        kv_ = to_.published("kv");
        huge_kv_ = to_.published("huge");
    }
    wye::transfer written(const moves& m, unsigned slot)
    {
        return {(m.huge_pages ? huge_from_ : from_).block(slot, m.bytes), (m.huge_pages ? huge_kv_ : kv_).block(slot, m.bytes)};
    }
    wye::task<> work(moves m, unsigned slot)
    {
        auto [from, to] = written(m, slot);
        if (m.kind == kind::read) std::swap(from, to);
        for (; left_ != 0;) {
            --left_;
            co_await wye::copy(from, to);
        }
    }
    wye::task<> tell(moves m, unsigned slot)
    {
        const auto [from, to] = written(m, slot);
        wye::copy_options o;
        o.notify = "page";
        for (; left_ != 0;) {
            --left_;
            co_await wye::copy(from, to, o);
        }
    }
    wye::task<> batches(moves m)
    {
        std::vector<wye::transfer> all;
        for (unsigned i = 0; i < m.window; ++i) all.push_back(written(m, i));
        for (; left_ >= m.window; left_ -= m.window) co_await wye::copy(all);
    }
    static double rate(const moves& m, std::size_t operations, double seconds)
    {
        return static_cast<double>(m.bytes * operations) / seconds / 1e6;
    }

    other_process other_; // before there is a thread
    area sent_{false}, huge_{true};
    wye::runtime rt_;
    wye::agent here_{rt_, "here", knowing_it()};
    wye::region from_, huge_from_;
    wye::peer to_;
    wye::slice kv_, huge_kv_;
    std::size_t left_ = 0;
};

constexpr std::size_t slices = 18; ///< that the time of a case is cut into

result measure(bench& b, const settings& s, const moves& m)
{
    b.megabytes_per_second_ours(m, m.window);
    const double guess = b.megabytes_per_second_raw(m, 4 * m.window);
    const double wanted = guess * 1e6 * s.seconds / slices / static_cast<double>(m.bytes);
    const std::size_t n = std::max<std::size_t>(static_cast<std::size_t>(wanted) / m.window, 4) * m.window;
    result r{name_of(m), "MB/s", {}, {}, {}, {}, "two processes, each on a processor of its own"};
    const auto ours = [&] { return b.megabytes_per_second_ours(m, n); };
    if (!s.against_raw) {
        r.ours = median(repeat(s.seconds, 5, ours));
        return r;
    }
    const paired p = alternate(s.seconds, 5, ours, [&] { return b.megabytes_per_second_raw(m, n); });
    r.ours = p.ours;
    r.raw = p.raw;
    r.ratio = p.ratio;
    return r;
}

} // namespace

void run_same_host(const settings& s, report& r)
{
#ifdef WYE_HAS_CUDA
    run_same_host_gpus(s, r); // first: no child of a process that has looked for GPUs can use them
#endif
    if (std::ranges::none_of(cases, [&](const moves& m) { return r.wants(name_of(m)); })) return;
    bench b;
    const pinned here{0};
    for (const moves& m : cases)
        if (r.wants(name_of(m))) r.add(measure(b, s, m));
}

} // namespace perf
