// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include "null_world.hpp"
#include "operations.hpp"
#include "report.hpp"
#include "runtime_parts.hpp"
#include "statistics.hpp"

namespace perf {

namespace {

/// Of operations of a slice: short enough to fit between the interruptions of a busy machine.
constexpr std::size_t per_slice = 4000;

/// Nanoseconds of one operation, over a slice.
template <class Operation>
double cost(null_world& w, Operation operation, std::size_t n = per_slice)
{
    const auto begin = clock::now();
    w.drive(operations::repeatedly(w, operation, n));
    return seconds_since(begin) * 1e9 / static_cast<double>(n);
}

wye::task<> side_by_side(null_world& w, std::size_t coroutines, std::size_t n)
{
    const auto executor = co_await asio::this_coro::executor;
    for (std::size_t i = 1; i < coroutines; ++i)
        asio::co_spawn(executor, operations::repeatedly(w, operations::copy_one, n), asio::detached);
    co_await operations::repeatedly(w, operations::copy_one, n);
}

/// What an operation costs when nothing disturbs it: the lower decile of the slices, since whatever else runs
/// on the machine only ever adds.
template <class Slice>
void add_cost(const std::string& name, const settings& s, report& r, driving how, Slice&& slice)
{
    if (!r.wants(name)) return;
    null_world w{how};
    r.add(name, "ns", quantile(repeat(s.seconds, 15, [&] { return slice(w); }), 0.1));
}

void measure_copies(const settings& s, report& r)
{
    const auto one = [](null_world& w) { return cost(w, operations::copy_one); };
    add_cost("runtime/copy_one", s, r, driving::run, one);
    add_cost("runtime/copy_one/poll", s, r, driving::poll, one);
    add_cost("runtime/copy_one/guest", s, r, driving::guest, one);
    add_cost("runtime/copy_64_coroutines", s, r, driving::run, [](null_world& w) {
        const auto begin = clock::now();
        w.drive(side_by_side(w, 64, per_slice / 16));
        return seconds_since(begin) * 1e9 / (64 * (per_slice / 16));
    });
    add_cost("runtime/copy_batch64_per_slice", s, r, driving::run, [](null_world& w) {
        return cost(w, operations::copy_batch64, per_slice / 16) / null_world::blocks;
    });
    add_cost("runtime/copy_prepared64_per_slice", s, r, driving::run, [](null_world& w) {
        return cost(w, operations::copy_prepared64, per_slice / 16) / null_world::blocks;
    });
}

void measure_idle_polls(const settings& s, report& r)
{
    const auto polls = [](wye::duration budget) {
        return [budget](null_world& w) {
            const auto begin = clock::now();
            for (std::size_t i = 0; i < per_slice; ++i) w.runtime->poll(budget);
            return seconds_since(begin) * 1e9 / per_slice;
        };
    };
    add_cost("runtime/poll_idle", s, r, driving::poll, polls(wye::duration::max()));
    add_cost("runtime/poll_idle/budget", s, r, driving::poll, polls(std::chrono::microseconds{50}));
}

/// Beside what Asio has for the same, turn and turn about.
void measure_against_asio(const settings& s, report& r)
{
    if (r.wants("runtime/copy_one_over_post")) {
        null_world w{driving::run};
        const paired p = alternate(s.seconds, 15, [&] { return cost(w, operations::copy_one); },
                                   [&] { return cost(w, operations::post); });
        r.add({"runtime/copy_one_over_post", "ns", p.ours, p.raw, p.ratio, {},
               "raw: co_await asio::post(deferred)"});
    }
    if (r.wants("runtime/sleep")) {
        null_world w{driving::run};
        const paired p = alternate(s.seconds, 15, [&] { return cost(w, operations::sleep, per_slice / 16); },
                                   [&] { return cost(w, operations::asio_timer, per_slice / 16); });
        r.add({"runtime/sleep", "ns", p.ours, p.raw, p.ratio, {}, "of no time; raw: asio::steady_timer"});
    }
}

} // namespace

void run_runtime(const settings& s, report& r)
{
    settings brief = s;
    brief.seconds /= 4; // these settle sooner than files do
    measure_copies(brief, r);
    measure_idle_polls(brief, r);
    measure_against_asio(brief, r);
    measure_allocations(r);
    measure_waiting(r);
    measure_idle_calls(s, r);
}

} // namespace perf
