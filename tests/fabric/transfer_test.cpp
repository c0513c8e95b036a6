// SPDX-License-Identifier: Apache-2.0
// Two agents over libfabric on loopback: what is written and read is right, at any size, place and number of rails.
#define BOOST_TEST_MODULE fabric_transfer
#include <boost/test/unit_test.hpp>

#include <boost/asio/as_tuple.hpp>

#include "fabric/pair.hpp"
#include "support/co_test.hpp"

using namespace wye;
using namespace std::chrono_literals;
using wye::testing::loopback;
using wye::testing::pair;
namespace asio = boost::asio;

namespace {

bool same(const lab::bytes& a, std::size_t a_at, const lab::bytes& b, std::size_t b_at, std::size_t n)
{
    return std::equal(a.begin() + static_cast<std::ptrdiff_t>(a_at), a.begin() + static_cast<std::ptrdiff_t>(a_at + n),
                      b.begin() + static_cast<std::ptrdiff_t>(b_at));
}

/// There and back again, at offsets that are not aligned, and nothing beside it is touched.
task<> round_trips(pair& w, std::size_t bytes, std::size_t at)
{
    std::fill(w.landed.begin(), w.landed.end(), std::byte{0xee});
    co_await copy(w.from.at(1, bytes), w.kv.sub(at, bytes));
    BOOST_TEST(same(w.sent, 1, w.landed, at, bytes), bytes << " bytes written to " << at);
    BOOST_TEST((at == 0 || w.landed[at - 1] == std::byte{0xee}));
    BOOST_TEST((at + bytes == w.landed.size() || w.landed[at + bytes] == std::byte{0xee}));
    const lab::bytes before = w.sent;
    std::fill_n(w.sent.begin() + 1, bytes, std::byte{0x11});
    co_await copy(w.kv.sub(at, bytes), w.from.at(1, bytes));
    BOOST_TEST((w.sent == before), bytes << " bytes read from " << at);
}

void all_sizes(std::uint32_t ours, std::uint32_t theirs, queue_waits waits)
{
    runtime rt;
    pair w{rt, 64_MiB + 64, loopback(ours, waits), loopback(theirs, waits)};
    wye::testing::finish(rt, w.open());
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{7}, 4_KiB, 64_KiB + 1, 1_MiB, 5_MiB + 3, 64_MiB})
        for (const std::size_t at : {std::size_t{0}, std::size_t{3}, std::size_t{16}})
            wye::testing::finish(rt, round_trips(w, bytes, at));
}

} // namespace

BOOST_AUTO_TEST_CASE(one_rail) { all_sizes(1, 1, queue_waits::automatic); }
BOOST_AUTO_TEST_CASE(two_rails_polled) { all_sizes(2, 2, queue_waits::polled); }
BOOST_AUTO_TEST_CASE(four_rails_by_descriptor) { all_sizes(4, 4, queue_waits::descriptor); }
BOOST_AUTO_TEST_CASE(three_rails_to_one) { all_sizes(3, 1, queue_waits::automatic); }
BOOST_AUTO_TEST_CASE(one_rail_to_three) { all_sizes(1, 3, queue_waits::automatic); }
