// SPDX-License-Identifier: Apache-2.0
// Sides that are checked once and posted by index ever after.
#define BOOST_TEST_MODULE prepared
#include <boost/test/unit_test.hpp>

#include <numeric>

#include "support/lab_world.hpp"

using namespace wye;

namespace {

constexpr std::size_t page = 3000;

struct pages : lab::world {
    pages()
    {
        hold(false);
        local = agent->prepare(blocks_of(dram, page));
        remote = agent->prepare(blocks_of(vram, page));
    }
    error_code go(std::vector<std::uint32_t> from, std::vector<std::uint32_t> to, lab::result& r,
                  std::span<error_code> status = {})
    {
        copy_options options;
        options.status = status;
        copy(local.select(from), remote.select(to), options, r.token());
        from.clear(); // they are read when the operation begins
        to.clear();
        BOOST_TEST(r.ends == 0);
        BOOST_TEST(testing::poll_until(rt, [&] { return r.ends == 1; }));
        return r.error;
    }
    prepared local, remote;
};

} // namespace

BOOST_AUTO_TEST_CASE(blocks_of_regions)
{
    lab::world w;
    BOOST_TEST(blocks_of(w.dram, page).size() == 256_KiB / page); // what is left at the end is no block
    BOOST_TEST((blocks_of(w.dram, page)[2] == w.dram.at(2 * page, page)));
    BOOST_TEST(blocks_of(w.dram.at(0, page - 1), page).empty());
    BOOST_TEST(blocks_of(w.dram, 0).empty());
    std::vector<region> layers;
    layers.push_back(std::move(w.dram));
    layers.push_back(std::move(w.vram));
    const std::vector<slice> all = blocks_of(layers, 128_KiB);
    BOOST_TEST_REQUIRE(all.size() == 4u);
    BOOST_TEST((all[1] == layers[0].at(128_KiB, 128_KiB)));
    BOOST_TEST((all[2] == layers[1].at(0, 128_KiB)));
}

BOOST_AUTO_TEST_CASE(the_ith_to_the_ith)
{
    pages w;
    lab::result r;
    BOOST_TEST(!w.go({7, 0, 3, 7}, {2, 1, 0, 9}, r));
    BOOST_TEST(r.bytes == 4 * page);
    for (const auto& [from, to] : {std::pair{7, 2}, {0, 1}, {3, 0}, {7, 9}})
        BOOST_TEST(std::equal(w.dram_bytes.begin() + from * long{page}, w.dram_bytes.begin() + (from + 1) * long{page},
                              w.vram_bytes.begin() + to * long{page}));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_selected)
{
    pages w;
    const auto past = static_cast<std::uint32_t>(w.local.size());
    std::array<lab::result, 6> r;
    BOOST_TEST(w.go({0, past}, {0, 1}, r[0]) == errc::out_of_range);
    BOOST_TEST(w.go({0}, {~0u}, r[1]) == errc::out_of_range);
    BOOST_TEST(w.go({0, 1}, {0}, r[2]) == errc::length_mismatch);
    BOOST_TEST(!w.go({}, {}, r[3]));
    BOOST_TEST(r[3].bytes == 0u);
    std::vector<error_code> status(2);
    BOOST_TEST(w.go({0, past}, {0, 1}, r[4], status) == errc::out_of_range);
    const std::vector<std::uint32_t> one{0};
    copy(prepared{}.select(one), w.remote.select(one), r[5].token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r[5].ends == 1; }));
    BOOST_TEST(r[5].error.failed());
    BOOST_TEST(w.near.submits() == 0u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_prepared)
{
    lab::world w;
    const auto why = [&](std::vector<slice> blocks) {
        try {
            (void)w.agent->prepare(std::move(blocks));
        } catch (const system_error& e) {
            return e.code();
        }
        return error_code{};
    };
    BOOST_TEST(why({w.dram.at(0, 1), w.dram.at(256_KiB, 1)}) == errc::out_of_range);
    BOOST_TEST(why({w.dram.at(1, ~0ull)}) == errc::out_of_range);
    BOOST_TEST(why({slice{}}) == errc::invalid_slice);
    BOOST_TEST(!why({}));
}

BOOST_AUTO_TEST_CASE(all_pages_in_any_order)
{
    pages w;
    std::vector<std::uint32_t> from(w.local.size()), to;
    std::iota(from.begin(), from.end(), 0u);
    to.assign(from.rbegin(), from.rend());
    std::vector<error_code> status(from.size(), errc::shut_down);
    lab::result r;
    BOOST_TEST(!w.go(from, to, r, status));
    BOOST_TEST(r.bytes == from.size() * page);
    for (std::size_t i = 0; i < from.size(); ++i) {
        BOOST_TEST(!status[i]);
        BOOST_TEST_REQUIRE(std::equal(w.local[from[i]].data(), w.local[from[i]].data() + page, w.remote[to[i]].data()));
    }
}
