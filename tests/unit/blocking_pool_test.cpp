// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE blocking_pool
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <functional>
#include <latch>
#include <thread>
#include <vector>

#include <poll.h>

#include "blocking_pool.hpp"

using wye::storage::blocking_pool;

namespace {

struct job final : blocking_pool::job {
    job() = default;
    explicit job(std::function<void()> w, std::function<void()> f = {})
        : on_work{std::move(w)}, on_finished{std::move(f)}
    {
    }
    void work() noexcept override
    {
        if (on_work) on_work();
        ++worked;
    }
    void finished() noexcept override
    {
        ++ended;
        if (on_finished) on_finished();
    }

    std::function<void()> on_work, on_finished;
    int worked = 0, ended = 0;
};

bool readable(const blocking_pool& p, int wait_ms = 0)
{
    pollfd fd{p.wait_handle(), POLLIN, 0};
    return ::poll(&fd, 1, wait_ms) == 1;
}

/// Reaps, asleep in between, until nothing is outstanding.
void drain(blocking_pool& p)
{
    while (p.outstanding() != 0) {
        if (p.arm()) readable(p, 10000);
        p.reap();
    }
}

} // namespace

// The blocking part runs elsewhere; its end is told here, and nowhere but in reap.
BOOST_AUTO_TEST_CASE(works_elsewhere_and_finishes_here)
{
    blocking_pool pool{2};
    const auto here = std::this_thread::get_id();
    std::thread::id worked, finished;
    job j{[&] { worked = std::this_thread::get_id(); }, [&] { finished = std::this_thread::get_id(); }};
    pool.submit(j);
    BOOST_TEST(pool.outstanding() == 1u);
    BOOST_TEST(j.ended == 0);
    drain(pool);
    BOOST_TEST(j.ended == 1);
    BOOST_TEST((worked != here && worked != std::thread::id{}));
    BOOST_TEST((finished == here));
    BOOST_TEST(pool.reap() == 0u);
}

// Every job is worked once and finished once, also those that finished ones submit.
BOOST_AUTO_TEST_CASE(each_job_once)
{
    blocking_pool pool{4};
    std::vector<job> jobs(5000), children(5000);
    for (std::size_t i = 0; i < jobs.size(); ++i) jobs[i].on_finished = [&, i] { pool.submit(children[i]); };
    for (job& j : jobs) {
        pool.submit(j);
        pool.reap();
    }
    drain(pool);
    const auto once = [](const job& j) { return j.worked == 1 && j.ended == 1; };
    BOOST_TEST(std::all_of(jobs.begin(), jobs.end(), once));
    BOOST_TEST(std::all_of(children.begin(), children.end(), once));
}

// Jobs begin in order, urgent ones before all that have not begun.
BOOST_AUTO_TEST_CASE(urgent_jobs_go_first)
{
    blocking_pool pool{1};
    std::latch begun{1}, go{1};
    std::vector<std::size_t> order;
    job first{[&] {
        begun.count_down();
        go.wait();
    }};
    std::vector<job> jobs(6);
    for (std::size_t i = 0; i < 6; ++i) jobs[i].on_work = [&order, i] { order.push_back(i); };
    pool.submit(first);
    begun.wait();
    for (std::size_t i = 0; i < 6; ++i) pool.submit(jobs[i], i >= 4);
    go.count_down();
    drain(pool);
    BOOST_TEST(order == (std::vector<std::size_t>{4, 5, 0, 1, 2, 3}), boost::test_tools::per_element());
}

// The eventfd is written for a sleeper only: a loop that is awake costs the helpers no system call.
BOOST_AUTO_TEST_CASE(signals_only_when_armed)
{
    blocking_pool pool{1};
    std::latch second_begun{1}, go{1};
    job first;
    job second{[&] {
        second_begun.count_down();
        go.wait();
    }};
    pool.submit(first);
    pool.submit(second);
    second_begun.wait(); // the one helper has handed the first back
    BOOST_TEST(!readable(pool));
    BOOST_TEST(!pool.arm()); // something is ready already
    BOOST_TEST(pool.reap() == 1u);
    BOOST_TEST(pool.arm());
    BOOST_TEST(!readable(pool));
    go.count_down();
    BOOST_TEST(readable(pool, 10000));
    BOOST_TEST(pool.reap() == 1u);
    BOOST_TEST(pool.arm()); // clears it
    BOOST_TEST(!readable(pool));
}

// Whoever sleeps on an armed pool is woken, however the arming and the end of the job interleave.
BOOST_AUTO_TEST_CASE(no_wakeup_is_lost)
{
    blocking_pool pool{2};
    int lost = 0;
    for (int i = 0; i < 3000; ++i) {
        job j;
        pool.submit(j);
        while (j.ended == 0) {
            if (pool.arm() && !readable(pool, 10000)) ++lost;
            pool.reap();
        }
    }
    BOOST_TEST(lost == 0);
}

// Destruction waits for what was submitted and finishes all of it.
BOOST_AUTO_TEST_CASE(destructor_drains)
{
    std::vector<job> jobs(100);
    {
        blocking_pool pool{3};
        for (job& j : jobs) pool.submit(j);
    }
    for (const job& j : jobs) BOOST_TEST((j.worked == 1 && j.ended == 1));
}

// A signal sent to the process must not land on a helper.
BOOST_AUTO_TEST_CASE(helpers_block_signals)
{
    sigset_t inside{}, before{}, after{};
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    {
        blocking_pool pool{1};
        job j{[&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &inside); }};
        pool.submit(j);
        drain(pool);
    }
    ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE}) {
        BOOST_TEST(::sigismember(&inside, s) == 1);
        BOOST_TEST(::sigismember(&before, s) == ::sigismember(&after, s));
    }
}
