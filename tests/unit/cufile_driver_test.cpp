// SPDX-License-Identifier: Apache-2.0
// VRAM to files and back by cuFile, over a cuFile that is ordinary calls on ordinary memory: used where it is real and for what
// it takes, staged everywhere else, and never less than all of it or an error.
#define BOOST_TEST_MODULE cufile_driver
#include <boost/test/unit_test.hpp>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "support/cufile_world.hpp"

using namespace wye;
using namespace wye::testing;

namespace {

std::size_t open_descriptors()
{
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"}) ++n;
    return n;
}

bool contains(const std::string& all, std::string_view part) { return all.find(part) != all.npos; }

/// Without O_DIRECT there is nothing to register.
struct needs_direct_io {
    static bool here()
    {
        const scratch s;
        const int fd = ::open((s.path + "/probe").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
        if (fd >= 0) ::close(fd);
        return fd >= 0;
    }
    needs_direct_io()
    {
        if (here()) return;
        std::puts("skipped: the filesystem of the working directory has no O_DIRECT");
        std::exit(77);
    }
};
BOOST_TEST_GLOBAL_FIXTURE(needs_direct_io);

} // namespace

// ---- When it is used ------------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(goes_straight_where_it_is_real)
{
    for (const bool late : {false, true}) {
        beginning b;
        b.late = late;
        world w{b};
        BOOST_TEST(w.goes_round(0, vram_bytes));
        BOOST_TEST(w.fake.calls == 2 * vram_bytes / 64_KiB);
        BOOST_TEST(w.fake.by_address == 0u);
        BOOST_TEST(w.explained(w.source, w.file.at(0, vram_bytes)).starts_with("VRAM -> FILE (cufile), "));
        BOOST_TEST(w.explained(w.file.at(0, vram_bytes), w.target).starts_with("FILE -> VRAM (cufile), "));
        BOOST_TEST(w.agent->explain(w.source, w.file.at(0, vram_bytes)).note == "");
        // What has nothing to do with it is as it was.
        BOOST_TEST(w.explained(w.memory, w.file.at(0, 1_MiB)).starts_with("DRAM -> FILE (file/"));
        BOOST_TEST(!contains(w.explained(w.file.at(0, 1_MiB), w.second.at(0, 1_MiB)), "cuFile"));
    }
}

BOOST_AUTO_TEST_CASE(is_not_used_where_it_is_not_real)
{
    fake_cufile& fake = fake_cufile::self();
    struct {
        const char* line;
        void (*set)(fake_cufile&, beginning&);
    } const all[] = {
        {"no nvidia-fs kernel module here", [](auto&, auto& b) { b.table = nullptr, b.missing = "no nvidia-fs kernel module here"; }},
        {"switched off", [](auto&, auto& b) { b.options.mode = cufile_mode::off; }},
        {"no GPU here", [](auto& f, auto&) { f.failing["init"] = 100; }},
        {"cuFileDriverOpen failed: cufile: the nvidia-fs driver is not loaded", [](auto& f, auto&) { f.failing["driver_open"] = 5001; }},
        {"cuFileDriverGetProperties failed: cufile: error 5999", [](auto& f, auto&) { f.failing["driver_properties"] = 5999; }},
        {"it has not opened nvidia-fs", [](auto& f, auto&) { f.major = f.minor = 0; }},
        {"its compatibility mode is on", [](auto& f, auto&) { f.settable = false; }},
        {"its compatibility mode is on", [](auto& f, auto&) { f.settable = f.allow_compatible = false, f.force_compatible = true; }},
        {"its compatibility mode is on", [](auto& f, auto&) { f.failing["get_parameter"] = 5022; }},
        {"its compatibility mode is on", [](auto&, auto& b) { b.table = &fake_cufile::old_table(); }},
    };
    for (const auto& one : all) {
        BOOST_TEST_CONTEXT(one.line)
        {
            beginning b;
            b.options.mode = cufile_mode::automatic;
            one.set(fake, b);
            world w{b};
            BOOST_TEST(w.goes_round(0, 1_MiB));
            BOOST_TEST(w.fake.calls == 0u);
            const std::string up = w.explained(w.file.at(0, 1_MiB), w.target.at(0, 1_MiB));
            BOOST_TEST(up.starts_with("FILE -> DRAM (file/"), up);
            BOOST_TEST(contains(up, std::string{", staged (cuFile: "} + one.line), up);
            BOOST_TEST(contains(w.explained(w.source, w.file.at(0, vram_bytes)), one.line));
            BOOST_TEST(!contains(w.explained(w.memory, w.file.at(0, 1_MiB)), "cuFile"));

            b.options.mode = cufile_mode::always;
            one.set(fake, b);
            if (b.options.mode == cufile_mode::off) continue;
            const auto says_why = [&](const system_error& e) { return contains(e.what(), one.line) && e.code() == errc::not_supported; };
            BOOST_CHECK_EXCEPTION(w.add(b), system_error, says_why);
        }
    }
}

// An old version has no settings to ask, and one that somebody else has opened cannot be set: then what holds is looked at.
BOOST_AUTO_TEST_CASE(is_real_however_compatibility_came_to_be_off)
{
    for (const cuf::api* table : {&fake_cufile::table(), &fake_cufile::old_table()}) {
        fake_cufile::self().settable = fake_cufile::self().allow_compatible = false;
        fake_cufile::self().failing["driver_open"] = 5026; // it is open already
        beginning b;
        b.table = table;
        b.options.mode = cufile_mode::always;
        world w{b};
        BOOST_TEST(w.goes_round(0, 1_MiB));
        BOOST_TEST(w.fake.calls == 2 * 1_MiB / 64_KiB);
    }
}

// On the machine that this runs on, whatever it is.
BOOST_AUTO_TEST_CASE(the_machine_says_what_it_has)
{
    world w;
    const std::string missing = read_cufile().missing;
    if (::access("/proc/driver/nvidia-fs/version", F_OK) != 0) BOOST_TEST(missing == "no nvidia-fs kernel module here");
    const std::string said = read_cuda().direct_storage;
    BOOST_TEST((said.empty() || contains(said, missing)), said);
    if (missing.empty()) return;
    runtime rt;
    wye::agent other{rt};
    other.add(drivers::vram_standin());
    other.add(drivers::cufile());
    region r;
    wye::file f;
    finish(rt, know(other, vram(w.from.data(), w.from.size()), r));
    finish(rt, open(other, w.directory.path + "/file", {}, f));
    const std::string route = other.explain(r.at(0, 1_MiB), f.at(0, 1_MiB)).to_string();
    BOOST_TEST(contains(route, ", staged (cuFile: " + missing + ")"), route);
    cufile_options o;
    o.mode = cufile_mode::always;
    BOOST_CHECK_THROW(drivers::cufile(o), system_error);
}

// ---- Whether it is faster -------------------------------------------------------------------------------

namespace {

/// Copies of 8 MiB, until the two ways have been compared; false when they are not.
bool compared(world& w, const slice& a, const slice& b)
{
    for (int i = 0; i < 64; ++i) {
        if (!contains(w.explained(a, b), "on trial beside staging")) return i >= 20;
        if (w.moved(a, b)) return false;
    }
    return false;
}

beginning undecided()
{
    beginning b;
    b.options.mode = cufile_mode::automatic;
    b.options.chunk_bytes = vram_bytes;
    return b;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_faster_way_is_kept_to_straight)
{
    world w{undecided()};
    const slice f = w.file.at(0, vram_bytes);
    w.fake.only_says_so = true;
    BOOST_TEST(compared(w, w.source, f));
    BOOST_TEST(w.explained(w.source, f).starts_with("VRAM -> FILE (cufile), "));
    BOOST_TEST(w.agent->explain(w.source, f).note == "");
    const unsigned before = w.fake.calls;
    for (int i = 0; i < 4; ++i) BOOST_TEST(!w.moved(w.source, f));
    BOOST_TEST(w.fake.calls == before + 4);
    // The other direction is another matter, and what does not suit it is staged, as ever.
    BOOST_TEST(contains(w.explained(f, w.target), "on trial"));
    BOOST_TEST(contains(w.explained(w.source.at(0, 100), w.file.at(0, 100)), "staged (cuFile: not in whole blocks"));
}

BOOST_AUTO_TEST_CASE(the_faster_way_is_kept_to_staged)
{
    world w{undecided()};
    const slice f = w.file.at(0, vram_bytes);
    BOOST_TEST(!w.moved(w.source, f));
    w.fake.takes = std::chrono::milliseconds{100}; // a disk does these 8 MiB in less, and in turn
    BOOST_TEST(compared(w, f, w.target));
    const std::string route = w.explained(f, w.target);
    BOOST_TEST(route.starts_with("FILE -> DRAM (file/"), route);
    BOOST_TEST(contains(route, ", staged (cufile: took "), route);
    const unsigned before = w.fake.calls;
    BOOST_TEST(!w.moved(f, w.target));
    BOOST_TEST(w.fake.calls == before);
    BOOST_TEST(w.arrived(0, vram_bytes));
}

// What fails is said, as ever, and not tried again.
BOOST_AUTO_TEST_CASE(a_way_that_fails_is_given_up)
{
    world w{undecided()};
    const slice f = w.file.at(0, vram_bytes);
    w.fake.outcomes = {{-1, ENOSPC}, {-5008, 0}};
    BOOST_TEST(w.moved(w.source, f) == file_error(ENOSPC)); // the disk's
    BOOST_TEST(!w.moved(w.source, f));
    BOOST_TEST(contains(w.explained(w.source, f), "on trial"));
    BOOST_TEST((w.moved(w.source, f) == error_code{5008, cufile_category()}));
    BOOST_TEST(contains(w.explained(w.source, f), ", staged (cufile: failed)"));
    const unsigned before = w.fake.calls;
    for (int i = 0; i < 4; ++i) BOOST_TEST(!w.moved(w.source, f));
    BOOST_TEST(w.fake.calls == before);
}

// Batches count as single copies do; what fails, or goes partly elsewhere, does not.
BOOST_AUTO_TEST_CASE(what_is_compared)
{
    world w{undecided()};
    const slice f = w.file.at(0, vram_bytes);
    BOOST_TEST(!w.moved(w.source, f));
    std::vector<transfer> mixed{{f.sub(0, 4_MiB), w.target.at(0, 4_MiB)}, {f.sub(4_MiB, 100), w.target.at(4_MiB, 100)}};
    std::vector<transfer> pages;
    for (std::uint64_t i = 0; i < 64; ++i) pages.push_back({f.block(i, 128_KiB), w.target.block(i, 128_KiB)});
    const auto go = [&](const std::vector<transfer>& batch) {
        lab::result r;
        copy(std::span<const transfer>{batch}, r.token());
        return until(w.rt, [&] { return r.ends != 0; }) && !r.error;
    };
    for (int i = 0; i < 60; ++i) BOOST_TEST(go(mixed));
    BOOST_TEST(contains(w.explained(f, w.target), "on trial"));
    for (int i = 0; i < 24; ++i) BOOST_TEST(go(pages));
    BOOST_TEST(!contains(w.explained(f, w.target), "on trial"));
    BOOST_TEST(w.arrived(0, vram_bytes));
}

// ---- What it takes --------------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_file_that_it_refuses_is_staged_and_others_are_not)
{
    fake_cufile::self().refused = "/second";
    world w;
    BOOST_TEST(!w.moved(w.source.at(0, 1_MiB), w.second.at(0, 1_MiB)));
    BOOST_TEST(!w.moved(w.second.at(0, 1_MiB), w.target.at(0, 1_MiB)));
    BOOST_TEST(w.arrived(0, 1_MiB));
    BOOST_TEST(w.fake.calls == 0u);
    BOOST_TEST(contains(w.explained(w.source.at(0, 1_MiB), w.second.at(0, 1_MiB)),
                        ", staged (cuFile: the file was refused: cufile: the file cannot be registered (5027))"));
    BOOST_TEST(w.goes_round(1_MiB, 1_MiB));
    BOOST_TEST(w.fake.calls == 2 * 1_MiB / 64_KiB);
}

BOOST_AUTO_TEST_CASE(a_file_in_the_page_cache_is_staged)
{
    world w;
    wye::file cached;
    file_options o;
    o.caching = caching::buffered;
    finish(w.rt, open(*w.agent, w.directory.path + "/cached", o, cached));
    BOOST_TEST(!w.moved(w.source.at(0, 1_MiB), cached.at(0, 1_MiB)));
    BOOST_TEST(w.fake.calls == 0u);
    BOOST_TEST(contains(w.explained(w.source.at(0, 1_MiB), cached.at(0, 1_MiB)), "the file is not open past the page cache"));
}

BOOST_AUTO_TEST_CASE(what_begins_or_ends_within_a_block_is_staged)
{
    world w;
    struct {
        std::uint64_t memory, file, bytes;
        bool straight;
    } const all[] = {{0, 4096, 8192, true}, {0, 0, 8191, false}, {1, 4096, 8192, false}, {0, 4095, 4096, false}, {512, 512, 512, false},
                     {4096, 0, 1, false}, {8192, 12288, 4096, true}};
    for (const auto& t : all) {
        BOOST_TEST_CONTEXT(t.memory << ' ' << t.file << ' ' << t.bytes)
        {
            const unsigned before = w.fake.calls;
            const slice here = w.source.at(t.memory, t.bytes), there = w.file.at(t.file, t.bytes), back = w.target.at(t.memory, t.bytes);
            std::memset(w.to.data(), 0, 64_KiB);
            BOOST_TEST(!w.moved(here, there));
            BOOST_TEST(!w.moved(there, back));
            BOOST_TEST(w.arrived(t.memory, t.bytes));
            BOOST_TEST(w.fake.calls - before == (t.straight ? 2u : 0u));
            BOOST_TEST(contains(w.explained(here, there), "staged (cuFile: not in whole blocks of 4 KiB") == !t.straight);
        }
    }
}

// Slices of both kinds between the same two: each goes its way, whichever comes first.
BOOST_AUTO_TEST_CASE(a_batch_of_both_kinds)
{
    world w;
    std::vector<transfer> down, up;
    std::uint64_t at = 0;
    for (const std::uint64_t bytes : {65536, 4096, 100, 3996, 131072, 1}) {
        down.push_back({w.source.at(at, bytes), w.file.at(at, bytes)});
        up.push_back({w.file.at(at, bytes), w.target.at(at, bytes)});
        at += bytes;
    }
    for (const auto* batch : {&down, &up}) {
        lab::result r;
        copy(std::span<const transfer>{*batch}, r.token());
        BOOST_TEST(until(w.rt, [&] { return r.ends != 0; }));
        BOOST_TEST(!r.error);
        BOOST_TEST(r.bytes == at);
    }
    BOOST_TEST(w.arrived(0, at));
    BOOST_TEST(w.fake.calls == 2 * 4u);
}

// The processor must see the bytes.
BOOST_AUTO_TEST_CASE(what_is_verified_is_staged)
{
    world w;
    copy_options verified;
    verified.verify = true;
    BOOST_TEST(!w.moved(w.source.at(0, 1_MiB), w.file.at(0, 1_MiB), nullptr, verified));
    BOOST_TEST(!w.moved(w.file.at(0, 1_MiB), w.target.at(0, 1_MiB), nullptr, verified));
    BOOST_TEST(w.arrived(0, 1_MiB));
    BOOST_TEST(w.fake.calls == 0u);
    // Bytes that go straight are no longer those that were summed.
    BOOST_TEST(!w.moved(w.source.at(1_MiB, 4096), w.file.at(0, 4096)));
    BOOST_TEST(w.fake.calls == 1u);
    BOOST_TEST(w.moved(w.file.at(0, 1_MiB), w.target.at(0, 1_MiB), nullptr, verified) == errc::unverified);
}

// Memory that cannot be registered goes by the library's own buffers.
BOOST_AUTO_TEST_CASE(memory_that_is_not_registered)
{
    fake_cufile::self().failing["memory_register"] = 5036;
    world w;
    BOOST_TEST(w.goes_round(64_KiB, 1_MiB));
    BOOST_TEST(w.fake.calls == 2 * 1_MiB / 64_KiB);
    BOOST_TEST(w.fake.by_address == w.fake.calls);
}

BOOST_AUTO_TEST_CASE(a_device_that_cannot_be_had)
{
    world w;
    region far;
    finish(w.rt, know(*w.agent, vram(w.to.data(), w.to.size(), 5), far));
    BOOST_TEST(!w.moved(w.file.at(0, 0), far.at(0, 0)));
    BOOST_TEST(contains(w.explained(far.at(0, 4096), w.file.at(0, 4096)), "staged (cuFile: no GPU 5 here)"));
    far.reset();
}

// ---- How calls end --------------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(short_calls_are_asked_for_the_rest)
{
    world w;
    for (const std::size_t most : {4096, 8192, 1000}) {
        w.fake.most = most;
        std::memset(w.to.data(), 0, 256_KiB);
        BOOST_TEST(w.goes_round(0, 128_KiB));
    }
}

BOOST_AUTO_TEST_CASE(the_end_of_the_file)
{
    world w;
    BOOST_TEST(!w.moved(w.memory.at(0, 100'100), w.file.at(0, 100'100)));
    std::size_t bytes = 0;
    BOOST_TEST(w.moved(w.file.at(0, 256_KiB), w.target.at(0, 256_KiB), &bytes) == errc::short_transfer);
    BOOST_TEST(w.fake.calls != 0u);
    BOOST_TEST(bytes == 100'100u);
    BOOST_TEST(std::memcmp(w.to.data(), w.host.data(), bytes) == 0);
}

BOOST_AUTO_TEST_CASE(every_call_is_looked_at)
{
    world w;
    const slice here = w.source.at(0, 64_KiB), there = w.file.at(0, 64_KiB);
    struct {
        fake_cufile::outcome is;
        error_code expected;
    } const all[] = {{{-1, ENOSPC}, file_error(ENOSPC)}, {{-1, EIO}, file_error(EIO)}, {{-1, 0}, file_error(EIO)},
                     {{-5044, 0}, {5044, cufile_category()}}, {{-5011, 3}, {5011, cufile_category()}},
                     {{1_MiB, 0}, file_error(EIO)}, {{0, 0}, errc::short_transfer}};
    for (const auto& one : all)
        for (const bool writes : {true, false}) {
            w.fake.outcomes = {one.is};
            std::size_t bytes = 1;
            BOOST_TEST((writes ? w.moved(here, there, &bytes) : w.moved(there, here, &bytes)) == one.expected);
            BOOST_TEST(bytes == 0u);
        }
    BOOST_TEST((w.moved(here, there) == error_code{}));
    w.fake.outcomes = {{-1, EINTR}, {-1, EINTR}};
    BOOST_TEST(!w.moved(here, there));
    BOOST_TEST(w.fake.outcomes.empty());
    w.fake.failing["context_push"] = 201;
    BOOST_TEST((w.moved(here, there) == error_code{5011, cufile_category()}));
    w.fake.failing.clear();
    BOOST_TEST(!w.moved(here, there));
    BOOST_TEST((error_code{5036, cufile_category()} == boost::system::errc::not_enough_memory));
    BOOST_TEST((error_code{5008, cufile_category()}.message() ==
                "cufile: the file is on a filesystem or device that is not supported (5008)"));
}

// An error of one call does not reach others.
BOOST_AUTO_TEST_CASE(one_piece_of_a_batch_fails)
{
    world w;
    std::vector<transfer> batch;
    for (std::uint64_t i = 0; i < 16; ++i) batch.push_back({w.source.block(i, 64_KiB), w.file.block(i, 64_KiB)});
    std::vector<error_code> status(batch.size());
    copy_options o;
    o.status = status;
    w.fake.hold();
    w.fake.outcomes = {{-1, ENOSPC}};
    lab::result r;
    copy(std::span<const transfer>{batch}, o, r.token());
    w.fake.release();
    BOOST_TEST(until(w.rt, [&] { return r.ends != 0; }));
    BOOST_TEST((r.error == boost::system::errc::no_space_on_device));
    BOOST_TEST(std::count_if(status.begin(), status.end(), [](const error_code& e) { return e.failed(); }) == 1);
    BOOST_TEST(r.bytes == 15 * 64_KiB);
}

// ---- What is under way ----------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(many_at_once_are_bounded)
{
    world w;
    w.fake.hold();
    lab::result r;
    copy(w.source, w.file.at(0, vram_bytes), r.token());
    BOOST_TEST(until(w.rt, [&] { return w.fake.inside == 2; }));
    for (int i = 0; i < 100; ++i) w.rt.poll();
    for (const auto& d : w.agent->measure().drivers)
        if (d.name == "cufile") BOOST_TEST(d.in_flight == 4u);
    w.fake.release();
    BOOST_TEST(until(w.rt, [&] { return r.ends != 0; }));
    BOOST_TEST(w.fake.most_inside == 2u);
    BOOST_TEST(!r.error);
    BOOST_TEST(r.bytes == vram_bytes);
}

// Stopped, it waits for what is posted, and posts no more.
BOOST_AUTO_TEST_CASE(cancelled_or_late_it_waits_for_what_is_under_way)
{
    for (const bool late : {false, true}) {
        world w;
        w.fake.hold();
        copy_options o;
        if (late) o.deadline = std::chrono::milliseconds{1};
        lab::result r;
        copy(w.source, w.file.at(0, vram_bytes), o, r.token());
        BOOST_TEST(until(w.rt, [&] { return w.fake.inside == 2; }));
        if (!late) r.cancel();
        const auto then = std::chrono::steady_clock::now() + std::chrono::milliseconds{5};
        BOOST_TEST(until(w.rt, [&] { return std::chrono::steady_clock::now() > then; }));
        BOOST_TEST(r.ends == 0);
        w.fake.release();
        BOOST_TEST(until(w.rt, [&] { return r.ends != 0; }));
        BOOST_TEST(r.error == (late ? make_error_code(errc::deadline_missed) : error_code{boost::asio::error::operation_aborted}));
        BOOST_TEST(w.fake.inside == 0u);
        BOOST_TEST(w.fake.calls == 4u);
        BOOST_TEST(r.bytes == 4 * 64_KiB);
    }
}

// The agent goes with calls under way: it waits for them, and gives everything back.
BOOST_AUTO_TEST_CASE(the_end_of_the_agent)
{
    const std::size_t before = open_descriptors();
    {
        world w;
        w.fake.hold();
        lab::result r;
        copy(w.file.at(0, vram_bytes), w.target, r.token());
        BOOST_TEST(until(w.rt, [&] { return w.fake.inside == 2; }));
        std::atomic<bool> going{false};
        std::thread releases{[&] {
            going.wait(false);
            w.fake.release();
        }};
        going = true;
        going.notify_one();
        w.agent.reset();
        releases.join();
        BOOST_TEST(w.fake.inside == 0u);
        BOOST_TEST(until(w.rt, [&] { return r.ends != 0; }));
        BOOST_TEST(r.error.failed());
    }
    BOOST_TEST(open_descriptors() == before);
}

// Files and memory that go are given back, also when they go before helpers are through with them.
BOOST_AUTO_TEST_CASE(files_and_memory_come_and_go)
{
    world w;
    BOOST_TEST(w.fake.files() == 2u);
    BOOST_TEST(w.fake.memories() == 2u);
    w.second = wye::file{};
    w.source.reset();
    BOOST_TEST(w.fake.memories() == 1u); // at once: the memory may be freed now
    BOOST_TEST(until(w.rt, [&] { return w.fake.files() == 1; }));
    BOOST_TEST(until(w.rt, [&] { return !w.direct->busy(); }));
    beginning b;
    w.add(b); // is told of all of it, and asks its helpers
    w.file = wye::file{};
    w.target.reset();
    BOOST_TEST(w.fake.memories() == 0u);
    BOOST_TEST(until(w.rt, [&] { return !w.direct->busy(); }));
    BOOST_TEST(until(w.rt, [&] { return w.fake.files() == 0; }));
}
