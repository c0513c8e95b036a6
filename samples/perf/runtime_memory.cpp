// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include "allocations.hpp"
#include "null_world.hpp"
#include "operations.hpp"
#include "report.hpp"
#include "runtime_parts.hpp"

namespace perf {

namespace {

// ---- Allocations in the steady state

constexpr int warm_up = 2000, steady = 20000;

template <class Operation>
wye::task<> count(null_world& w, Operation operation, std::uint64_t& allocations)
{
    for (int i = 0; i < warm_up; ++i) co_await operation(w);
    const std::uint64_t before = allocations::calls();
    for (int i = 0; i < steady; ++i) co_await operation(w);
    allocations = allocations::calls() - before;
}

wye::task<> copy_until(null_world& w, const bool& over)
{
    while (!over) co_await operations::copy_one(w);
}

/// One of 64 coroutines counts; the others copy for as long as it takes.
wye::task<> count_among_64(null_world& w, std::uint64_t& allocations)
{
    const auto executor = co_await asio::this_coro::executor;
    bool over = false;
    int left = 63;
    for (int i = 0; i < 63; ++i)
        asio::co_spawn(executor, copy_until(w, over), [&left](std::exception_ptr) { --left; });
    co_await count(w, operations::copy_one, allocations);
    over = true;
    while (left != 0) co_await w.runtime->sleep(std::chrono::milliseconds{1});
}

/// Copies without a coroutine, each begun when the one before has ended.
struct chain {
    null_world* world;
    std::uint64_t* allocations;
    bool* over;
    int begun = 0;

    void operator()(wye::error_code = {}, std::size_t = 0)
    {
        if (begun == warm_up) *allocations = allocations::calls();
        if (begun == warm_up + steady) {
            *allocations = allocations::calls() - *allocations;
            *over = true;
            return;
        }
        ++begun;
        const wye::transfer& t = world->batch[0];
        wye::copy(t.from, t.to, asio::bind_cancellation_slot(world->signal.slot(), chain{*this}));
    }
};

wye::task<> count_callbacks(null_world& w, std::uint64_t& allocations)
{
    bool over = false;
    chain{&w, &allocations, &over}();
    while (!over) co_await w.runtime->sleep(std::chrono::milliseconds{1});
}

/// The copies of a coroutine that was spawned with a cancellation slot.
wye::task<> count_cancellable(null_world& w, std::uint64_t& allocations)
{
    const auto executor = co_await asio::this_coro::executor;
    asio::cancellation_signal signal;
    bool over = false;
    asio::co_spawn(executor, count(w, operations::copy_one, allocations),
                   asio::bind_cancellation_slot(signal.slot(), [&over](std::exception_ptr) { over = true; }));
    while (!over) co_await w.runtime->sleep(std::chrono::milliseconds{1});
}

struct counted_operation {
    const char* name;
    wye::task<> (*make)(null_world&, std::uint64_t&);
};

constexpr counted_operation counted_operations[] = {
    {"copy_one", [](null_world& w, std::uint64_t& n) { return count(w, operations::copy_one, n); }},
    {"copy_in_child", [](null_world& w, std::uint64_t& n) { return count(w, operations::copy_in_child, n); }},
    {"copy_bound_slot", &count_callbacks},
    {"copy_in_cancellable", &count_cancellable},
    {"copy_64_coroutines", &count_among_64},
    {"copy_batch64", [](null_world& w, std::uint64_t& n) { return count(w, operations::copy_batch64, n); }},
    {"copy_prepared64",
     [](null_world& w, std::uint64_t& n) { return count(w, operations::copy_prepared64, n); }},
    {"sleep", [](null_world& w, std::uint64_t& n) { return count(w, operations::sleep, n); }},
};

// ---- Memory of what waits

/// Runs `measure` in a child process, whose heap nothing has grown before; returns what it returns.
template <class Measure>
double in_child(Measure&& measure)
{
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error{"pipe"};
    const pid_t child = ::fork();
    if (child == 0) {
        int status = 1;
        try {
            const double v = measure();
            status = ::write(ends[1], &v, sizeof v) == sizeof v ? 0 : 1;
        } catch (const std::exception&) {
        }
        ::_exit(status);
    }
    ::close(ends[1]);
    double v = 0;
    const bool heard = ::read(ends[0], &v, sizeof v) == sizeof v;
    ::close(ends[0]);
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0 || !heard)
        throw std::runtime_error{"a measurement in a child process failed"};
    return v;
}

/// A million, where there is memory for twice of what they should take.
std::size_t how_many()
{
    std::ifstream in("/proc/meminfo");
    for (std::string word; in >> word;)
        if (std::size_t kib = 0; word == "MemAvailable:" && in >> kib)
            return std::min<std::size_t>(1'000'000, kib / 3);
    return 100'000;
}

std::uint64_t resident_bytes()
{
    std::ifstream in("/proc/self/statm");
    std::uint64_t all = 0, resident = 0;
    in >> all >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// What `begin` makes `what_grows` grow by, for each of `n` that wait. `begin` adds one to its argument for
/// each that ends; all must, once they may.
template <class Growing, class Begin>
double growth(std::size_t n, Growing&& what_grows, Begin&& begin)
{
    null_world w{driving::poll};
    w.drive(operations::repeatedly(w, operations::copy_one, 10));
    w.driver.refuse(true);
    std::size_t ended = 0;
    const auto before = what_grows();
    const std::size_t begun = begin(w, n, ended);
    for (int i = 0; i < 10; ++i) w.turn();
    const double grown = static_cast<double>(what_grows() - before);
    if (ended != 0) throw std::logic_error{"it did not wait"};
    w.driver.refuse(false);
    while (ended != begun) w.turn();
    return grown / static_cast<double>(n);
}

std::size_t begin_copies(null_world& w, std::size_t n, std::size_t& ended)
{
    for (std::size_t i = 0; i < n; ++i)
        wye::copy(w.batch[0].from, w.batch[0].to, [&ended](wye::error_code, std::size_t) { ++ended; });
    return n;
}

std::size_t begin_batches(null_world& w, std::size_t n, std::size_t& ended)
{
    const std::vector<wye::transfer> batch(1000, w.batch[0]);
    for (std::size_t i = 0; i < n / batch.size(); ++i)
        wye::copy(batch, [&ended](wye::error_code, std::size_t) { ++ended; });
    return n / batch.size();
}

wye::task<> one_copy(null_world& w, std::size_t& ended)
{
    co_await operations::copy_one(w);
    ++ended;
}

std::size_t begin_coroutines(null_world& w, std::size_t n, std::size_t& ended)
{
    for (std::size_t i = 0; i < n; ++i) asio::co_spawn(*w.runtime, one_copy(w, ended), asio::detached);
    return n;
}

} // namespace

void measure_allocations(report& r)
{
    if (!allocations::counted) return;
    std::uint64_t sum = 0;
    for (const driving d : all_driving) {
        for (const counted_operation& o : counted_operations) {
            const std::string name = std::string{"runtime/allocations/"} + name_of(d) + '/' + o.name;
            if (!r.wants(name)) continue;
            null_world w{d};
            std::uint64_t n = 0;
            w.drive(o.make(w, n));
            r.add(name, "count", static_cast<double>(n));
            sum += n;
        }
    }
    if (r.wants("runtime/allocations"))
        r.add("runtime/allocations", "count", static_cast<double>(sum), "all of these, 20000 times each");
}

void measure_waiting(report& r)
{
    const std::size_t n = how_many();
    const std::string note = std::to_string(n) + " waiting";
    const auto measure = [&](const char* name, auto what_grows, auto begin) {
        if (!r.wants(name)) return;
        r.add(name, "bytes", in_child([&] { return growth(n, what_grows, begin); }), note);
    };
    if (allocations::counted) {
        measure("runtime/bytes_per_waiting_op", &allocations::live_bytes, &begin_copies);
        measure("runtime/bytes_per_waiting_slice", &allocations::live_bytes, &begin_batches);
    }
    measure("runtime/resident_per_waiting_op", &resident_bytes, &begin_copies);
    measure("runtime/resident_per_waiting_slice", &resident_bytes, &begin_batches);
    measure("runtime/resident_per_waiting_coroutine", &resident_bytes, &begin_coroutines);
}

} // namespace perf
