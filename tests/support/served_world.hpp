// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/peer_world.hpp"

// An agent that publishes a file and a bucket beside its memory, and one that reaches them.
namespace wye::lab {

/// What becomes of one copy.
struct ending {
    error_code e;
    std::size_t n = 0;
    bool over = false;
    auto handler()
    {
        return [this](error_code error, std::size_t landed) {
            e = error;
            n = landed;
            over = true;
        };
    }
};

inline sim::host_options blind(std::size_t rails = 4)
{
    sim::host_options o = with_rails(rails);
    o.nic.hmem = false;
    return o;
}

/// Decode publishes a file and a bucket, beside its memory.
struct served_world : peer_world {
    explicit served_world(std::uint64_t seed = 1, const agent_options& o = knowing("the secret"), const sim::host_options& h = blind())
        : peer_world{seed, h, h, o}
    {
    }
    task<> publish()
    {
        back = co_await prefill.register_memory(dram(read));
        disk = co_await decode.open_file("/disk");
        store = co_await decode.open_bucket("sim:cache");
        co_await decode.publish("disk", disk);
        co_await decode.publish("cache", store);
        to = co_await prefill.connect(decode.metadata());
    }
    void run(task<> (*story)(served_world&))
    {
        it.run(open());
        it.run(publish());
        it.run(story(*this));
    }
    task<> until(const bool& over)
    {
        while (!over) co_await it.runtime().sleep(std::chrono::microseconds{10});
    }
    task<> until_all(const std::vector<ending>& all)
    {
        for (const ending& o : all) co_await until(o.over);
    }
    bytes content() const
    {
        const bytes* const f = b.file("/disk");
        return f ? *f : bytes{};
    }
    bool stored(const std::string& key, const bytes& what) const
    {
        const auto o = it.object("cache/" + key);
        return o && o->data == what;
    }

    bytes read = bytes(area_bytes);
    file disk;
    bucket store;
    region back;
};

inline copy_options verified()
{
    copy_options o;
    o.verify = true;
    return o;
}


} // namespace wye::lab
