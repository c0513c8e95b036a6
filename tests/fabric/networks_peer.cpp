// SPDX-License-Identifier: Apache-2.0
// The other process of fabric_networks_test: networks_peer NAME RAILS BYTES GAP_MS DRAIN_MS SECRET publishes memory as
// "kv", serves a side channel, and does what standard input says, a line each:
//   at           answers with the side channel's endpoint
//   fill SEED    fills the memory
//   holds SEED   answers "yes" when all of it is what `fill SEED` makes, else "no"
//   expect       waits for the notification of a transfer: "told", "aborted"; "lost" when its peer is
//   stall MS     does not poll for so long
//   unregister   unpublishes the memory and lets go of it
// Every line is answered by one. It ends with standard input.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <unistd.h>

#include <wye/side_channel.hpp>

#include "fabric/pair.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

struct settings {
    std::string name, rails, bytes, gap, drain, secret;
};

std::chrono::milliseconds milliseconds(const std::string& text) { return std::chrono::milliseconds{std::stol(text)}; }

libfabric_options over(const std::string& rails)
{
    libfabric_options o;
    std::istringstream list{rails};
    for (std::string rail; std::getline(list, rail, ',');) o.rails.push_back(rail);
    return o;
}

agent_options options_of(const settings& s)
{
    agent_options o;
    o.peers.secret = s.secret;
    o.peers.longest_gap = milliseconds(s.gap);
    o.peers.drain_within = milliseconds(s.drain);
    return o;
}

class server {
public:
    server(runtime& rt, const settings& s)
        : agent_{rt, s.name, options_of(s)}, memory_(std::stoull(s.bytes)), secret_{s.secret},
          listen_{s.rails.substr(0, s.rails.find(','))}, input_{rt.io(), ::dup(STDIN_FILENO)}
    {
        agent_.add(make_libfabric(over(s.rails)));
    }
    task<> run()
    {
        pool_ = co_await agent_.register_memory(dram(memory_));
        co_await agent_.publish("kv", *pool_);
        side_channel_options o;
        o.address = listen_;
        o.secret = secret_;
        door_ = std::make_unique<side_channel>(agent_, o);
        std::string line;
        try {
            for (;;) {
                const std::size_t n =
                    co_await asio::async_read_until(input_, asio::dynamic_buffer(line), '\n', asio::use_awaitable);
                std::istringstream words{line.substr(0, n - 1)};
                line.erase(0, n);
                std::string answer = co_await obey(words);
                answer += '\n';
                if (::write(STDOUT_FILENO, answer.data(), answer.size()) < 0) co_return;
            }
        } catch (const system_error&) {
            // standard input has ended
        }
    }

private:
    task<std::string> obey(std::istringstream& words)
    {
        std::string verb;
        std::uint64_t number = 0;
        words >> verb >> number;
        if (verb == "at") co_return door_->endpoint();
        if (verb == "holds") co_return memory_ == lab::pattern(memory_.size(), number) ? "yes" : "no";
        if (verb == "expect") co_return co_await expected();
        if (verb == "fill") {
            const lab::bytes b = lab::pattern(memory_.size(), number);
            std::copy(b.begin(), b.end(), memory_.begin());
        } else if (verb == "stall") {
            std::this_thread::sleep_for(std::chrono::milliseconds{number});
        } else if (verb == "unregister") {
            co_await agent_.unpublish("kv");
            pool_.reset();
        }
        co_return verb;
    }

    task<std::string> expected()
    {
        wanted w;
        w.key = "done";
        w.peer = "here";
        try {
            const notification n = co_await agent_.notified(w);
            co_return n.aborted ? "aborted" : "told";
        } catch (const system_error& e) {
            co_return e.code() == errc::peer_lost ? "lost" : e.code().message();
        }
    }

    agent agent_;
    lab::bytes memory_;
    std::string secret_, listen_;
    std::optional<region> pool_;
    std::unique_ptr<side_channel> door_;
    asio::posix::stream_descriptor input_;
};

} // namespace

int main(int argc, char** argv)
{
    if (argc != 7) return 2;
    const settings s{argv[1], argv[2], argv[3], argv[4], argv[5], argv[6]};
    runtime rt;
    server it{rt, s};
    int status = 0;
    asio::co_spawn(rt, it.run(), [&](std::exception_ptr e) {
        status = e ? 1 : 0;
        rt.stop();
    });
    rt.run();
    return status;
}
