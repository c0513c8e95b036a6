// SPDX-License-Identifier: Apache-2.0
// What must reach a peer does, once each, over messages that are lost, doubled and overtaken. WYE_SEEDS says how many
// channels are tried.
#define BOOST_TEST_MODULE stream
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>

#include <peers/stream.hpp>

using namespace wye::detail;

namespace {

constexpr std::uint64_t ms = 1'000'000;

wire::notify numbered(std::size_t i, std::size_t payload = 8) { return {std::to_string(i), wire::bytes(payload), false}; }

/// Two ends and what is under way between them.
class channel {
public:
    explicit channel(std::uint64_t seed) : random_{seed}, loss_{pick(50)}, doubling_{pick(30)} {}

    void say(std::size_t records)
    {
        for (; records; --records, ++said_) {
            const std::size_t payload = pick(4) ? pick(100) : pick(4096);
            ends_[0].push(numbered(said_, payload), [this](wye::errc e) { told_ += e == wye::errc{}; });
        }
    }
    /// Until all was said and heard; false when that takes longer than it may.
    bool run(std::uint64_t most)
    {
        while (told_ != said_) {
            const std::uint64_t next = next_event();
            if (next == 0 || next > most) return false;
            now_ = std::max(now_, next);
            flush(0);
            arrive();
        }
        return true;
    }

    std::map<std::string, int> heard;
    std::size_t told_ = 0, said_ = 0, sent_ = 0;

private:
    std::size_t pick(std::size_t n) { return n ? random_() % n : 0; }

    std::uint64_t next_event() const
    {
        std::uint64_t first = ends_[0].due();
        if (!under_way_.empty() && (first == 0 || under_way_.begin()->first < first)) first = under_way_.begin()->first;
        return first;
    }
    void put(std::size_t to, const wire::bytes& frame)
    {
        ++sent_;
        if (pick(100) < loss_) return;
        for (std::size_t copies = 1 + (pick(100) < doubling_); copies; --copies)
            under_way_.emplace(now_ + 20'000 + pick(pick(10) ? 10'000 : 3 * ms), std::pair{to, frame});
    }
    void flush(std::size_t end)
    {
        while (stream::frame* const f = ends_[end].next_due(now_, 1)) {
            put(1 - end, f->bytes);
            ends_[end].sent(*f, now_);
        }
    }
    void arrive()
    {
        while (!under_way_.empty() && under_way_.begin()->first <= now_) {
            const auto [to, frame] = under_way_.extract(under_way_.begin()).mapped();
            wire::frame_reader in{frame};
            BOOST_REQUIRE(in);
            ends_[to].heard(in.header(), now_);
            if (in.header().number == 0) continue;
            if (ends_[to].fresh(in.header().number))
                while (const auto r = in.next()) ++heard[std::get<wire::notify>(*r).key];
            wire::bytes bare;
            wire::begin_frame(bare, ends_[to].header(1, 0, false));
            put(1 - to, bare);
        }
    }

    std::mt19937_64 random_;
    std::size_t loss_, doubling_;
    std::uint64_t now_ = ms;
    stream ends_[2];
    std::multimap<std::uint64_t, std::pair<std::size_t, wire::bytes>> under_way_;
};

std::uint64_t seeds()
{
    const char* const n = std::getenv("WYE_SEEDS");
    return n ? std::strtoull(n, nullptr, 10) : 200;
}

} // namespace

BOOST_AUTO_TEST_CASE(arrives_once_whatever_is_lost)
{
    for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
        channel c{seed};
        for (int burst = 0; burst < 4; ++burst) {
            c.say(1 + seed % 300);
            BOOST_REQUIRE_MESSAGE(c.run(60'000 * ms), "seed " << seed << ": not all of it arrives");
        }
        BOOST_TEST(c.heard.size() == c.said_);
        const bool once = std::all_of(c.heard.begin(), c.heard.end(), [](const auto& h) { return h.second == 1; });
        BOOST_TEST(once, "seed " << seed << ": something came twice");
    }
}

BOOST_AUTO_TEST_CASE(records_of_one_pass_share_a_frame)
{
    stream s;
    for (std::size_t i = 0; i < 100; ++i) s.push(numbered(i));
    stream::frame* const f = s.next_due(1, 7);
    BOOST_REQUIRE(f);
    s.sent(*f, 1);
    BOOST_TEST(!s.next_due(1, 7));
    BOOST_TEST(f->bytes.size() <= wire::most_frame);
}

BOOST_AUTO_TEST_CASE(no_more_than_a_window_is_under_way)
{
    stream s;
    for (std::size_t i = 0; i < 3 * stream::window; ++i) s.push(numbered(i, 4096));
    std::size_t sent = 0;
    while (stream::frame* const f = s.next_due(1, 7)) {
        s.sent(*f, 1);
        ++sent;
    }
    BOOST_TEST(sent == stream::window);
}

// Each time it waits longer, up to a tenth of a second, so that who is gone is not shouted at.
BOOST_AUTO_TEST_CASE(what_is_not_answered_is_said_less_and_less_often)
{
    stream s;
    s.push(numbered(0));
    std::uint64_t now = 1, times = 0;
    while (now < 10'000 * ms) {
        stream::frame* const f = s.next_due(now, 7);
        BOOST_REQUIRE(f);
        s.sent(*f, now);
        ++times;
        now = s.due();
    }
    BOOST_TEST(times > 90u);
    BOOST_TEST(times < 120u);
}

BOOST_AUTO_TEST_CASE(giving_up_tells)
{
    stream s;
    int arrived = 0, lost = 0;
    for (std::size_t i = 0; i < 5; ++i) s.push(numbered(i), [&](wye::errc e) { ++(e == wye::errc{} ? arrived : lost); });
    s.give_up();
    BOOST_TEST(arrived == 0);
    BOOST_TEST(lost == 5);
    BOOST_TEST(s.idle());
    BOOST_TEST(s.due() == 0u);
}

BOOST_AUTO_TEST_CASE(numbers_far_ahead_are_not_taken)
{
    stream s;
    BOOST_TEST(s.fresh(2));
    BOOST_TEST(!s.fresh(2));
    BOOST_TEST(!s.fresh(2 + stream::span));
    BOOST_TEST(s.fresh(1 + stream::span));
    BOOST_TEST(s.fresh(1));
    BOOST_TEST(!s.fresh(1));
    BOOST_TEST(!s.fresh(2));
    BOOST_TEST(s.header(0, 0, false).heard == 2u);
    BOOST_TEST(!s.fresh(~std::uint64_t{0}));
}
