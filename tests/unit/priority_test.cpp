// SPDX-License-Identifier: Apache-2.0
// Urgent is urgent: it overtakes whatever is not posted yet, background is kept shallow, and gets its sixteenth.
#define BOOST_TEST_MODULE priority
#include <boost/test/unit_test.hpp>

#include <deque>
#include <functional>
#include <memory>

#include "support/lab_world.hpp"

using namespace wye;

namespace {

copy_options at(priority p)
{
    copy_options o;
    o.priority = p;
    return o;
}

limits narrow()
{
    limits l = lab::small_limits();
    l.window_chunks = 1;
    return l;
}

/// Copies the same bytes again and again until told to stop.
struct saturation {
    saturation(runtime& loop, slice a, slice b, priority p, int depth = 1) : rt{loop}, from{a}, to{b}, options{at(p)}
    {
        for (int i = 0; i < depth; ++i) again();
    }
    void again()
    {
        ++under_way;
        copy(from, to, options, [this](error_code e, std::size_t n) {
            BOOST_TEST(!e);
            --under_way;
            bytes += n;
            if (!stop) again();
        });
    }
    bool end()
    {
        stop = true;
        return testing::poll_until(rt, [&] { return under_way == 0; });
    }

    runtime& rt;
    slice from, to;
    copy_options options;
    int under_way = 0;
    bool stop = false;
    std::uint64_t bytes = 0;
};

} // namespace

// The next piece is the urgent one's, however much of the others waits.
BOOST_AUTO_TEST_CASE(urgent_overtakes_what_waits)
{
    lab::world w{narrow()};
    lab::result normal, background, urgent;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), at(priority::normal), normal.token());
    copy(w.dram.at(64_KiB, 64_KiB), w.vram.at(64_KiB, 64_KiB), at(priority::background), background.token());
    w.settle();
    copy(w.dram.at(128_KiB, 8_KiB), w.vram.at(128_KiB, 8_KiB), at(priority::urgent), urgent.token());
    w.settle();
    BOOST_TEST(w.near.chunks().at(0)->from.offset == 0u); // posted work cannot be overtaken
    for (const std::uint64_t offset : {128_KiB, 132_KiB}) {
        w.near.release(w.near.chunks()[0]);
        w.settle();
        BOOST_TEST(w.near.chunks().at(0)->from.offset == offset);
        BOOST_TEST(w.near.chunks()[0]->urgent);
    }
    w.near.release(w.near.chunks()[0]);
    w.settle();
    BOOST_TEST((urgent.ends == 1 && !urgent.error));
    BOOST_TEST(w.near.chunks().at(0)->from.offset == 4_KiB);
    BOOST_TEST(w.finish(normal, background));
}

BOOST_AUTO_TEST_CASE(normal_goes_before_background)
{
    lab::world w{narrow()};
    lab::result first, background, normal;
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), first.token());
    copy(w.dram.at(4_KiB, 4_KiB), w.vram.at(4_KiB, 4_KiB), at(priority::background), background.token());
    copy(w.dram.at(8_KiB, 4_KiB), w.vram.at(8_KiB, 4_KiB), normal.token());
    w.settle();
    w.near.release(w.near.chunks().at(0));
    w.settle();
    BOOST_TEST(w.near.chunks().at(0)->from.offset == 8_KiB);
    BOOST_TEST(w.finish(background, normal));
}

// Second hops too.
BOOST_AUTO_TEST_CASE(urgent_overtakes_between_hops)
{
    lab::world w{narrow()};
    lab::result normal, urgent, blocker;
    copy(w.dram.at(0, 4_KiB), w.vram.at(0, 4_KiB), blocker.token());
    copy(w.file.at(0, 4_KiB), w.vram.at(8_KiB, 4_KiB), normal.token());
    w.settle();
    w.far.release(w.far.chunks().at(0));
    w.settle();
    copy(w.file.at(4_KiB, 4_KiB), w.vram.at(16_KiB, 4_KiB), at(priority::urgent), urgent.token());
    w.settle();
    w.far.release(w.far.chunks().at(0));
    w.settle();
    w.near.release(w.near.chunks().at(0)); // both wait for this place
    w.settle();
    BOOST_TEST(w.near.chunks().at(0)->to.offset == 16_KiB);
    BOOST_TEST(w.finish(normal, urgent));
}

BOOST_AUTO_TEST_CASE(background_is_kept_shallow)
{
    limits l = lab::small_limits();
    l.window_chunks = 16;
    l.background_chunks = 2;
    lab::world w{l};
    lab::result background, normal;
    copy(w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), at(priority::background), background.token());
    w.settle();
    BOOST_TEST(w.near.held() == 2u); // alone, but someone urgent may come
    copy(w.dram.at(64_KiB, 128_KiB), w.vram.at(64_KiB, 128_KiB), normal.token());
    w.settle();
    BOOST_TEST(w.near.held() == 16u);
    BOOST_TEST(w.finish(background, normal));
}

// At least a sixteenth of the bytes, in large pieces and in small ones.
BOOST_AUTO_TEST_CASE(background_has_its_floor)
{
    for (const std::size_t piece : {4_KiB, 1_KiB, 64_KiB}) {
        for (const priority above : {priority::urgent, priority::normal}) {
            lab::world w;
            w.hold(false);
            saturation many{w.rt, w.dram.at(0, 64_KiB), w.vram.at(0, 64_KiB), above, 3};
            saturation few{w.rt, w.dram.at(64_KiB, piece), w.vram.at(64_KiB, piece), priority::background, 4};
            BOOST_TEST(testing::poll_until(w.rt, [&] { return many.bytes >= 16_MiB; }, 10'000'000));
            const double share = static_cast<double>(few.bytes) / static_cast<double>(few.bytes + many.bytes);
            BOOST_TEST(share >= 0.9 / 16, "background had " << share << " in pieces of " << piece);
            BOOST_TEST(share <= 0.25, "background had " << share << " in pieces of " << piece);
            BOOST_TEST(many.end());
            BOOST_TEST(few.end());
        }
    }
}

// Also where the bottleneck is the staging.
BOOST_AUTO_TEST_CASE(background_has_its_floor_in_staging)
{
    lab::world w;
    w.hold(false);
    saturation many{w.rt, w.file.at(0, 64_KiB), w.vram.at(0, 64_KiB), priority::urgent, 4};
    saturation few{w.rt, w.file.at(64_KiB, 16_KiB), w.vram.at(64_KiB, 16_KiB), priority::background, 4};
    BOOST_TEST(testing::poll_until(w.rt, [&] { return many.bytes >= 8_MiB; }, 10'000'000));
    const double share = static_cast<double>(few.bytes) / static_cast<double>(few.bytes + many.bytes);
    BOOST_TEST(share >= 0.9 / 16, "background had " << share);
    BOOST_TEST(share <= 0.25, "background had " << share);
    BOOST_TEST(many.end());
    BOOST_TEST(few.end());
}

// Background work may not hold all buffers: an urgent fetch finds one.
BOOST_AUTO_TEST_CASE(background_leaves_staging_to_others)
{
    lab::world w;
    std::deque<lab::result> background(4);
    lab::result urgent;
    for (std::size_t i = 0; i < 4; ++i)
        copy(w.file.at(i * 16_KiB, 16_KiB), w.vram.at(i * 16_KiB, 16_KiB), at(priority::background),
             background[i].token());
    for (int i = 0; i < 10; ++i) { // read all that may be read, and let nothing out
        w.settle();
        for (chunk* c : w.far.chunks()) w.far.release(c);
    }
    BOOST_TEST(w.agent->measure().staging_in_use == 8_KiB);
    copy(w.file.at(128_KiB, 4_KiB), w.vram.at(128_KiB, 4_KiB), at(priority::urgent), urgent.token());
    w.settle();
    BOOST_TEST(w.far.held() == 1u);
    BOOST_TEST(w.finish(urgent, background[0], background[1], background[2], background[3]));
}

// Operations of one priority share: a small copy does not wait for the whole of a large one before it.
BOOST_AUTO_TEST_CASE(a_small_copy_is_not_behind_all_of_a_large_one)
{
    limits l = lab::small_limits();
    l.chunk_bytes = 64_KiB;
    l.window_chunks = 1;
    lab::world w{l};
    lab::bytes large_from = lab::pattern(4_MiB), large_to(4_MiB);
    region a, b;
    testing::finish(w.rt, [](lab::world& v, lab::bytes& f, lab::bytes& t, region& x, region& y) -> task<> {
        x = co_await v.agent->register_memory(dram(f));
        y = co_await v.agent->register_memory(vram(t.data(), t.size()));
    }(w, large_from, large_to, a, b));
    lab::result large, small;
    copy(a, b, large.token());
    copy(w.dram.at(0, 1), w.vram.at(0, 1), small.token());
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return small.ends == 1; }));
    BOOST_TEST(large.ends == 0);
    BOOST_TEST(w.near.ends() < 16u);
    BOOST_TEST(w.finish(large));
    BOOST_TEST((large_from == large_to));
}
