// SPDX-License-Identifier: Apache-2.0
// One verb: what it refuses, how it completes, batches, and what it says when devices misbehave.
#define BOOST_TEST_MODULE copy
#include <boost/test/unit_test.hpp>

#include <deque>
#include <future>
#include <set>
#include <thread>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include "support/lab_world.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

/// How a copy of one slice ends that is refused or has nothing to wait for.
error_code fate(lab::world& w, const slice& from, const slice& to)
{
    lab::result r;
    copy(from, to, r.token());
    BOOST_TEST(r.ends == 0); // never from inside the call
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends != 0; }, 1000));
    BOOST_TEST((!r.error || r.bytes == 0));
    return r.error;
}

/// Whether the bytes of two slices of memory are equal.
bool equal(const slice& a, const slice& b)
{
    return a.length == b.length && std::equal(a.data(), a.data() + a.length, b.data());
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_refused)
{
    lab::world w;
    const lab::bytes before = w.vram_bytes;
    BOOST_TEST(fate(w, {}, {}) == errc::invalid_slice);
    BOOST_TEST(fate(w, w.dram.at(0, 1), {}) == errc::invalid_slice);
    BOOST_TEST(fate(w, {}, w.dram.at(0, 1)) == errc::invalid_slice);
    BOOST_TEST(fate(w, w.dram.at(0, 2), w.vram.at(0, 1)) == errc::length_mismatch);
    BOOST_TEST(fate(w, w.dram.at(256_KiB, 1), w.vram.at(0, 1)) == errc::out_of_range);
    BOOST_TEST(fate(w, w.dram.at(256_KiB - 1, 2), w.vram.at(0, 2)) == errc::out_of_range);
    BOOST_TEST(fate(w, w.dram.at(0, 2), w.vram.at(256_KiB - 1, 2)) == errc::out_of_range);
    BOOST_TEST(fate(w, w.dram.at(~0ull, 2), w.vram.at(0, 2)) == errc::out_of_range);
    BOOST_TEST(fate(w, w.dram.at(1, ~0ull - 1), w.vram.at(1, ~0ull - 1)) == errc::out_of_range);
    BOOST_TEST(fate(w, w.dram.at(0, slice::whole), w.vram.at(0, slice::whole)) == errc::invalid_slice);
    region closed = std::move(w.vram);
    closed.reset();
    BOOST_TEST(fate(w, w.dram.at(0, 1), closed.at(0, 1)) == errc::invalid_slice);
    BOOST_TEST((w.vram_bytes == before));
    BOOST_TEST(w.idle());
}

// What belongs to no runtime ends on the handler's executor, or in the runtime of the thread that asked.
BOOST_AUTO_TEST_CASE(a_copy_of_nothing_ends_where_its_handler_lives)
{
    lab::world w;
    const auto begun_on = std::this_thread::get_id();
    std::thread::id ended_on;
    asio::io_context io;
    const auto over = [&](error_code, std::size_t) { ended_on = std::this_thread::get_id(); };
    const auto begin = [&] {
        copy(slice{}, slice{}, asio::bind_executor(io, over));
        copy(std::span<const transfer>{}, asio::bind_executor(io, over));
    };
    begin();
    w.settle();
    BOOST_TEST((ended_on == std::thread::id{})); // not ours to run
    BOOST_TEST(io.run() == 2u);
    BOOST_TEST((ended_on == begun_on));
    ended_on = {};
    copy(slice{}, slice{}, over);
    copy(std::span<const transfer>{}, over);
    BOOST_TEST((ended_on == std::thread::id{}));
    w.settle();
    BOOST_TEST((ended_on == begun_on));
    std::thread elsewhere{begin}; // where no runtime is
    elsewhere.join();
    ended_on = {};
    io.restart();
    BOOST_TEST(io.run() == 2u);
    BOOST_TEST((ended_on == begun_on));
}

BOOST_AUTO_TEST_CASE(other_agents_and_runtimes_are_refused)
{
    lab::world w, elsewhere;
    BOOST_TEST(fate(w, w.dram.at(0, 1), elsewhere.dram.at(0, 1)) == errc::other_runtime);
    w.hold(false);
    BOOST_TEST(!fate(w, w.dram.at(0, 1), w.vram.at(0, 1))); // from here on the way is known
    BOOST_TEST(fate(w, w.dram.at(0, 1), elsewhere.vram.at(0, 1)) == errc::other_runtime);
    wye::agent second{w.rt, "second"};
    lab::bytes memory(16);
    region its;
    testing::finish(w.rt, [](wye::agent& a, lab::bytes& b, region& r) -> task<> {
        r = co_await a.register_memory(dram(b));
    }(second, memory, its));
    BOOST_TEST(fate(w, w.dram.at(0, 1), its.at(0, 1)) == errc::other_runtime);
}

WYE_CO_TEST(no_route_names_the_tiers)
{
    agent_options o;
    o.default_drivers = false;
    wye::agent bare{rt, {}, o};
    lab::bytes memory(16);
    const region r = co_await bare.register_memory(dram(memory));
    const auto [e, n] = co_await copy(r.at(0, 8), r.at(8, 8), asio::as_tuple(asio::use_awaitable));
    BOOST_TEST(e == errc::no_route);
    BOOST_TEST((e == boost::system::errc::operation_not_supported));
    try {
        bare.explain(r, r);
        BOOST_TEST(false);
    } catch (const system_error& x) {
        BOOST_TEST(x.code() == errc::no_route);
        BOOST_TEST(std::string{x.what()}.find("DRAM to DRAM") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(what_was_opened_for_reading_is_not_written)
{
    lab::world w;
    wye::file file;
    wye::bucket bucket;
    testing::finish(w.rt, [](lab::world& v, wye::file& f, wye::bucket& b) -> task<> {
        file_options o;
        o.access = access::read_only;
        f = co_await v.agent->open_file("f", o);
        b = co_await v.agent->open_bucket("lab:", access::read_only);
    }(w, file, bucket));
    BOOST_TEST(fate(w, w.dram.at(0, 1), file.at(0, 1)) == errc::read_only);
    w.on.objects["o"] = std::make_shared<lab::blob>();
    const object o = bucket.object("o");
    BOOST_TEST(fate(w, w.dram.at(0, 1), o) == errc::read_only);
    w.hold(false);
    BOOST_TEST(!fate(w, file.at(0, 1), w.dram.at(0, 1)));
    BOOST_CHECK_THROW((void)bucket.object(""), system_error);
}

// Another thread's hands.

BOOST_AUTO_TEST_CASE(a_handle_used_from_another_thread_is_caught)
{
    lab::world w;
    const lab::bytes before = w.vram_bytes;
    std::vector<error_code> caught;
    const auto thrown_by = [&](auto call) {
        try {
            call();
            caught.emplace_back();
        } catch (const system_error& e) {
            caught.push_back(e.code());
        }
    };
    lab::result r;
    const std::vector<transfer> batch{{w.dram.at(0, 1), w.vram.at(0, 1)}};
    flight f = start(w.dram.at(0, 1), w.vram.at(0, 1));
    std::thread{[&] {
        copy(w.dram.at(0, 1), w.vram.at(0, 1), r.token());
        // Not as an exception, which two threads would own: TSan does not see how libstdc++ counts its owners.
        const auto error_of = [](error_code e, std::size_t) { return e; };
        caught.push_back(copy(std::span<const transfer>{batch}, asio::use_future(error_of)).get());
        thrown_by([&] { (void)w.agent->measure(); });
        thrown_by([&] { (void)w.agent->explain(w.dram, w.vram); });
        thrown_by([&] { (void)w.bucket.object("o"); });
        thrown_by([&] { w.agent->add(std::make_unique<lab::device>(w.on, lab::device_options{})); });
        const auto runs = [&](task<> work) {
            asio::io_context io;
            asio::co_spawn(io, std::move(work), [](std::exception_ptr e) { if (e) std::rethrow_exception(e); });
            io.run();
        };
        thrown_by([&] { runs([](wye::agent& a) -> task<> { co_await a.register_memory(memory{}); }(*w.agent)); });
        thrown_by([&] { runs([](wye::agent& a) -> task<> { co_await a.open_file("g"); }(*w.agent)); });
        thrown_by([&] { runs([](wye::agent& a) -> task<> { co_await a.open_bucket("lab:"); }(*w.agent)); });
        thrown_by([&] { runs([](wye::agent& a) -> task<> { co_await a.notified("k"); }(*w.agent)); });
        thrown_by([&] { runs([](wye::file& g) -> task<> { co_await g.sync(); }(w.file)); });
        thrown_by([&] { runs([](wye::bucket& b) -> task<> { co_await b.stat("o"); }(w.bucket)); });
        thrown_by([&] { runs([](wye::bucket& b) -> task<> { co_await b.list(); }(w.bucket)); });
        thrown_by([&] { runs([](wye::bucket& b) -> task<> { co_await b.remove("o"); }(w.bucket)); });
        thrown_by([&] { runs([](flight& g) -> task<> { co_await g.by(duration{1}); }(f)); });
        thrown_by([&] { runs([](flight& g) -> task<> { co_await g.drained(); }(f)); });
    }}.join();
    w.settle();
    BOOST_TEST(r.ends == 1);
    BOOST_TEST(r.error == errc::wrong_thread);
    for (std::size_t i = 0; i < caught.size(); ++i)
        BOOST_TEST(caught[i] == errc::wrong_thread, "call " << i << ": " << caught[i].message());
    w.hold(false);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return f.done(); }));
}

// Completion tokens.

BOOST_AUTO_TEST_CASE(any_completion_token)
{
    lab::world w;
    w.hold(false);
    auto future = copy(w.dram.at(0, 8_KiB), w.vram.at(0, 8_KiB), asio::use_future);
    auto deferred = copy(w.dram.at(8_KiB, 8_KiB), w.vram.at(8_KiB, 8_KiB), asio::deferred);
    lab::result r;
    std::move(deferred)(r.token());
    testing::finish(w.rt, [](lab::world& v) -> task<> {
        const std::size_t n = co_await copy(v.dram.at(16_KiB, 8_KiB), v.vram.at(16_KiB, 8_KiB));
        BOOST_TEST(n == 8_KiB);
        const auto [e, m] = co_await copy(v.dram.at(0, 1), v.vram.at(0, 2), asio::as_tuple(asio::deferred));
        BOOST_TEST(e == errc::length_mismatch);
        BOOST_TEST(m == 0u);
        bool thrown = false;
        try {
            co_await copy(v.dram.at(0, 1), v.vram.at(0, 2));
        } catch (const system_error& x) {
            thrown = x.code() == errc::length_mismatch;
        }
        BOOST_TEST(thrown);
    }(w));
    w.settle();
    BOOST_TEST(future.get() == 8_KiB);
    BOOST_TEST((r.ends == 1 && !r.error && r.bytes == 8_KiB));
    BOOST_TEST(equal(w.dram.at(0, 24_KiB), w.vram.at(0, 24_KiB)));
}

// The handler runs on its own executor, which has work until then.
BOOST_AUTO_TEST_CASE(completion_on_a_foreign_executor)
{
    lab::world w;
    asio::thread_pool threads{2};
    const auto strand = asio::make_strand(threads);
    std::promise<std::thread::id> on_pool, on_strand;
    bool in_strand = false;
    copy(w.dram.at(0, 1), w.vram.at(0, 1), asio::bind_executor(threads, [&](error_code, std::size_t) {
        on_pool.set_value(std::this_thread::get_id());
    }));
    copy(w.dram.at(0, 2), w.vram.at(0, 1), asio::bind_executor(strand, [&](error_code e, std::size_t) {
        in_strand = strand.running_in_this_thread() && e == errc::length_mismatch;
        on_strand.set_value(std::this_thread::get_id());
    }));
    w.settle();
    asio::io_context io;
    std::size_t bytes = 0;
    copy(w.dram.at(0, 7), w.vram.at(0, 7), asio::bind_executor(io, [&](error_code, std::size_t n) { bytes = n; }));
    w.settle();
    BOOST_TEST(io.poll() == 0u);
    BOOST_TEST(!io.stopped()); // it has work to come
    w.hold(false);
    w.settle();
    BOOST_TEST(bytes == 0u);
    BOOST_TEST(io.run() == 1u);
    BOOST_TEST(bytes == 7u);
    BOOST_TEST((on_pool.get_future().get() != std::this_thread::get_id()));
    BOOST_TEST((on_strand.get_future().get() != std::this_thread::get_id()));
    threads.join();
    BOOST_TEST(in_strand);
}

// Batches.

BOOST_AUTO_TEST_CASE(an_empty_batch_and_empty_slices_succeed)
{
    lab::world w;
    lab::result none;
    copy(std::span<const transfer>{}, none.token());
    BOOST_TEST(none.ends == 0);
    BOOST_TEST(testing::poll_until(w.rt, [&] { return none.ends == 1; }));
    BOOST_TEST((!none.error && none.bytes == 0));
    BOOST_TEST(!fate(w, w.dram.at(5, 0), w.vram.at(7, 0)));
    BOOST_TEST(!fate(w, w.dram.at(256_KiB, 0), w.vram.at(256_KiB, 0)));
    BOOST_TEST(!fate(w, w.file.at(0, 0), w.vram.at(0, 0)));
    BOOST_TEST(w.near.submits() + w.far.submits() == 0u);
    w.hold(false);
    // Wherever the empty one is, the others go on.
    for (std::size_t empty = 0; empty < 3; ++empty) {
        std::vector<transfer> batch;
        for (std::size_t i = 0; i < 3; ++i)
            batch.push_back({w.dram.at(i * 10, i == empty ? 0 : 10), w.vram.at(i * 10, i == empty ? 0 : 10)});
        lab::result r;
        copy(std::span<const transfer>{batch}, r.token());
        BOOST_TEST_REQUIRE(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
        BOOST_TEST((!r.error && r.bytes == 20));
    }
}

BOOST_AUTO_TEST_CASE(ten_thousand_pieces_are_one_operation)
{
    lab::world w;
    w.hold(false);
    constexpr std::size_t page = 24, pages = 10'000;
    std::vector<transfer> batch;
    for (std::size_t i = 0; i < pages; ++i) // page i to the place of page 7919 i mod 10000
        batch.push_back({w.dram.block(i, page), w.vram.block(i * 7919 % pages, page)});
    lab::result r;
    copy(std::span<const transfer>{batch}, r.token());
    const std::vector<transfer> expected = std::exchange(batch, {}); // it has been read
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    BOOST_TEST((!r.error && r.bytes == page * pages));
    for (const transfer& t : expected) BOOST_TEST_REQUIRE(equal(t.from, t.to));
    const metrics m = w.agent->measure();
    BOOST_TEST(m.operations == 1u);
    BOOST_TEST(m.pairs.at(0).operations == pages);
    BOOST_TEST(m.pairs.at(0).bytes == page * pages);
}

BOOST_AUTO_TEST_CASE(per_slice_status_tells_them_apart)
{
    lab::world w;
    w.hold(false);
    w.on.objects["o"] = std::make_shared<lab::blob>(lab::blob{lab::pattern(9000), {}});
    const object o = w.bucket.object("o"), missing = w.bucket.object("missing");
    const std::vector<transfer> batch{
        {w.dram.at(0, 9000), w.vram.at(0, 9000)},       // well
        {w.dram.at(256_KiB, 1), w.vram.at(0, 1)},       // past the end
        {w.file.at(0, 5000), w.dram.at(10'000, 5000)},  // well
        {missing, w.dram.at(20'000, 9000)},             // not there
        {o, w.dram.at(30'000, 9000)},                   // well
        {{}, w.vram.at(0, 1)},                          // nothing
        {w.dram.at(0, 3), w.vram.at(0, 4)},             // of two lengths
        {w.file.at(0, 5000), w.vram.at(10'000, 5000)},  // staged, well
    };
    std::vector<error_code> status(batch.size(), errc::shut_down);
    copy_options options;
    options.status = status;
    lab::result r;
    copy(std::span<const transfer>{batch}, options, r.token());
    BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
    BOOST_TEST(r.error.failed());
    BOOST_TEST(r.bytes == 9000u + 5000 + 9000 + 5000);
    for (const std::size_t i : {0, 2, 4, 7}) BOOST_TEST(!status[i], i << ": " << status[i].message());
    BOOST_TEST(status[1] == errc::out_of_range);
    BOOST_TEST(status[3] == errc::not_found);
    BOOST_TEST(status[5] == errc::invalid_slice);
    BOOST_TEST(status[6] == errc::length_mismatch);
    BOOST_TEST(equal(w.dram.at(0, 9000), w.vram.at(0, 9000)));
    BOOST_TEST(equal(w.dram.at(10'000, 5000), w.vram.at(10'000, 5000)));
    const auto& data = w.on.objects["o"]->data;
    BOOST_TEST(std::equal(data.begin(), data.end(), w.dram_bytes.begin() + 30'000));
}

BOOST_AUTO_TEST_CASE(a_batch_of_which_nothing_can_be_done)
{
    lab::world w;
    std::vector<error_code> status(2);
    copy_options options;
    options.status = status;
    for (const transfer& bad : {transfer{}, transfer{w.dram.at(256_KiB, 1), w.vram.at(0, 1)}}) {
        const std::vector<transfer> batch{bad, bad};
        lab::result r;
        copy(std::span<const transfer>{batch}, options, r.token());
        BOOST_TEST(testing::poll_until(w.rt, [&] { return r.ends == 1; }));
        BOOST_TEST(r.error.failed());
        for (const error_code& s : status) BOOST_TEST(s == r.error);
    }
}

// Without per-slice status one bad slice means that nothing moves.
BOOST_AUTO_TEST_CASE(a_bad_slice_stops_a_plain_batch_before_it_begins)
{
    lab::world w;
    w.hold(false);
    const std::vector<transfer> batch{{w.dram.at(0, 100), w.vram.at(0, 100)}, {w.dram.at(256_KiB, 1), w.vram.at(0, 1)}};
    lab::result r;
    copy(std::span<const transfer>{batch}, r.token());
    w.settle();
    BOOST_TEST(r.error == errc::out_of_range);
    BOOST_TEST(r.bytes == 0u);
    BOOST_TEST(w.near.submits() == 0u);
}

// What devices do.

BOOST_AUTO_TEST_CASE(a_short_completion_is_asked_for_again)
{
    lab::world w;
    lab::result r;
    copy(w.dram.at(0, 4000), w.vram.at(0, 4000), r.token());
    for (const std::size_t part : {1000, 1, 2000}) {
        w.settle();
        BOOST_TEST_REQUIRE(w.near.held() == 1u);
        BOOST_TEST(r.ends == 0);
        w.near.release(w.near.chunks()[0], {}, part);
    }
    w.settle();
    BOOST_TEST(w.near.chunks().at(0)->from.length == 999u);
    BOOST_TEST(w.finish(r));
    BOOST_TEST((!r.error && r.bytes == 4000));
    BOOST_TEST(equal(w.dram.at(0, 4000), w.vram.at(0, 4000)));
    BOOST_TEST(w.agent->measure().drivers.at(0).retries == 3u);
}

BOOST_AUTO_TEST_CASE(no_bytes_at_all_is_a_short_transfer)
{
    lab::world w;
    lab::result r;
    copy(w.dram.at(0, 4000), w.vram.at(0, 4000), r.token());
    w.settle();
    w.near.release(w.near.chunks().at(0), {}, 1000);
    w.settle();
    w.near.release(w.near.chunks().at(0), {}, 0);
    w.settle();
    BOOST_TEST(r.error == errc::short_transfer);
    BOOST_TEST((r.error == boost::system::errc::io_error));
    BOOST_TEST(r.bytes == 1000u); // they did land
    BOOST_TEST(w.idle());
}

BOOST_AUTO_TEST_CASE(a_file_shorter_than_the_slice_is_said)
{
    lab::world w;
    w.hold(false);
    lab::result r;
    copy(w.file.at(256_KiB - 100, 5000), w.dram.at(0, 5000), r.token());
    w.settle();
    BOOST_TEST(r.error == errc::short_transfer);
    BOOST_TEST(r.bytes == 100u);
}

// What is put as one object in one piece cannot be resumed: a part of it would replace the object.
BOOST_AUTO_TEST_CASE(a_short_put_is_no_success)
{
    lab::world w;
    const auto old = std::make_shared<lab::blob>(lab::blob{lab::pattern(10), {}});
    w.on.objects["o"] = old;
    lab::result r;
    copy(w.dram.at(0, 4000), w.bucket.object("o"), r.token());
    w.settle();
    w.far.manners.refuse_all = true; // what comes after it
    auto* const c = w.far.chunks().at(0);
    BOOST_TEST(c->sole);
    w.far.release(c, error_code{5, lab::category()}, 100);
    w.settle();
    BOOST_TEST(r.error == error_code(5, lab::category()));
    BOOST_TEST(r.bytes == 0u);
    BOOST_TEST((w.on.objects["o"] == old));
}

BOOST_AUTO_TEST_CASE(an_error_stays_with_its_operation)
{
    lab::world w;
    std::array<lab::result, 3> r;
    for (std::size_t i = 0; i < 3; ++i)
        copy(w.dram.at(i * 16_KiB, 16_KiB), w.vram.at(i * 16_KiB, 16_KiB), r[i].token());
    w.settle();
    const error_code mine{42, lab::category()};
    w.near.release(w.near.chunks().at(1), mine); // of the first: they are posted in turn
    BOOST_TEST(w.finish(r[0], r[1], r[2]));
    BOOST_TEST(r[0].error == mine);
    BOOST_TEST(r[0].bytes < 16_KiB);
    for (const std::size_t i : {1, 2}) {
        BOOST_TEST((!r[i].error && r[i].bytes == 16_KiB));
        BOOST_TEST(equal(w.dram.at(i * 16_KiB, 16_KiB), w.vram.at(i * 16_KiB, 16_KiB)));
    }
    BOOST_TEST(w.idle());
}

// A thousand copies wait for a driver that takes nothing; none fails, and each goes through in the end.
BOOST_AUTO_TEST_CASE(back_pressure_is_waiting)
{
    lab::world w;
    w.near.manners.refuse_all = true;
    std::deque<lab::result> r(1000);
    for (std::size_t i = 0; i < r.size(); ++i)
        copy(w.dram.block(i, 200), w.vram.block(i, 200), r[i].token());
    w.settle();
    BOOST_TEST(w.near.held() == 0u);
    BOOST_TEST(w.near.refusals() > 1u);
    BOOST_TEST(w.near.refusals() < 100u); // offered again, not hammered
    BOOST_TEST(std::all_of(r.begin(), r.end(), [](const auto& each) { return each.ends == 0; }));
    w.near.manners = {.refuse = 128};
    BOOST_TEST(testing::poll_until(w.rt, [&] {
        return std::all_of(r.begin(), r.end(), [](const auto& each) { return each.ends == 1; });
    }));
    BOOST_TEST(std::all_of(r.begin(), r.end(), [](const auto& each) { return !each.error && each.bytes == 200; }));
    BOOST_TEST(equal(w.dram.at(0, 200'000), w.vram.at(0, 200'000)));
}

BOOST_AUTO_TEST_CASE(progress_counts_what_landed)
{
    lab::world w;
    progress p;
    copy_options options;
    options.progress = &p;
    lab::result r;
    copy(w.dram.at(0, 32_KiB), w.vram.at(0, 32_KiB), options, r.token());
    BOOST_TEST((p.total() == 32_KiB && p.landed() == 0));
    w.settle();
    for (chunk* c : w.near.chunks()) w.near.release(c);
    w.settle();
    BOOST_TEST(p.landed() == 16_KiB);
    BOOST_TEST(p.fraction() == 0.5);
    BOOST_TEST(w.finish(r));
    BOOST_TEST(p.fraction() == 1.0);
}

BOOST_AUTO_TEST_CASE(a_driver_added_later_may_be_the_better_way)
{
    lab::world w;
    w.hold(false);
    const object o = w.bucket.object("o");
    BOOST_TEST(w.agent->explain(w.file.at(0, 1), w.vram.at(0, 1)).hops.size() == 2u);
    auto& direct = w.agent->add(std::make_unique<lab::device>(
        w.on, lab::device_options{"direct", [](tier a, tier b) { return a == tier::vram && b == tier::dram; }, {}}));
    BOOST_TEST(w.agent->explain(w.vram.at(0, 1), w.dram.at(0, 1)).hops.at(0).driver == "direct"); // latest of equals
    lab::result r;
    copy(w.vram.at(0, 100), w.dram.at(0, 100), r.token());
    w.settle();
    BOOST_TEST((r.ends == 1 && !r.error));
    BOOST_TEST(direct.ends() == 1u);
    BOOST_TEST(direct.enlisted().size() == 3u); // what was registered before it came, and the staging
    const std::string words = w.agent->explain(w.file.at(0, 1_MiB), w.vram.at(0, 1_MiB)).to_string();
    BOOST_TEST(words.starts_with("FILE -> DRAM (far) -> VRAM (near), "), words);
}

// Also one that is added while another is slow to register the memory: each is told of it once.
BOOST_AUTO_TEST_CASE(a_driver_added_during_a_registration)
{
    for (const bool refused : {false, true}) {
        lab::world w;
        w.near.slow_enlist = true;
        lab::bytes memory(4_KiB);
        region r;
        error_code error;
        asio::co_spawn(w.rt, [](lab::world& v, lab::bytes& m, region& it, error_code& e) -> task<> {
            try {
                it = co_await v.agent->register_memory(dram(m));
            } catch (const system_error& x) {
                e = x.code();
            }
        }(w, memory, r, error), asio::detached);
        w.settle();
        const std::size_t before = w.far.enlisted().size();
        BOOST_TEST(!r);
        std::deque<lab::device*> late;
        for (int i = 0; i < 4; ++i) // so many that the list of drivers moves
            late.push_back(&w.agent->add(std::make_unique<lab::device>(w.on, lab::device_options{"late"})));
        const std::size_t known = late.back()->enlisted().size();
        if (refused) late.back()->enlist_error = error_code{7, lab::category()};
        w.near.answer();
        w.settle();
        BOOST_TEST(bool{r} == !refused);
        BOOST_TEST(w.far.enlisted().size() == before + !refused);
        for (lab::device* d : late) BOOST_TEST(d->enlisted().size() == known + (!refused || d == late.back()));
        BOOST_TEST((refused ? error == error_code(7, lab::category()) : !error));
        r.reset();
    }
}

// Of a batch with `status` a transfer that fails before all of it is cut is over once, and the others are copied.
BOOST_AUTO_TEST_CASE(a_large_transfer_that_fails_ends_once)
{
    wye::limits narrow = lab::small_limits();
    narrow.window_chunks = 1;
    lab::world w{narrow};
    const transfer batch[] = {{w.dram.at(0, 12_KiB), w.vram.at(0, 12_KiB)},
                              {w.dram.at(16_KiB, 4_KiB), w.vram.at(16_KiB, 4_KiB)},
                              {w.dram.at(32_KiB, 4_KiB), w.vram.at(32_KiB, 4_KiB)}};
    error_code status[3];
    copy_options o;
    o.status = status;
    lab::result r;
    w.near.manners.fail = 256;
    copy(batch, o, r.token());
    w.settle(); // the first piece is out
    w.near.manners.fail = 0;
    BOOST_TEST(w.finish(r));
    BOOST_TEST(r.ends == 1);
    BOOST_TEST(status[0].failed());
    BOOST_TEST(!status[1]);
    BOOST_TEST(!status[2]);
    BOOST_TEST(std::equal(w.vram_bytes.begin() + 32_KiB, w.vram_bytes.begin() + 36_KiB, w.dram_bytes.begin() + 32_KiB));
    BOOST_TEST(r.bytes == 8_KiB);
}
