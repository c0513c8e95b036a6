// SPDX-License-Identifier: Apache-2.0
#include "null_world.hpp"

#include <numeric>
#include <optional>

namespace perf {

namespace {

std::unique_ptr<wye::runtime> make_runtime(asio::io_context* host)
{
    return host ? std::make_unique<wye::runtime>(*host) : std::make_unique<wye::runtime>();
}

wye::agent_options without_drivers()
{
    wye::agent_options o;
    o.default_drivers = false;
    return o;
}

} // namespace

const char* name_of(driving d) noexcept
{
    return d == driving::run ? "run" : d == driving::poll ? "poll" : "guest";
}

null_world::null_world(driving how)
    : host{how == driving::guest ? std::make_unique<asio::io_context>() : nullptr},
      runtime{make_runtime(host.get())},
      agent{*runtime, "perf", without_drivers()},
      driver{agent.add(std::make_unique<null_driver>())},
      memory(2 * blocks * block_bytes),
      indices(blocks),
      timer{runtime->io()},
      how_{how}
{
    drive(register_memory());
    for (std::size_t i = 0; i < blocks; ++i)
        batch.push_back({from.block(i, block_bytes), to.block(i, block_bytes)});
    from_blocks = agent.prepare(wye::blocks_of(from, block_bytes));
    to_blocks = agent.prepare(wye::blocks_of(to, block_bytes));
    std::iota(indices.begin(), indices.end(), 0);
}

wye::task<> null_world::register_memory()
{
    from = co_await agent.register_memory(wye::dram(memory.data(), blocks * block_bytes));
    std::byte* const half = memory.data() + blocks * block_bytes;
    to = co_await agent.register_memory(wye::vram(half, blocks * block_bytes));
}

void null_world::drive(wye::task<> t)
{
    bool over = false;
    std::exception_ptr error;
    asio::co_spawn(*runtime, std::move(t), [&over, &error](std::exception_ptr e) {
        over = true;
        error = e;
    });
    if (how_ == driving::run) {
        runtime->run();
    } else if (how_ == driving::poll) {
        while (!over) runtime->poll();
    } else {
        host->restart();
        host->run();
    }
    if (error) std::rethrow_exception(error);
}

void null_world::turn()
{
    if (how_ != driving::guest) runtime->poll();
    else host->poll();
}

} // namespace perf
