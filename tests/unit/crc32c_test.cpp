// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE crc32c
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

// The source itself, for the table that this machine may have no use for.
#include <crc32c.cpp>

using namespace wye::detail;

namespace {

using bytes = std::vector<unsigned char>;

/// One bit at a time, as RFC 3720 describes it.
std::uint32_t by_the_book(const bytes& b)
{
    std::uint32_t crc = 0xffffffffu;
    for (const unsigned char c : b) {
        crc ^= c;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
    }
    return ~crc;
}

std::uint32_t ours(const bytes& b) { return crc32c_finish(crc32c_extend(0, b.data(), b.size()), b.size()); }

bytes random_bytes(std::size_t n, unsigned seed)
{
    std::mt19937 random{seed};
    bytes b(n);
    for (unsigned char& c : b) c = static_cast<unsigned char>(random());
    return b;
}

} // namespace

// RFC 3720, appendix B.4.
BOOST_AUTO_TEST_CASE(known_vectors)
{
    bytes up(32), down(32);
    for (unsigned i = 0; i < 32; ++i) {
        up[i] = static_cast<unsigned char>(i);
        down[i] = static_cast<unsigned char>(31 - i);
    }
    BOOST_TEST(ours(bytes(32, 0x00)) == 0x8a9136aau);
    BOOST_TEST(ours(bytes(32, 0xff)) == 0x62a8ab43u);
    BOOST_TEST(ours(up) == 0x46dd794eu);
    BOOST_TEST(ours(down) == 0x113fdb5cu);
    constexpr std::string_view digits = "123456789";
    BOOST_TEST(ours(bytes(digits.begin(), digits.end())) == 0xe3069283u);
    BOOST_TEST(ours({}) == 0u);
}

// Around the lengths where the fast path changes its stride.
BOOST_AUTO_TEST_CASE(any_length_and_alignment)
{
    const bytes all = random_bytes(10'000, 1);
    for (const std::size_t n : {1, 7, 8, 9, 1023, 1024, 3071, 3072, 3073, 6143, 6144, 6145, 9000})
        for (const std::size_t at : {0, 1, 3, 8}) {
            const bytes b(all.begin() + static_cast<long>(at), all.begin() + static_cast<long>(at + n));
            BOOST_TEST(crc32c_finish(crc32c_extend(0, all.data() + at, n), n) == by_the_book(b));
        }
}

BOOST_AUTO_TEST_CASE(the_table_agrees)
{
    std::mt19937 random{2};
    for (int round = 0; round < 100; ++round) {
        const bytes b = random_bytes(random() % 5000, random());
        const std::uint32_t before = random();
        BOOST_TEST(extend_by_table(before, b.data(), b.size()) == crc32c_extend(before, b.data(), b.size()));
    }
}

// The sums of pieces, each shifted by what follows it, make the sum of the whole, in any order.
BOOST_AUTO_TEST_CASE(pieces_combine)
{
    std::mt19937 random{3};
    for (int round = 0; round < 100; ++round) {
        const bytes b = random_bytes(1 + random() % 20'000, random());
        std::uint32_t whole = 0;
        for (std::size_t at = 0; at < b.size();) {
            const std::size_t n = std::min<std::size_t>(b.size() - at, 1 + random() % 7000);
            whole ^= crc32c_shift(crc32c_extend(0, b.data() + at, n), b.size() - at - n);
            at += n;
        }
        BOOST_TEST(crc32c_finish(whole, b.size()) == by_the_book(b));
    }
}

BOOST_AUTO_TEST_CASE(shifting_is_adding_zeros)
{
    const bytes zeros(5000);
    for (const std::size_t n : {0, 1, 2, 255, 256, 4999})
        BOOST_TEST(crc32c_shift(0x12345678u, n) == crc32c_extend(0x12345678u, zeros.data(), n));
    BOOST_TEST(crc32c_shift(crc32c_shift(77, std::uint64_t{1} << 40), 5) == crc32c_shift(77, (std::uint64_t{1} << 40) + 5));
}

// Finishing twice gives the linear sum back: that is how a stored checksum is compared.
BOOST_AUTO_TEST_CASE(finish_is_its_own_inverse)
{
    for (const std::uint64_t n : {0ull, 1ull, 4096ull, 1ull << 33})
        BOOST_TEST(crc32c_finish(crc32c_finish(0xdeadbeefu, n), n) == 0xdeadbeefu);
}
