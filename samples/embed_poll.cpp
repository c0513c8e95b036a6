// SPDX-License-Identifier: Apache-2.0
// A serving engine that owns its thread: it computes in steps and gives wye a bounded turn between them. No
// call of `poll` waits, however much is being transferred.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <unistd.h>

#include <options.hpp>
#include <wye/wye.hpp>

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace wye::literals;
using clock_type = std::chrono::steady_clock;
using microseconds = std::chrono::duration<double, std::micro>;

struct settings {
    double seconds = 5;
    unsigned budget_us = 50;
    std::string json;
    std::string directory = "/var/tmp";
};

/// Stands for a step of a model: a fixed amount of arithmetic, about 200 us on an undisturbed core.
class engine {
public:
    engine()
    {
        constexpr std::uint64_t some = 1 << 18;
        microseconds least = std::chrono::hours{1};
        for (int i = 0; i < 20; ++i) { // of which one at least is undisturbed
            const auto begin = clock_type::now();
            compute(some);
            least = std::min<microseconds>(least, clock_type::now() - begin);
        }
        rounds_ = static_cast<std::uint64_t>(static_cast<double>(some) * 200 / least.count());
    }
    void step() { compute(rounds_); }

private:
    void compute(std::uint64_t rounds)
    {
        for (std::uint64_t i = 0; i < rounds; ++i)
            state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        kept_ = state_;
    }
    std::uint64_t rounds_ = 0, state_ = 1;
    volatile std::uint64_t kept_ = 0;
};

/// Transfers without pause until told to stop: memory to memory, and to and from a file.
class traffic {
public:
    traffic(wye::runtime& rt, wye::agent& agent, const std::string& directory)
        : rt_{rt}, agent_{agent}, path_{directory + "/wye-embed-poll-" + std::to_string(::getpid())}
    {
    }

    void begin() { spawn(prepare()); }
    void stop() noexcept { stopping_ = true; }
    bool under_way() const noexcept { return running_ != 0; }
    std::uint64_t bytes() const noexcept { return bytes_; }
    /// Rethrows what a transfer threw.
    void check() const { if (error_) std::rethrow_exception(error_); }

private:
    static constexpr std::size_t file_piece = 4_MiB, file_pieces = 16;

    void spawn(wye::task<> t)
    {
        ++running_;
        asio::co_spawn(rt_, std::move(t), [this](std::exception_ptr e) {
            --running_;
            if (e) error_ = e, stopping_ = true;
        });
    }

    wye::task<> prepare()
    {
        const std::size_t half = memory_.size() / 2;
        from_ = co_await agent_.register_memory(wye::dram(memory_.data(), half));
        to_ = co_await agent_.register_memory(wye::dram(memory_.data() + half, half));
        wye::file_options options;
        options.temporary = true;
        options.preallocate = file_piece * file_pieces;
        file_ = co_await agent_.open_file(path_, options);
        for (int i = 0; i < 2; ++i) spawn(move(from_, to_));
        for (std::uint64_t i = 0; i < 4; ++i) spawn(store_and_load(i));
    }

    wye::task<> move(wye::slice from, wye::slice to)
    {
        while (!stopping_) bytes_ += co_await wye::copy(from, to);
    }

    /// Every fourth piece of the file: written, then read back.
    wye::task<> store_and_load(std::uint64_t first)
    {
        for (std::uint64_t i = first; !stopping_; i = i + 4 < file_pieces ? i + 4 : first) {
            bytes_ += co_await wye::copy(from_.block(i, file_piece), file_.block(i, file_piece));
            bytes_ += co_await wye::copy(file_.block(i, file_piece), to_.block(i, file_piece));
        }
    }

    wye::runtime& rt_;
    wye::agent& agent_;
    std::string path_;
    wye::arena memory_{2 * file_piece * file_pieces};
    wye::region from_, to_;
    wye::file file_;
    std::uint64_t bytes_ = 0;
    int running_ = 0;
    bool stopping_ = false;
    std::exception_ptr error_;
};

/// Of durations in microseconds.
struct spread {
    double p50 = 0, p99 = 0, longest = 0;

    explicit spread(std::vector<double> v)
    {
        if (v.empty()) return;
        std::ranges::sort(v);
        p50 = v[v.size() / 2];
        p99 = v[v.size() * 99 / 100];
        longest = v.back();
    }
    json::object to_json() const { return {{"p50", p50}, {"p99", p99}, {"max", longest}}; }
};

std::ostream& operator<<(std::ostream& out, const spread& s)
{
    return out << "p50 " << s.p50 << " us, p99 " << s.p99 << " us, longest " << s.longest << " us";
}

struct phase {
    double steps_per_second;
    std::uint64_t polls;
    spread step, poll;
    spread poll_work; ///< processor time: without what the machine gave to others meanwhile

    json::object to_json() const
    {
        return {{"steps_per_second", steps_per_second}, {"polls", polls}, {"step_us", step.to_json()},
                {"poll_us", poll.to_json()}, {"poll_work_us", poll_work.to_json()}};
    }
};

/// Processor time of this thread, in microseconds.
double processor_time()
{
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

/// The scheduler: a step, a turn for wye, a step, ...
phase schedule(engine& e, wye::runtime& rt, wye::duration budget, double seconds)
{
    std::vector<double> steps, polls, work;
    const auto begin = clock_type::now();
    auto now = begin;
    const auto lap = [&now] {
        const auto last = std::exchange(now, clock_type::now());
        return microseconds{now - last}.count();
    };
    while (std::chrono::duration<double>(now - begin).count() < seconds) {
        e.step();
        const double before = processor_time();
        steps.push_back(lap());
        rt.poll(budget);
        polls.push_back(lap());
        work.push_back(processor_time() - before);
    }
    const double took = std::chrono::duration<double>(now - begin).count();
    const std::uint64_t n = polls.size();
    return {static_cast<double>(n) / took, n, spread{std::move(steps)}, spread{std::move(polls)},
            spread{std::move(work)}};
}

void print(const char* name, const phase& p)
{
    std::cout << name << ": " << p.steps_per_second << " steps/s, " << p.polls << " polls\n"
              << "  a poll: " << p.poll << "\n    its processor time: " << p.poll_work
              << "\n  a step: " << p.step << '\n';
}

void run(const settings& s)
{
    const wye::duration budget = std::chrono::microseconds{s.budget_us};
    wye::runtime rt;
    wye::agent agent{rt, "embed_poll"};
    engine e;
    traffic t{rt, agent, s.directory};

    const phase idle = schedule(e, rt, budget, s.seconds / 3);
    t.begin();
    const phase loaded = schedule(e, rt, budget, s.seconds * 2 / 3);
    const double bytes = static_cast<double>(t.bytes());
    t.stop();
    while (t.under_way()) rt.poll(budget);
    t.check();

    const double gigabytes_per_second = bytes / (s.seconds * 2 / 3) / 1e9;
    std::cout << std::fixed << std::setprecision(1);
    print("without transfers", idle);
    print("with transfers", loaded);
    std::cout << std::setprecision(2) << "transferred " << gigabytes_per_second << " GB/s in turns of "
              << s.budget_us << " us; steps keep " << loaded.steps_per_second / idle.steps_per_second
              << " of their rate\n";

    if (s.json.empty()) return;
    std::ofstream out{s.json};
    out << json::serialize(json::object{{"budget_us", s.budget_us},
                                        {"without_transfers", idle.to_json()},
                                        {"with_transfers", loaded.to_json()},
                                        {"gb_per_s", gigabytes_per_second}})
        << '\n'
        << std::flush;
    if (!out) throw std::runtime_error{"cannot write " + s.json};
}

} // namespace

int main(int argc, char** argv)
{
    settings s;
    samples::options options{"embed_poll [options]: a step scheduler that polls wye between its steps"};
    options.add("seconds", s.seconds, "how long (5)")
        .add("budget-us", s.budget_us, "the turn that each poll gets (50)")
        .add("directory", s.directory, "where the temporary file is made (/var/tmp)")
        .add("json", s.json, "write the results to this file");
    try {
        const auto words = options.parse(argc, argv);
        if (!words.empty()) throw samples::bad_usage{"unknown argument '" + words[0] + "'; try --help"};
        run(s);
        return 0;
    } catch (const samples::bad_usage& e) {
        std::cerr << "embed_poll: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "embed_poll: " << e.what() << '\n';
        return 1;
    }
}
