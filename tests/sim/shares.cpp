// SPDX-License-Identifier: Apache-2.0
// Two agents that nothing befalls, and rails of different rates between them: what a scheduler makes of those is checked
// here, since it is no byte's fault when a rail idles beside work.
#include <cstring>
#include <deque>

#include <boost/asio/co_spawn.hpp>

#include "encounter.hpp"

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t all_bytes = 16_MiB, urgent_bytes = 1_MiB;
constexpr std::size_t urgent_writes = 24, urgent_at_once = 8; ///< so many that they fill every rail
constexpr double least_share = 0.8;        ///< of the sum of the rails' rates; in lock step it is the slowest times their number
constexpr std::uint64_t background_one_in = 40; ///< of the bytes that urgent work moves; a sixteenth is background's due

struct contest {
    bytes sent = bytes(all_bytes), landed = bytes(all_bytes);
    duration took{};
    std::uint64_t background = 0;
    bool over = false;
    std::string failure;
};

task<> lends(agent& there, contest& c, region& pool)
{
    pool = co_await there.register_memory(dram(c.landed));
    co_await there.publish("pool", pool);
}

/// Bytes that a background copy lands while urgent ones fill the rails.
task<std::uint64_t> beside_urgent(const region& from, const slice& pool)
{
    progress moved;
    copy_options slow, soon;
    slow.priority = priority::background;
    slow.progress = &moved;
    soon.priority = priority::urgent;
    flight background = start(from, pool, slow);
    std::deque<flight> urgent;
    for (std::size_t i = 0; i < urgent_writes; ++i) {
        if (urgent.size() == urgent_at_once) {
            co_await urgent.front().drained();
            urgent.pop_front();
        }
        const std::size_t block = i % (all_bytes / urgent_bytes);
        urgent.push_back(start(from.block(block, urgent_bytes), pool.block(block, urgent_bytes), soon));
    }
    const std::uint64_t landed = moved.landed();
    background.cancel();
    co_await background.drained();
    for (flight& f : urgent) co_await f.drained();
    co_return landed;
}

task<> contends(sim::world& w, agent& here, std::vector<std::byte> metadata, contest& c)
{
    region from = co_await here.register_memory(dram(c.sent));
    {
        peer to = co_await here.connect(std::move(metadata));
        const slice pool = to.published("pool");
        co_await copy(from, pool); // what each rail carries is learned
        const duration begun = w.now();
        co_await copy(from, pool);
        c.took = w.now() - begun;
        c.background = co_await beside_urgent(from, pool);
    }
    c.over = true;
}

} // namespace

void encounter::shares()
{
    const auto shared = std::make_shared<contest>();
    contest& c = *shared;
    scene_memory_ = shared;
    for (std::size_t at = 0; at < all_bytes; at += sizeof(std::uint64_t)) {
        const std::uint64_t word = dice_.next();
        std::memcpy(c.sent.data() + at, &word, sizeof word);
    }
    agent& there = world_->spawn("there", hosts_[1], scene_.agent);
    agent& here = world_->spawn("here", hosts_[0], scene_.agent);
    region pool;
    world_->run(lends(there, c, pool));
    asio::co_spawn(here.runtime(), contends(*world_, here, there.metadata(), c), [&c](std::exception_ptr e) {
        try {
            if (e) std::rethrow_exception(e);
        } catch (const std::exception& x) {
            c.failure = x.what();
        }
    });
    world_->run_until([&] { return !c.failure.empty() || c.over || world_->now() > 100s; });
    verdict_.operations = verdict_.succeeded = 2 + urgent_writes;
    verdict_.bytes = 2 * all_bytes + urgent_writes * urgent_bytes;
    if (!c.failure.empty()) fail(c.failure);
    expect(c.over, "a copy that nothing befell does not end");
    double sum = 0;
    for (const sim::rail_model& r : scene_.hosts[0].nic.rails) sum += r.bytes_per_second;
    const double share = static_cast<double>(all_bytes) / (std::chrono::duration<double>(c.took).count() * sum);
    expect(share >= least_share, "a copy alone gets " + std::to_string(share) + " of what its rails carry");
    expect(c.background * background_one_in >= urgent_writes * urgent_bytes,
           "background lands " + std::to_string(c.background) + " bytes beside urgent work");
    expect(c.landed == c.sent, "what was written is not what was sent");
    pool.reset();
    closing_ = true;
}

} // namespace wye::sweep
