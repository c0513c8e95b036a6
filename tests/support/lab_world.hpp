// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <wye/wye.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

namespace wye::lab {

/// What became of an operation, and the means to cancel it. Stays where it is.
struct result {
    int ends = 0;
    error_code error;
    std::size_t bytes = 0;
    boost::asio::cancellation_signal signal;

    auto token()
    {
        return boost::asio::bind_cancellation_slot(signal.slot(), [this](error_code e, std::size_t n) {
            ++ends;
            error = e;
            bytes = n;
        });
    }
    void cancel() { signal.emit(boost::asio::cancellation_type::terminal); }
};

inline wye::limits small_limits()
{
    wye::limits l;
    l.chunk_bytes = 4_KiB;
    l.window_chunks = 4;
    l.window_bytes = 1_MiB;
    l.background_chunks = 1;
    return l;
}

inline agent_options small_staging()
{
    agent_options o;
    o.default_drivers = false;
    o.staging_piece = 4_KiB;
    o.staging_bytes = 16_KiB;
    return o;
}

/// An agent over two lab devices, one between memories and one between DRAM and what stores, with something of every
/// tier: what a test of one fact starts from. The devices hold what they get until told otherwise.
struct world {
    explicit world(const wye::limits& l = small_limits(), const agent_options& o = small_staging())
        : agent{std::in_place, rt, "lab", o},
          near{agent->add(std::make_unique<device>(on, device_options{"near", memory_pairs, l, false}))},
          far{agent->add(std::make_unique<device>(on, device_options{"far", storage_pairs, l, true}))}
    {
        on.files["f"] = std::make_shared<bytes>(pattern(256_KiB, 3));
        testing::finish(rt, open());
        hold(true);
    }
    ~world()
    {
        if (agent) hold(false);
        dram.reset();
        vram.reset();
        file = {};
        bucket = {};
        agent.reset();
        for (const std::string& f : on.faults) BOOST_TEST(f == "");
        BOOST_TEST(on.sessions == 0);
    }

    void hold(bool so) { near.manners.hold = far.manners.hold = so; }
    /// A few passes: whatever can happen now has happened.
    void settle()
    {
        for (int i = 0; i < 20; ++i) rt.poll();
    }
    /// Lets everything go and polls until all these have ended.
    template <class... Results>
    bool finish(const Results&... r)
    {
        hold(false);
        return testing::poll_until(rt, [&] { return (... && (r.ends != 0)); });
    }
    bool idle() const
    {
        const metrics m = agent->measure();
        for (const auto& p : m.pairs)
            if (p.in_flight) return false;
        for (const auto& d : m.drivers)
            if (d.in_flight) return false;
        return m.staging_in_use == 0;
    }

    bench on;
    bytes dram_bytes = pattern(256_KiB, 1), vram_bytes = pattern(256_KiB, 2);
    runtime rt;
    std::optional<wye::agent> agent;
    device& near;
    device& far;
    region dram, vram;
    wye::file file;
    wye::bucket bucket;

private:
    task<> open()
    {
        dram = co_await agent->register_memory(wye::dram(dram_bytes));
        vram = co_await agent->register_memory(wye::vram(vram_bytes.data(), vram_bytes.size()));
        file = co_await agent->open_file("f");
        bucket = co_await agent->open_bucket("lab:");
    }
};

} // namespace wye::lab
