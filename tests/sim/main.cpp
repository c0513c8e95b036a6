// SPDX-License-Identifier: Apache-2.0
// Sweeps seeds: sim_test [--seeds N] [--first S] [--shard I/N] [--faults LIST] [--within | --between] [--verbose]
//
// Each shard is a process of its own, so that a seed that crashes or spins is found out, too. The first seed that
// fails is named with the fewest faults that still make it fail, and the command that replays it; with --go-on all are.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play.hpp"

using namespace wye;
using namespace wye::sweep;

namespace {

constexpr unsigned patience = 10, more_patience = 60; // seconds of processor time for one seed; for a thousand agents
constexpr std::uint64_t twice_every = 16;    // seeds that are run again, to see that they are the same

struct settings {
    std::uint64_t seeds = 200, first = 1, shard = 0, shards = 1;
    std::string faults = "all";
    bool verbose = false;
    bool shrink = true;
    bool go_on = false;      ///< after a seed that fails
    bool within = true, between = true; ///< which of a seed's worlds
};

/// What a child tells, however it ends.
struct report {
    std::uint64_t seed;
    char failure[400];
    std::uint64_t seeds, operations, succeeded, cancelled, missed, failed, bytes, events;
    std::uint64_t memory, most_memory; ///< KiB, of each seed's most
    double virtual_seconds, processor_seconds, spent_before; ///< before: by earlier children
};

[[noreturn]] void usage()
{
    std::fprintf(stderr, "sim_test [--seeds N] [--first S] [--shard I/N] [--faults all|none|0,2,...] [--within | --between] [--verbose] [--no-shrink] [--go-on]\n");
    std::exit(2);
}

std::uint64_t number(std::string_view s)
{
    std::uint64_t n = 0;
    const auto [end, e] = std::from_chars(s.data(), s.data() + s.size(), n);
    if (e != std::errc{} || end != s.data() + s.size()) usage();
    return n;
}

settings parse(int argc, char** argv)
{
    settings s;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--verbose") s.verbose = true;
        else if (name == "--no-shrink") s.shrink = false;
        else if (name == "--go-on") s.go_on = true;
        else if (name == "--within") s.between = false;
        else if (name == "--between") s.within = false;
        else if (++i == argc) usage();
        else if (name == "--seeds") s.seeds = number(argv[i]);
        else if (name == "--first") s.first = number(argv[i]);
        else if (name == "--faults") s.faults = argv[i];
        else if (name == "--shard") {
            const std::string_view v = argv[i];
            const auto slash = v.find('/');
            if (slash == v.npos) usage();
            s.shard = number(v.substr(0, slash));
            s.shards = number(v.substr(slash + 1));
            if (s.shard >= s.shards) usage();
        } else usage();
    }
    return s;
}

/// A seed's two worlds: one host, and several.
struct worlds {
    scenario within;
    meeting between;
    explicit worlds(std::uint64_t seed) : within{seed}, between{seed} {}
    std::size_t faults() const { return within.faults.size() + between.mishaps.size(); }
    std::string describe() const { return within.describe() + between.describe(); }
};

/// Only these faults of the first world, and of the second, whose numbers go on: "all", "none", or numbers.
worlds staged(std::uint64_t seed, const std::string& faults)
{
    worlds w{seed};
    if (faults == "all") return w;
    std::size_t number = 0;
    const auto left_out = [&](const auto&) {
        return (',' + faults + ',').find(',' + std::to_string(number++) + ',') == std::string::npos;
    };
    std::erase_if(w.within.faults, left_out);
    std::erase_if(w.between.mishaps, left_out);
    return w;
}

double processor_seconds()
{
    rusage u{};
    ::getrusage(RUSAGE_SELF, &u);
    const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
    return seconds(u.ru_utime) + seconds(u.ru_stime);
}

/// Only so much for one seed.
void wind_up(unsigned seconds)
{
    const itimerval t{{0, 0}, {seconds, 0}};
    ::setitimer(ITIMER_PROF, &t, nullptr);
}

/// One of a seed's worlds.
template <class World>
void try_world(const settings& s, const World& scene, report& r)
{
    verdict v = play(scene);
    if (v.failure.empty() && scene.seed % twice_every == 0 && play(scene).digest != v.digest) v.failure = "two runs of it differ";
    r.operations += v.operations;
    r.succeeded += v.succeeded;
    r.cancelled += v.cancelled;
    r.missed += v.missed;
    r.failed += v.failed;
    r.bytes += v.bytes;
    r.events += v.events;
    r.virtual_seconds += std::chrono::duration<double>(v.took).count();
    if (s.verbose) std::printf("  %zu operations, %llu events, %.3f s, digest %016llx\n", v.operations,
                               static_cast<unsigned long long>(v.events), std::chrono::duration<double>(v.took).count(),
                               static_cast<unsigned long long>(v.digest));
    std::strncpy(r.failure, v.failure.c_str(), sizeof r.failure - 1);
}

/// From now on the kernel counts anew how much was in memory at most. What the last seed freed does not count.
void forget_memory()
{
    ::malloc_trim(0);
    if (std::FILE* const f = std::fopen("/proc/self/clear_refs", "w")) {
        std::fputs("5", f);
        std::fclose(f);
    }
}

/// In KiB.
std::uint64_t most_memory()
{
    std::FILE* const f = std::fopen("/proc/self/status", "r");
    if (!f) return 0;
    char line[128];
    unsigned long long kib = 0;
    while (std::fgets(line, sizeof line, f))
        if (std::sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
    std::fclose(f);
    return kib;
}

void try_one(const settings& s, std::uint64_t seed, report& r)
{
    forget_memory();
    r.seed = seed;
    const worlds w = staged(seed, s.faults);
    wind_up(w.between.what == dealings::thousand ? more_patience : patience);
    if (s.verbose) std::printf("%s", w.describe().c_str());
    if (s.within) try_world(s, w.within, r);
    if (s.between && !r.failure[0]) try_world(s, w.between, r);
    ++r.seeds;
    const std::uint64_t kib = most_memory();
    r.memory += kib;
    r.most_memory = std::max(r.most_memory, kib);
}

/// In a process of its own; what it says of itself, or what it died of.
void in_child(report& r, const std::function<void()>& work, rusage& used)
{
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        work();
        r.processor_seconds = r.spent_before + processor_seconds();
        std::fflush(nullptr);
        std::_Exit(0);
    }
    int status = 0;
    ::wait4(child, &status, 0, &used);
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) == 0) return;
    const bool spins = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;
    if (spins) std::snprintf(r.failure, sizeof r.failure, "it spins: it takes more processor time than it may");
    else std::snprintf(r.failure, sizeof r.failure, "it crashes: %s", WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "exit");
}

bool still_fails(const settings& s, std::uint64_t seed, const std::string& faults, report& shared)
{
    settings one = s;
    one.faults = faults;
    one.verbose = false;
    shared = {};
    rusage used{};
    in_child(shared, [&] { try_one(one, seed, shared); }, used);
    return shared.failure[0] != 0;
}

/// The fewest faults that still fail: each is left out in turn, until none can be.
std::string shrink(const settings& s, std::uint64_t seed, report& shared)
{
    std::set<std::size_t> kept;
    for (std::size_t i = 0; i < worlds{seed}.faults(); ++i) kept.insert(i);
    const auto list = [&](std::size_t without) {
        std::string text;
        for (const std::size_t i : kept)
            if (i != without) text += (text.empty() ? "" : ",") + std::to_string(i);
        return text.empty() ? std::string{"none"} : text;
    };
    constexpr std::size_t nothing = ~std::size_t{0};
    for (bool fewer = true; std::exchange(fewer, false);)
        for (const std::size_t i : kept)
            if (still_fails(s, seed, list(i), shared)) {
                kept.erase(i);
                fewer = true;
                break;
            }
    still_fails(s, seed, list(nothing), shared);
    return list(nothing);
}

void tell_failure(const settings& s, const char* program, report& shared)
{
    const std::uint64_t seed = shared.seed;
    std::printf("seed %llu fails: %s\n%s", static_cast<unsigned long long>(seed), shared.failure,
                staged(seed, s.faults).describe().c_str());
    if (s.shrink && s.faults == "all") {
        const std::string faults = shrink(s, seed, shared);
        std::printf("with faults %s only: %s\n", faults.c_str(), shared.failure);
        std::printf("replay: %s --first %llu --seeds 1 --faults %s --verbose\n", program,
                    static_cast<unsigned long long>(seed), faults.c_str());
    }
    std::printf("replay: %s --first %llu --seeds 1 --verbose\n", program, static_cast<unsigned long long>(seed));
    std::fflush(stdout);
}

// Scattered by Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4): the large worlds come every
// 50th and 500th seed, and a shard of every second seed would get all of them.
std::uint64_t shard_of(std::uint64_t seed, std::uint64_t shards)
{
    return (seed * 0x9E3779B97F4A7C15u >> 32) % shards;
}

} // namespace

int main(int argc, char** argv)
{
    const settings s = parse(argc, argv);
    void* const page = ::mmap(nullptr, sizeof(report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    report& shared = *new (page) report{};
    rusage used{};
    std::uint64_t failures = 0;
    for (std::uint64_t next = s.first;; next = shared.seed + 1) {
        in_child(shared, [&] {
            for (std::uint64_t seed = next; seed < s.first + s.seeds && !shared.failure[0]; ++seed)
                if (shard_of(seed, s.shards) == s.shard) try_one(s, seed, shared);
        }, used);
        if (!shared.failure[0]) break;
        ++failures;
        const report so_far = shared;
        tell_failure(s, argv[0], shared);
        if (!s.go_on) return 1;
        shared = so_far;
        shared.failure[0] = 0;
        shared.spent_before = so_far.processor_seconds;
    }
    const report& r = shared;
    const auto count = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
    const double each = r.seeds ? r.processor_seconds / static_cast<double>(r.seeds) : 0;
    std::printf("%llu seeds held: %llu operations (%llu well, %llu cancelled, %llu late, %llu failed), %.1f MiB, %llu events, "
                "%.0f virtual s; %.4f processor s a seed; %.1f MiB a seed, %.1f at most\n",
                count(r.seeds), count(r.operations), count(r.succeeded), count(r.cancelled), count(r.missed), count(r.failed),
                static_cast<double>(r.bytes) / 1048576, count(r.events), r.virtual_seconds, each,
                static_cast<double>(r.memory) / 1024 / static_cast<double>(std::max<std::uint64_t>(1, r.seeds)),
                static_cast<double>(r.most_memory) / 1024);
    return failures != 0;
}
