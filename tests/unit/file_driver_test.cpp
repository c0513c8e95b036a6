// SPDX-License-Identifier: Apache-2.0
// The file driver at its seam: bytes, alignment, ends of files, order and budget.
#define BOOST_TEST_MODULE file_driver
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <random>
#include <thread>

#include <wye/error.hpp>

#include "file/pieces.hpp"
#include "file_seam.hpp"

using namespace seam;
using wye::caching;
using wye::drivers::file_engine;

namespace {

/// io_uring, where there is one, and threads.
std::vector<file_engine> engines()
{
    static const bool uring = world{file_engine::automatic}.driver->name() == "file/io_uring";
    if (uring) return {file_engine::uring, file_engine::threads};
    BOOST_TEST_MESSAGE("no io_uring here: only threads are tested");
    return {file_engine::threads};
}

template <class Body>
void on_each_engine(Body body)
{
    for (const file_engine e : engines()) {
        world w{e};
        BOOST_TEST_CONTEXT(w.driver->name()) { body(w); }
    }
}

template <class Body>
void on_each_engine_and_caching(Body body)
{
    on_each_engine([&](world& w) {
        for (const caching c : {caching::direct, caching::buffered})
            BOOST_TEST_CONTEXT((c == caching::direct ? "direct" : "buffered")) { body(w, c); }
    });
}

bool all_pattern(const std::byte* bytes, std::size_t n, std::uint32_t seed, std::uint64_t at)
{
    for (std::size_t i = 0; i < n; ++i)
        if (bytes[i] != dram::pattern(seed, at + i)) return false;
    return true;
}

} // namespace

// ---- Cutting --------------------------------------------------------------------------------------------

// Whatever the offset, length and address, the pieces cover the transfer, go forward, and what goes straight
// to the device is aligned.
BOOST_AUTO_TEST_CASE(pieces_cover_and_align)
{
    using namespace wye::storage;
    const alignment a{4096, 512};
    std::mt19937 random{7};
    for (int round = 0; round < 20000; ++round) {
        const std::uint64_t offset = random() % 20000 * (random() % 2 ? 1 : 512);
        const std::uint64_t length = 1 + random() % 300000;
        const std::uintptr_t address = (1u << 20) + random() % 8192;
        for (const bool write : {false, true}) {
            std::uint64_t moved = 0;
            while (moved < length) {
                const std::uint64_t left = length - moved;
                const piece p =
                    (write ? cut_write : cut_read)(offset + moved, left, address + moved, a, 65536);
                const std::uint64_t start = offset + moved - p.skip;
                if (p.how != way::cached) BOOST_REQUIRE(start % a.granule == 0 && p.length % a.granule == 0);
                if (p.how == way::straight)
                    BOOST_REQUIRE((address + moved) % a.memory == 0 && p.length <= left);
                if (p.how == way::bounced) BOOST_REQUIRE(p.length <= 65536);
                if (write)
                    BOOST_REQUIRE(p.skip == 0 && p.length <= left);
                else
                    BOOST_REQUIRE(p.how != way::cached);
                BOOST_REQUIRE(p.length > p.skip);
                moved += std::min<std::uint64_t>(p.length - p.skip, left);
            }
            BOOST_REQUIRE(moved == length);
        }
    }
}

// Aligned transfers are one straight piece; and when only the head is off, the rest still goes straight.
BOOST_AUTO_TEST_CASE(pieces_are_few)
{
    using namespace wye::storage;
    const alignment a{4096, 512};
    BOOST_TEST(bool(cut_read(8192, 1_MiB, 1_MiB, a, 65536).how == way::straight));
    BOOST_TEST(cut_read(8192, 1_MiB, 1_MiB, a, 65536).length == 1_MiB);
    BOOST_TEST(cut_write(8192, 1_MiB + 5, 1_MiB, a, 65536).length == 1_MiB);
    const piece head = cut_read(1024, 1_MiB, 1_MiB + 1024, a, 65536);
    BOOST_TEST(bool(head.how == way::bounced));
    BOOST_TEST(head.length == 4096u);
    BOOST_TEST(head.skip == 1024u);
}

// ---- Bytes ----------------------------------------------------------------------------------------------

// Any memory, offset and length: what was written is there, what surrounds it is untouched, and it reads
// back.
BOOST_AUTO_TEST_CASE(alignment_matrix)
{
    constexpr std::size_t file_bytes = 384_KiB;
    const scratch dir;
    on_each_engine_and_caching([&](world& w, caching c) {
        const std::string path = dir / "matrix";
        make_file(path, file_bytes, 1);
        dram expected{file_bytes}, out{256_KiB}, in{256_KiB};
        expected.fill(1);
        const auto file = w.open(path, c);
        std::uint32_t seed = 2;
        for (const std::size_t shift : {0, 1, 16, 512, 2048})
            for (const std::size_t offset : {0, 1, 512, 4095, 4096, 65535})
                for (const std::size_t length : {1, 100, 512, 4096, 4097, 8192, 65536, 70001, 200000}) {
                    out.fill(++seed);
                    BOOST_REQUIRE(w.copy(out.at(shift, length), at(file, offset, length)).bytes == length);
                    std::memcpy(expected.base + offset, out.base + shift, length);

                    std::memset(in.base, 0x5a, in.length);
                    BOOST_REQUIRE(w.copy(at(file, offset, length), in.at(shift, length)).bytes == length);
                    BOOST_TEST_INFO("shift " << shift << " offset " << offset << " length " << length);
                    BOOST_REQUIRE(std::memcmp(in.base + shift, out.base + shift, length) == 0);
                    BOOST_REQUIRE(std::count(in.base, in.base + in.length, std::byte{0x5a}) >=
                                  static_cast<std::ptrdiff_t>(in.length - length));
                    BOOST_REQUIRE(in.base[shift + length] == std::byte{0x5a});
                    BOOST_REQUIRE((shift == 0 || in.base[shift - 1] == std::byte{0x5a}));
                }
        const auto now = contents(path);
        BOOST_TEST(now.size() == file_bytes);
        BOOST_TEST(std::memcmp(now.data(), expected.base, file_bytes) == 0);
    });
}

// Adjacent writes that share blocks, all in flight at once, lose nothing of each other.
BOOST_AUTO_TEST_CASE(concurrent_neighbours)
{
    constexpr std::size_t total = 2_MiB;
    const scratch dir;
    on_each_engine_and_caching([&](world& w, caching c) {
        std::mt19937 random{11};
        for (std::uint32_t round = 0; round < 5; ++round) {
            const std::string path = dir / "neighbours";
            make_file(path, total, 1000 + round);
            dram source{total};
            source.fill(round);
            const auto file = w.open(path, c);
            std::deque<loan> loans;
            std::vector<std::pair<std::uint64_t, std::uint64_t>> cuts;
            for (std::uint64_t at = 0; at < total;) {
                const std::uint64_t n = std::min<std::uint64_t>(1 + random() % 9000, total - at);
                cuts.emplace_back(at, n);
                at += n;
            }
            std::shuffle(cuts.begin(), cuts.end(), random);
            for (const auto& [offset, n] : cuts)
                w.submit(loans.emplace_back(), source.at(offset, n), at(file, offset, n));
            w.until(all_over(loans));
            for (const loan& l : loans) BOOST_REQUIRE((!l.error && l.bytes == l.from.length));
            const auto now = contents(path);
            BOOST_REQUIRE(now.size() == total);
            BOOST_TEST(all_pattern(now.data(), total, round, 0));
        }
    });
}

// The file ends where the last byte was written, to the byte.
BOOST_AUTO_TEST_CASE(exact_size)
{
    const scratch dir;
    dram source{2_MiB};
    source.fill(3);
    on_each_engine_and_caching([&](world& w, caching c) {
        const std::string path = dir / "size";
        ::unlink(path.c_str());
        const auto file = w.open(path, c);
        BOOST_TEST(size_of(path) == 0u);
        for (const auto& [offset, length] :
             {std::pair{0u, 100u}, {5000u, 100u}, {8192u, 4096u}, {12000u, 1048676u}}) {
            BOOST_TEST(w.copy(source.at(0, length), at(file, offset, length)).bytes == length);
            BOOST_TEST(size_of(path) == offset + length);
        }
        const auto now = contents(path);
        BOOST_TEST(all_pattern(now.data(), 100, 3, 0));
        BOOST_TEST(bool(now[100] == std::byte{})); // a hole
        BOOST_TEST(all_pattern(now.data() + 12000, 1048676, 3, 0));
    });
}

// A read past the end brings what there is, then nothing, and touches no more memory than that.
BOOST_AUTO_TEST_CASE(short_at_the_end)
{
    const scratch dir;
    on_each_engine_and_caching([&](world& w, caching c) {
        const std::string path = dir / "short";
        make_file(path, 10000, 4);
        const auto file = w.open(path, c);
        for (const std::size_t shift : {0, 7}) {
            dram in{64_KiB};
            std::memset(in.base, 0x5a, in.length);
            const outcome o = w.copy(at(file, 0, 32_KiB), in.at(shift, 32_KiB));
            BOOST_TEST(!o.error);
            BOOST_TEST(o.bytes == 10000u);
            BOOST_TEST(all_pattern(in.base + shift, 10000, 4, 0));
            BOOST_TEST(w.copy(at(file, 9000, 4096), in.at(shift, 4096)).bytes == 1000u);
            BOOST_TEST(w.copy(at(file, 10000, 1), in.at(shift, 1)).bytes == 0u);
            BOOST_TEST(w.copy(at(file, 1_GiB, 8192), in.at(shift, 8192)).bytes == 0u);
        }
    });
}

// Bytes that are not in the page cache come from the disk, and those that are partly there too.
BOOST_AUTO_TEST_CASE(buffered_but_not_cached)
{
    const scratch dir;
    const std::string path = dir / "cold";
    make_file(path, 4_MiB, 5);
    on_each_engine([&](world& w) {
        const auto file = w.open(path, caching::buffered);
        const int fd = ::open(path.c_str(), O_RDWR);
        BOOST_REQUIRE(::fdatasync(fd) == 0);
        BOOST_REQUIRE(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
        BOOST_REQUIRE(::posix_fadvise(fd, 1_MiB, 1_MiB, POSIX_FADV_WILLNEED) == 0);
        ::close(fd);
        dram in{4_MiB};
        BOOST_TEST(w.copy(at(file, 0, 4_MiB), in.at(0, 4_MiB)).bytes == 4_MiB);
        BOOST_TEST(all_pattern(in.base, 4_MiB, 5, 0));
    });
}

// Memory that the kernel knows ahead works like any other: at its start, across the stretches it is pinned
// in, and after it was dismissed.
BOOST_AUTO_TEST_CASE(registered_memory)
{
    const scratch dir;
    on_each_engine([&](world& w) {
        const std::string path = dir / "registered";
        dram memory{65_MiB};
        memory.fill(6);
        BOOST_TEST(!w.enlist(memory));
        BOOST_TEST((memory.notes[w.driver->id()] != 0) == (w.driver->name() == "file/io_uring"));
        const auto file = w.open(path);
        for (const std::uint64_t offset : {0_MiB, 63_MiB + 512_KiB, 64_MiB}) {
            BOOST_TEST(w.copy(memory.at(offset, 1_MiB), at(file, 0, 1_MiB)).bytes == 1_MiB);
            BOOST_TEST(all_pattern(contents(path).data(), 1_MiB, 6, offset));
            BOOST_TEST(w.copy(at(file, 0, 1_MiB), memory.at(8_MiB, 1_MiB)).bytes == 1_MiB);
            BOOST_TEST(all_pattern(memory.base + 8_MiB, 1_MiB, 6, offset));
        }
        w.driver->dismiss(memory);
        BOOST_TEST(memory.notes[w.driver->id()] == 0u);
        BOOST_TEST(w.copy(at(file, 0, 1_MiB), memory.at(4_MiB, 1_MiB)).bytes == 1_MiB);
        BOOST_TEST(all_pattern(memory.base + 4_MiB, 1_MiB, 6, 64_MiB));
    });
}

// Few bounce buffers: chunks wait for one another, and all end.
BOOST_AUTO_TEST_CASE(one_bounce_buffer)
{
    const scratch dir;
    for (const file_engine e : engines()) {
        wye::drivers::file_driver_options o;
        o.bounce_bytes = 4_KiB;
        world w{e, o};
        const std::string path = dir / "bounce";
        make_file(path, 256_KiB, 7);
        const auto file = w.open(path);
        dram in{512_KiB};
        std::deque<loan> loans;
        for (std::uint64_t i = 0; i < 16; ++i)
            w.submit(loans.emplace_back(), at(file, i * 16_KiB, 16_KiB), in.at(i * 16_KiB + 1, 16_KiB));
        w.until(all_over(loans));
        BOOST_TEST(all_pattern(in.base + 1, 256_KiB, 7, 0));
    }
}

// ---- Order, budget, back-pressure -----------------------------------------------------------------------

// An urgent chunk passes those that are queued before it.
BOOST_AUTO_TEST_CASE(urgent_first)
{
    const scratch dir;
    const std::string path = dir / "urgent";
    make_file(path, 1_MiB, 8);
    on_each_engine([&](world& w) {
        const auto file = w.open(path, caching::buffered);
        dram in{1_MiB};
        BOOST_REQUIRE(w.copy(at(file, 0, 1_MiB), in.at(0, 1_MiB)).bytes == 1_MiB); // cached, and known to be
        std::deque<loan> loans(8);
        loans.back().urgent = true;
        for (std::uint64_t i = 0; i < 8; ++i)
            w.submit(loans[i], at(file, i * 4096, 4096), in.at(i * 4096, 4096));
        w.until(all_over(loans));
        for (std::size_t i = 0; i + 1 < loans.size(); ++i) BOOST_TEST(loans.back().turn < loans[i].turn);
    });
}

// A poll whose budget is spent copies one small piece and no more, and yet all comes to its end.
BOOST_AUTO_TEST_CASE(poll_keeps_its_budget)
{
    const scratch dir;
    const std::string path = dir / "budget";
    make_file(path, 1_MiB, 9);
    on_each_engine([&](world& w) {
        const auto file = w.open(path, caching::buffered);
        dram in{1_MiB};
        BOOST_REQUIRE(w.copy(at(file, 0, 1_MiB), in.at(0, 1_MiB)).bytes == 1_MiB);
        const wye::turn spent{std::chrono::steady_clock::now()};
        std::deque<loan> loans(4);
        for (std::uint64_t i = 0; i < 4; ++i)
            w.submit(loans[i], at(file, i * 256_KiB, 256_KiB), in.at(i * 256_KiB, 256_KiB));
        const unsigned before = ended;
        for (unsigned polls = 1; ended != before + 4; ++polls) {
            w.driver->poll(spent);
            BOOST_REQUIRE((ended - before) * 256_KiB <= polls * 64_KiB);
        }
        BOOST_TEST(all_pattern(in.base, 1_MiB, 9, 0));
    });
}

// No more is taken than fits, and what is refused is taken after a poll.
BOOST_AUTO_TEST_CASE(back_pressure)
{
    const scratch dir;
    for (const file_engine e : engines()) {
        wye::drivers::file_driver_options o;
        o.queue_depth = 4;
        world w{e, o};
        const std::string path = dir / "pressure";
        make_file(path, 1_MiB, 10);
        const auto file = w.open(path);
        dram in{1_MiB};
        std::deque<loan> loans(5);
        for (std::uint64_t i = 0; i < 5; ++i) {
            loans[i].from = at(file, i * 4096, 4096), loans[i].to = in.at(i * 4096, 4096);
            BOOST_TEST(w.driver->submit(loans[i]) == (i < 4));
        }
        BOOST_TEST(w.driver->limits().window_chunks == 4u);
        w.until([&] { return loans[0].over || loans[1].over || loans[2].over || loans[3].over; });
        BOOST_TEST(w.driver->submit(loans[4]));
        w.until(all_over(loans));
        BOOST_TEST(all_pattern(in.base, 5 * 4096, 10, 0));
    }
}

// ---- Sleeping, threads, the end -------------------------------------------------------------------------

// Who sleeps on the descriptor is woken by a read and by an open.
BOOST_AUTO_TEST_CASE(descriptor_wakes)
{
    const scratch dir;
    const std::string path = dir / "wakes";
    make_file(path, 4_MiB, 12);
    on_each_engine([&](world& w) {
        const auto sleep_until = [&](auto done) {
            w.driver->flush();
            while (!done()) {
                if (w.driver->poll(wye::turn{}) != 0 || !w.driver->arm()) continue;
                pollfd wait{w.driver->wait_handle(), POLLIN, 0};
                int woken;
                do woken = ::poll(&wait, 1, 30'000);
                while (woken < 0 && errno == EINTR);
                BOOST_REQUIRE(woken == 1);
            }
        };
        std::unique_ptr<wye::segment> file;
        w.driver->open_file(path, {},
                            [&](wye::error_code, std::unique_ptr<wye::segment> s) { file = std::move(s); });
        BOOST_TEST(w.driver->busy());
        sleep_until([&] { return file != nullptr; });
        BOOST_TEST(!w.driver->busy());
        dram in{4_MiB};
        for (std::uint64_t i = 0; i < 200; ++i) {
            loan l;
            w.submit(l, at(file, i * 4096, 4096), in.at(i * 4096, 4096));
            sleep_until([&] { return l.over; });
        }
        BOOST_TEST(all_pattern(in.base, 200 * 4096, 12, 0));
    });
}

// A runtime may go from one thread to another with transfers in flight, even when the first thread ends.
BOOST_AUTO_TEST_CASE(another_thread_takes_over)
{
    const scratch dir;
    const std::string path = dir / "moves";
    make_file(path, 4_MiB, 13);
    on_each_engine([&](world& w) {
        std::unique_ptr<wye::segment> file;
        dram in{4_MiB};
        std::deque<loan> loans(32);
        std::thread first{[&] {
            file = w.open(path);
            for (std::uint64_t i = 0; i < 32; ++i)
                w.submit(loans[i], at(file, i * 128_KiB, 128_KiB), in.at(i * 128_KiB, 128_KiB));
            w.driver->flush();
        }};
        first.join();
        w.until(all_over(loans));
        for (const loan& l : loans) BOOST_TEST(!l.error);
        BOOST_TEST(all_pattern(in.base, 4_MiB, 13, 0));
    });
}

// A driver that goes ends what is in flight first: nobody writes to the memory afterwards.
BOOST_AUTO_TEST_CASE(destructor_drains)
{
    const scratch dir;
    const std::string path = dir / "drains";
    make_file(path, 16_MiB, 14);
    for (const file_engine e : engines())
        for (const std::size_t shift : {0, 3}) {
            dram in{17_MiB};
            std::deque<loan> loans(16);
            auto w = std::make_unique<world>(e);
            auto file = w->open(path);
            std::size_t left = loans.size();
            for (loan& l : loans)
                l.then = [&] {
                    if (--left == 0) file.reset();
                };
            for (std::uint64_t i = 0; i < 16; ++i)
                w->submit(loans[i], at(file, i * 1_MiB, 1_MiB), in.at(i * 1_MiB + shift, 1_MiB));
            w->driver->flush();
            bool opened = false;
            w->driver->open_file(
                path, {}, [&](wye::error_code error, std::unique_ptr<wye::segment>) { opened = !error; });
            w.reset();
            BOOST_TEST(left == 0u);
            BOOST_TEST(opened);
            BOOST_TEST(all_pattern(in.base + shift, 16_MiB, 14, 0));
        }
}
