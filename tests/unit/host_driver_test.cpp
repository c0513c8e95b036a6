// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE host_driver
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <wye/drivers.hpp>

#include "support/driver_seam.hpp"

using namespace wye;

namespace {

std::vector<std::byte> pattern(std::size_t n, unsigned seed = 1)
{
    std::mt19937_64 random{seed};
    std::vector<std::byte> v(n);
    for (std::byte& b : v) b = static_cast<std::byte>(random());
    return v;
}

struct memory_segment : segment {
    memory_segment(wye::tier t, std::vector<std::byte>& bytes) : segment{t}
    {
        base = bytes.data();
        length = bytes.size();
    }
};

seam::chunk chunk_of(slice from, slice to)
{
    seam::chunk c;
    c.from = from;
    c.to = to;
    return c;
}

const turn long_over{turn::clock::now() - std::chrono::seconds{1}};

} // namespace

BOOST_AUTO_TEST_CASE(moves_every_byte)
{
    const auto d = drivers::host();
    auto from = pattern(3_MiB), to = std::vector<std::byte>(3_MiB);
    memory_segment a{tier::dram, from}, b{tier::dram, to};
    for (const std::size_t n : {0_KiB, 1_KiB - 1, 1_KiB, 4_KiB + 1, 32_KiB, 32_KiB + 1, 1_MiB}) {
        std::fill(to.begin(), to.end(), std::byte{0});
        auto c = chunk_of({&a, 5, n}, {&b, 9, n});
        seam::move(*d, c);
        BOOST_TEST((c.ends == 1 && !c.error && c.bytes == n));
        BOOST_TEST(std::memcmp(from.data() + 5, to.data() + 9, n) == 0);
        BOOST_TEST((to[8] == std::byte{0} && to[9 + n] == std::byte{0}));
    }
}

// Nothing is copied, and nothing ends, inside submit.
BOOST_AUTO_TEST_CASE(submit_only_queues)
{
    const auto d = drivers::host();
    auto from = pattern(64), to = std::vector<std::byte>(64);
    memory_segment a{tier::dram, from}, b{tier::dram, to};
    auto c = chunk_of({&a, 0, 64}, {&b, 0, 64});
    BOOST_TEST(d->submit(c));
    BOOST_TEST(c.ends == 0);
    BOOST_TEST((to == std::vector<std::byte>(64)));
    BOOST_TEST(d->poll({}) == 1u);
    BOOST_TEST(c.ends == 1);
    BOOST_TEST(d->poll({}) == 0u);
}

// The two sides of a chunk may overlap, either way, however many polls it takes.
BOOST_AUTO_TEST_CASE(overlap_is_memmove)
{
    const auto d = drivers::host();
    std::mt19937 random{7};
    for (int round = 0; round < 200; ++round) {
        auto bytes = pattern(300'000, 3);
        auto expected = bytes;
        memory_segment s{tier::dram, bytes};
        const std::size_t n = 1 + random() % 200'000, from = random() % 100'000, to = random() % 100'000;
        std::memmove(expected.data() + to, expected.data() + from, n);
        auto c = chunk_of({&s, from, n}, {&s, to, n});
        d->submit(c);
        while (c.ends == 0) d->poll(long_over);
        BOOST_TEST_REQUIRE((bytes == expected), "from " << from << " to " << to << " bytes " << n);
    }
}

// A budget that is spent stops the copying after one slice, in mid-chunk; a poll without one is bounded too.
BOOST_AUTO_TEST_CASE(a_poll_is_short)
{
    const auto d = drivers::host();
    auto from = pattern(1_MiB), to = std::vector<std::byte>(1_MiB);
    memory_segment a{tier::dram, from}, b{tier::dram, to};
    auto c = chunk_of({&a, 0, 1_MiB}, {&b, 0, 1_MiB});
    d->submit(c);
    std::size_t polls = 0;
    while (c.ends == 0) {
        BOOST_TEST_REQUIRE(d->poll(long_over) != 0u); // which counts as progress
        ++polls;
        const std::size_t copied = polls * 32_KiB;
        BOOST_TEST_REQUIRE(std::memcmp(from.data(), to.data(), copied) == 0);
        const bool all = copied == to.size();
        BOOST_TEST_REQUIRE((all || std::memcmp(from.data() + copied, to.data() + copied, 64) != 0));
    }
    BOOST_TEST(polls == 32u);

    std::vector<seam::chunk> many(4, c);
    for (auto& m : many) {
        m.ends = 0;
        d->submit(m);
    }
    d->poll({});
    BOOST_TEST((many[0].ends == 1 && many[3].ends == 0));
    seam::drive(*d, [&] { return many[3].ends == 1; });
}

// An urgent chunk overtakes one that is half done, which then goes on where it was.
BOOST_AUTO_TEST_CASE(urgent_overtakes)
{
    const auto d = drivers::host();
    auto from = pattern(1_MiB), to = std::vector<std::byte>(1_MiB), fast = std::vector<std::byte>(4096);
    memory_segment a{tier::dram, from}, b{tier::dram, to}, f{tier::dram, fast};
    auto slow = chunk_of({&a, 0, 1_MiB}, {&b, 0, 1_MiB}), urgent = chunk_of({&a, 0, 4096}, {&f, 0, 4096});
    urgent.urgent = true;
    d->submit(slow);
    d->poll(long_over);
    d->submit(urgent);
    d->poll(long_over);
    BOOST_TEST((urgent.ends == 1 && slow.ends == 0));
    seam::drive(*d, [&] { return slow.ends == 1; });
    BOOST_TEST((from == to));
}

// What a completion submits is served too.
BOOST_AUTO_TEST_CASE(submits_from_done)
{
    const auto d = drivers::host();
    auto from = pattern(256), to = std::vector<std::byte>(256);
    memory_segment a{tier::dram, from}, b{tier::dram, to};
    auto first = chunk_of({&a, 0, 128}, {&b, 0, 128}), second = chunk_of({&a, 128, 128}, {&b, 128, 128});
    first.then = [&] { d->submit(second); };
    d->submit(first);
    seam::drive(*d, [&] { return second.ends == 1; });
    BOOST_TEST((from == to));
}

// Each carries its own pairs and no other, so that everything else is staged as on a real machine.
BOOST_AUTO_TEST_CASE(carries_its_pairs)
{
    std::vector<std::byte> bytes(1);
    const auto host = drivers::host(), standin = drivers::vram_standin();
    for (const tier from : {tier::dram, tier::vram, tier::file, tier::block, tier::object})
        for (const tier to : {tier::dram, tier::vram, tier::file, tier::block, tier::object}) {
            memory_segment a{from, bytes}, b{to, bytes};
            const bool memory = from <= tier::vram && to <= tier::vram;
            const bool dram = from == tier::dram && to == tier::dram;
            BOOST_TEST(host->carries({&a, 0, 1}, {&b, 0, 1}) == dram);
            BOOST_TEST(standin->carries({&a, 0, 1}, {&b, 0, 1}) == (memory && !dram));
        }
    BOOST_TEST(host->name() == "host");
    BOOST_TEST(standin->name() == "vram_standin");
    BOOST_TEST((host->wait_handle() == -1 && standin->wait_handle() == -1));
}

BOOST_AUTO_TEST_CASE(standin_moves_both_ways)
{
    const auto d = drivers::vram_standin();
    auto dram = pattern(100'000), vram = std::vector<std::byte>(100'000), back = vram;
    memory_segment a{tier::dram, dram}, v{tier::vram, vram}, b{tier::dram, back};
    auto up = chunk_of({&a, 0, 100'000}, {&v, 0, 100'000});
    auto down = chunk_of({&v, 0, 100'000}, {&b, 0, 100'000});
    seam::move(*d, up);
    seam::move(*d, down);
    BOOST_TEST((dram == back));
}
