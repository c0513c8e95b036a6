// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE ledger
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include <crc32c.hpp>
#include <ledger.hpp>

using wye::detail::ledger;

namespace {

using bytes = std::vector<unsigned char>;

std::uint32_t sum(const bytes& b, std::size_t at, std::size_t n)
{
    return wye::detail::crc32c_extend(0, b.data() + at, n);
}

} // namespace

BOOST_AUTO_TEST_CASE(exactly_what_was_recorded)
{
    ledger l;
    l.record(100, 50, 7);
    BOOST_TEST((l.find(100, 50) == 7u));
    BOOST_TEST(!l.find(100, 49).has_value());
    BOOST_TEST(!l.find(101, 49).has_value());
    BOOST_TEST(!l.find(100, 51).has_value());
    BOOST_TEST(!l.find(99, 51).has_value());
    BOOST_TEST((l.find(7, 0) == 0u)); // nothing is always as it was
}

BOOST_AUTO_TEST_CASE(tiles_make_a_whole_and_a_gap_does_not)
{
    std::mt19937 random{1};
    bytes b(3000);
    for (unsigned char& c : b) c = static_cast<unsigned char>(random());
    ledger l;
    l.record(2000, 1000, sum(b, 2000, 1000));
    l.record(0, 700, sum(b, 0, 700));
    BOOST_TEST(!l.find(0, 3000).has_value());
    l.record(700, 1300, sum(b, 700, 1300));
    BOOST_TEST((l.find(0, 3000) == sum(b, 0, 3000)));
    BOOST_TEST((l.find(700, 2300) == sum(b, 700, 2300)));
    l.forget(1999, 1);
    BOOST_TEST(!l.find(0, 3000).has_value());
    BOOST_TEST((l.find(0, 700) == sum(b, 0, 700)));
    BOOST_TEST((l.find(2000, 1000) == sum(b, 2000, 1000)));
}

// Against a model that knows of each byte which record, if any, still speaks for it.
BOOST_AUTO_TEST_CASE(agrees_with_a_model)
{
    constexpr std::size_t size = 400;
    for (unsigned seed = 1; seed <= 200; ++seed) {
        std::mt19937 random{seed};
        ledger l;
        bytes content(size);
        struct extent {
            std::size_t offset, length;
        };
        std::vector<extent> known; // apart from each other
        const auto forget = [&](std::size_t at, std::size_t n) {
            std::erase_if(known, [&](const extent& e) { return n && e.offset < at + n && at < e.offset + e.length; });
        };
        for (int step = 0; step < 200; ++step) {
            const std::size_t at = random() % size, n = random() % (size - at) % 64;
            switch (random() % 4) {
            case 0:
                l.forget(at, n);
                forget(at, n);
                break;
            case 1:
            case 2:
                for (std::size_t i = at; i < at + n; ++i) content[i] = static_cast<unsigned char>(random());
                l.record(at, n, sum(content, at, n));
                forget(at, n);
                if (n) known.push_back({at, n});
                break;
            default: {
                // What the records say if some of them tile it, from one's beginning to another's end.
                std::size_t end = at;
                for (bool more = true; more && end < at + n;) {
                    more = false;
                    for (const extent& e : known)
                        if (e.offset == end && end + e.length <= at + n) end += e.length, more = true;
                }
                const auto found = l.find(at, n);
                BOOST_TEST_REQUIRE(found.has_value() == (end == at + n), "seed " << seed << " step " << step);
                if (found) BOOST_TEST_REQUIRE(*found == sum(content, at, n), "seed " << seed << " step " << step);
            }
            }
        }
    }
}
