// SPDX-License-Identifier: Apache-2.0
// What is thought of a rail that has nothing to do.
#define BOOST_TEST_MODULE forecast
#include <boost/test/unit_test.hpp>

#include <rails.hpp>

#include "support/lab_driver.hpp"

using namespace wye;

// One that was slow is given another chance: what was learned fades, while it rests, towards what it should be able to.
BOOST_AUTO_TEST_CASE(what_was_learned_fades_at_rest)
{
    constexpr std::uint64_t ms = 1'000'000;
    lab::bench on;
    lab::device_options o;
    o.rails = 3;
    lab::device device{on, o};
    detail::port p{device, 0};
    const double nominal = p.forecasts[0].ns_per_byte, slow = 3 * nominal;
    for (auto& f : p.forecasts) f.ns_per_byte = slow;
    p.lanes[0].paced.known = p.lanes[1].paced.known = true;
    p.lanes[1].chunks = 1; // works, so it is seen how fast it is; and of the third nothing was ever seen

    p.drift(9 * ms);
    BOOST_TEST(p.forecasts[0].ns_per_byte == slow);
    p.drift(10 * ms);
    BOOST_TEST(p.forecasts[0].ns_per_byte == slow / 2);
    p.drift(15 * ms); // not at each look
    BOOST_TEST(p.forecasts[0].ns_per_byte == slow / 2);
    p.drift(20 * ms);
    BOOST_TEST(p.forecasts[0].ns_per_byte == nominal); // and no further
    p.drift(30 * ms);
    BOOST_TEST(p.forecasts[0].ns_per_byte == nominal);
    BOOST_TEST(p.forecasts[1].ns_per_byte == slow);
    BOOST_TEST(p.forecasts[2].ns_per_byte == slow);
}
