// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "driver.hpp"
#include "support/fake_cufile.hpp"
#include "support/lab_world.hpp"
#include "support/same.hpp"

namespace wye::testing {

/// On the disk that the build is on: /tmp may be in memory.
struct scratch {
    scratch()
    {
        char name[] = "cufile_driver_test.XXXXXX";
        if (!::mkdtemp(name)) throw std::runtime_error{"no scratch directory"};
        path = name;
    }
    ~scratch() { std::filesystem::remove_all(path); }
    std::string path;
};

/// Helpers and disks take their time, so this goes by the clock, and lets them have the processor.
template <class Over>
bool until(runtime& rt, Over over)
{
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (!over()) {
        if (std::chrono::steady_clock::now() > patience) return false;
        rt.poll();
        std::this_thread::yield();
    }
    return true;
}

inline task<> know(wye::agent& a, memory m, region& into) { into = co_await a.register_memory(m); }
inline task<> open(wye::agent& a, std::string path, file_options o, wye::file& into) { into = co_await a.open_file(path, o); }

inline constexpr std::size_t vram_bytes = 8_MiB;

inline cufile_options two_threads()
{
    cufile_options o;
    o.mode = cufile_mode::always;
    o.threads = 2;
    o.chunk_bytes = 64_KiB;
    return o;
}

/// How a world begins. The fake is as the test has set it.
struct beginning {
    const cuf::api* table = &fake_cufile::table();
    std::string missing{};
    cufile_options options = two_threads();
    bool late = false; ///< the driver comes when memory and files are there
};

/// An agent with memory that plays a GPU's, two files, and cuFile.
struct world {
    explicit world(beginning b = {}) : from(vram_bytes), to(vram_bytes), agent{std::in_place, rt, "gds", none()}
    {
        for (std::size_t i = 0; i < vram_bytes; ++i) from.data()[i] = static_cast<std::byte>(i * 7 + i / 256);
        agent->add(drivers::host());
        agent->add(drivers::file());
        agent->add(drivers::vram_standin());
        if (!b.late) add(b);
        finish(rt, open_all());
        if (b.late) add(b);
        BOOST_TEST(until(rt, [&] { return !direct->busy(); }));
    }
    ~world()
    {
        fake.release();
        for (region* r : {&source, &target, &memory}) r->reset();
        file = wye::file{};
        second = wye::file{};
        agent.reset();
        BOOST_TEST(fake.files() == 0u);
        BOOST_TEST(fake.memories() == 0u);
        BOOST_TEST(fake.contexts == 0);
        BOOST_TEST(fake.inside == 0u);
        BOOST_TEST(fake.contexts_were_right);
        fake.reset();
    }
    static agent_options none()
    {
        agent_options o;
        o.default_drivers = false;
        return o;
    }
    void add(const beginning& b)
    {
        direct = &agent->add(std::make_unique<cuf::cufile_driver>(b.table, b.missing, b.options));
    }
    task<> open_all()
    {
        source = co_await agent->register_memory(vram(from.data(), from.size()));
        target = co_await agent->register_memory(vram(to.data(), to.size()));
        memory = co_await agent->register_memory(dram(host));
        file = co_await agent->open_file(directory.path + "/file");
        second = co_await agent->open_file(directory.path + "/second");
    }
    error_code moved(const slice& a, const slice& b, std::size_t* bytes = nullptr, const copy_options& o = {})
    {
        lab::result r;
        copy(a, b, o, r.token());
        BOOST_TEST(until(rt, [&] { return r.ends != 0; }));
        if (bytes) *bytes = r.bytes;
        return r.error;
    }
    std::string explained(const slice& a, const slice& b) { return agent->explain(a, b).to_string(); }
    bool arrived(std::size_t at, std::size_t bytes) const { return same({from.data() + at, bytes}, {to.data() + at, bytes}); }
    /// There and back, and whether it is the same then.
    bool goes_round(std::size_t at, std::size_t bytes)
    {
        return !moved(source.at(at, bytes), file.at(at, bytes)) && !moved(file.at(at, bytes), target.at(at, bytes)) && arrived(at, bytes);
    }

    fake_cufile& fake = fake_cufile::self();
    scratch directory;
    arena from, to;
    std::vector<std::byte> host = std::vector<std::byte>(1_MiB);
    runtime rt;
    std::optional<wye::agent> agent;
    driver* direct = nullptr;
    region source, target, memory;
    wye::file file, second;
};

} // namespace wye::testing
