// SPDX-License-Identifier: Apache-2.0
// A thousand agents connect to one, and each writes a page and says so.
#include <boost/asio/co_spawn.hpp>

#include "encounter.hpp"

namespace wye::sweep {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t many = 1000, page = 1024;

struct crowd {
    bytes sent = bytes(many * page), landed = bytes(many * page);
    std::size_t written = 0;
    bool all_told = false;
    std::string failure;
};

task<> hub(agent& here, crowd& c, region& pool)
{
    pool = co_await here.register_memory(dram(c.landed));
    co_await here.publish("pool", pool);
}

task<> waits(agent& here, crowd& c)
{
    const wanted all{.key = "page", .peer = {}, .count = many, .deadline = 60s};
    const notification n = co_await here.notified(all);
    c.all_told = !n.aborted && c.landed == c.sent;
    if (!c.all_told) c.failure = "told of a thousand pages before the last";
}

task<> writes(agent& here, std::vector<std::byte> metadata, crowd& c, std::size_t i)
{
    region from = co_await here.register_memory(dram(c.sent.data() + i * page, page));
    {
        peer to = co_await here.connect(std::move(metadata));
        copy_options o;
        o.notify = "page";
        const slice target = to.published("pool").block(i, page);
        co_await copy(from, target, o);
    }
    ++c.written;
}

} // namespace

void encounter::thousand()
{
    const auto shared = std::make_shared<crowd>();
    crowd& c = *shared;
    scene_memory_ = shared; // for as long as the world
    for (std::byte& b : c.sent) b = static_cast<std::byte>(dice_.next());
    agent& one = world_->spawn("hub", hosts_[0], scene_.agent);
    region pool;
    world_->run(hub(one, c, pool));
    const auto failed = [&c](std::exception_ptr e) {
        try {
            if (e) std::rethrow_exception(e);
        } catch (const std::exception& x) {
            c.failure = x.what();
        }
    };
    asio::co_spawn(one.runtime(), waits(one, c), failed);
    for (std::size_t i = 0; i < many; ++i) {
        agent& a = world_->spawn("w" + std::to_string(i), hosts_[1 + i % (hosts_.size() - 1)], scene_.agent);
        world_->at(sometime(), [&, i, failed] { asio::co_spawn(a.runtime(), writes(a, one.metadata(), c, i), failed); });
    }
    world_->run_until([&] { return !c.failure.empty() || (c.written == many && c.all_told) || world_->now() > 100s; });
    verdict_.operations = verdict_.succeeded = many;
    verdict_.bytes = many * page;
    if (!c.failure.empty()) fail(c.failure);
    expect(c.written == many && c.all_told, std::to_string(c.written) + " of a thousand have written");
    pool.reset();
    closing_ = true;
}

} // namespace wye::sweep
