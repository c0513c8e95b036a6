// SPDX-License-Identifier: Apache-2.0
#include "crc32c.hpp"

#include <wye/checksum.hpp>

#include <array>
#include <cstring>

#include <boost/crc.hpp>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace wye::detail {

namespace {

constexpr std::uint32_t polynomial = 0x82f63b78; // bit-reversed 0x1edc6f41

/// a * b modulo the polynomial, bit-reversed: the highest bit is the constant term.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) noexcept
{
    std::uint32_t product = 0;
    for (std::uint32_t bit = 0x80000000u; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = (b >> 1) ^ ((b & 1) ? polynomial : 0);
    }
    return product;
}

/// x^(8 * 2^k): what 2^k zero bytes multiply by.
constexpr auto powers = [] {
    std::array<std::uint32_t, 64> p{};
    p[0] = 0x00800000; // x^8
    for (std::size_t k = 1; k < p.size(); ++k) p[k] = multiply(p[k - 1], p[k - 1]);
    return p;
}();

std::uint32_t extend_by_table(std::uint32_t sum, const void* data, std::size_t bytes) noexcept
{
    // Boost takes the remainder in normal bit order.
    std::uint32_t reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= ((sum >> bit) & 1u) << (31 - bit);
    boost::crc_optimal<32, 0x1edc6f41, 0, 0, true, true> crc{reversed};
    crc.process_bytes(data, bytes);
    return crc.checksum();
}

#if defined(__x86_64__)

constexpr std::size_t lane_bytes = 1024;

std::uint64_t word(const std::uint8_t* p) noexcept
{
    std::uint64_t w;
    std::memcpy(&w, p, sizeof w);
    return w;
}

/// The instruction takes three cycles and starts every cycle: three streams at once keep it busy.
__attribute__((target("sse4.2"))) std::uint32_t extend_by_instruction(std::uint32_t sum, const void* data,
                                                                      std::size_t bytes) noexcept
{
    static const std::uint32_t one_lane = crc32c_shift(0x80000000u, lane_bytes);
    static const std::uint32_t two_lanes = crc32c_shift(0x80000000u, 2 * lane_bytes);
    auto p = static_cast<const std::uint8_t*>(data);
    for (; bytes >= 3 * lane_bytes; bytes -= 3 * lane_bytes, p += 3 * lane_bytes) {
        std::uint64_t a = sum, b = 0, c = 0;
        for (std::size_t i = 0; i < lane_bytes; i += 8) {
            a = _mm_crc32_u64(a, word(p + i));
            b = _mm_crc32_u64(b, word(p + lane_bytes + i));
            c = _mm_crc32_u64(c, word(p + 2 * lane_bytes + i));
        }
        sum = multiply(two_lanes, static_cast<std::uint32_t>(a)) ^
              multiply(one_lane, static_cast<std::uint32_t>(b)) ^ static_cast<std::uint32_t>(c);
    }
    std::uint64_t s = sum;
    for (; bytes >= 8; bytes -= 8, p += 8) s = _mm_crc32_u64(s, word(p));
    for (; bytes; --bytes, ++p) s = _mm_crc32_u8(static_cast<std::uint32_t>(s), *p);
    return static_cast<std::uint32_t>(s);
}

#endif

} // namespace

std::uint32_t crc32c_extend(std::uint32_t sum, const void* data, std::size_t bytes) noexcept
{
#if defined(__x86_64__)
    static const bool instruction = __builtin_cpu_supports("sse4.2");
    if (instruction) return extend_by_instruction(sum, data, bytes);
#endif
    return extend_by_table(sum, data, bytes);
}

std::uint32_t crc32c_shift(std::uint32_t sum, std::uint64_t bytes) noexcept
{
    for (std::size_t k = 0; bytes; ++k, bytes >>= 1)
        if (bytes & 1) sum = multiply(powers[k], sum);
    return sum;
}

std::uint32_t crc32c_finish(std::uint32_t sum, std::uint64_t bytes) noexcept
{
    return sum ^ crc32c_shift(0xffffffffu, bytes) ^ 0xffffffffu;
}

} // namespace wye::detail

std::uint32_t wye::crc32c(const void* data, std::size_t bytes, std::uint32_t so_far) noexcept
{
    return ~detail::crc32c_extend(~so_far, data, bytes);
}
