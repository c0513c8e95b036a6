// SPDX-License-Identifier: Apache-2.0
// Two processes: one publishes memory, the other writes to it, reads from it and tells it. All that arrives is checked
// at both ends.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iomanip>
#include <iostream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <options.hpp>
#include <pattern.hpp>
#include <wye/libfabric.hpp>
#include <wye/side_channel.hpp>
#include <wye/wye.hpp>

namespace {

namespace asio = boost::asio;
using namespace wye::literals;
using samples::fill;
using samples::holds;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

constexpr std::size_t page_bytes = 4_KiB;

struct settings {
    std::size_t mib = 64;
    std::size_t pages = 10'000;
    std::string rails, waits = "automatic", provider, secret = "two peers", listen = "127.0.0.1";

    std::size_t bytes() const noexcept { return mib * 1_MiB; }
};

/// What a write carries in its notification, for the other side to check it by.
struct written {
    std::uint64_t seed = 0, offset = 0, length = 0;
};

wye::libfabric_options fabric_options(const settings& s)
{
    wye::libfabric_options o;
    o.provider = s.provider;
    std::istringstream list{s.rails};
    for (std::string rail; std::getline(list, rail, ',');) o.rails.push_back(rail);
    if (s.waits == "polled") o.waits = wye::queue_waits::polled;
    else if (s.waits == "descriptor") o.waits = wye::queue_waits::descriptor;
    else if (s.waits != "automatic") throw samples::bad_usage{"--waits is automatic, polled or descriptor"};
    return o;
}

/// An agent that the other one can reach.
struct party {
    party(const settings& s, std::string name) : agent{rt, std::move(name), options(s)}, memory{s.bytes()}
    {
        agent.add(wye::make_libfabric(fabric_options(s)));
    }
    static wye::agent_options options(const settings& s)
    {
        wye::agent_options o;
        o.peers.secret = s.secret;
        o.peers.longest_gap = 30s; // it fills and checks gigabytes between two transfers, and does not poll then
        return o;
    }
    /// Runs it to its end; what it throws is thrown.
    void run(wye::task<> t)
    {
        asio::co_spawn(rt, std::move(t), [this](std::exception_ptr e) {
            error = e;
            rt.stop();
        });
        rt.run();
        if (error) std::rethrow_exception(error);
    }

    wye::runtime rt;
    wye::agent agent;
    wye::arena memory;
    std::exception_ptr error;
};

/// Publishes its memory, says where, and checks what comes until the other side has done.
wye::task<> serve(party& us, const settings& s, int tell)
{
    wye::region pool = co_await us.agent.register_memory(wye::dram(us.memory.data(), us.memory.size()));
    co_await us.agent.publish("kv", pool);
    wye::side_channel door{us.agent, {.address = s.listen, .secret = s.secret}};
    const std::string at = door.endpoint() + '\n';
    if (tell < 0) std::cout << "serving at " << at << std::flush;
    else if (::write(tell, at.data(), at.size()) < 0) throw std::runtime_error{"cannot say where it serves"};

    std::uint64_t checked = 0, wrong = 0;
    while (true) {
        const wye::notification n = co_await us.agent.notified({.key = "written", .peer = "prefill"});
        if (n.payload.empty()) break; // that was the last
        written w;
        if (n.payload.size() != sizeof w) throw std::runtime_error{"a notification of another kind"};
        std::memcpy(&w, n.payload.data(), sizeof w);
        ++checked;
        wrong += n.aborted || !holds({us.memory.data() + w.offset, w.length}, w.seed);
    }
    std::cout << "decode: checked " << checked << " writes as they were told, " << wrong << " wrong\n";
    if (wrong) throw std::runtime_error{"bytes are not what was sent"};
}

/// Writes and reads back, in all sizes, aligned and not.
class caller {
public:
    caller(party& us, const settings& s, std::string endpoint) : us_{us}, settings_{s}, endpoint_{std::move(endpoint)} {}

    wye::task<> run()
    {
        const std::size_t half = us_.memory.size() / 2;
        region_ = co_await us_.agent.register_memory(wye::dram(us_.memory.data(), us_.memory.size()));
        wye::fetch_options how;
        how.secret = settings_.secret;
        there_ = co_await wye::connect(us_.agent, endpoint_, how);
        const wye::slice kv = there_.published("kv");
        std::cout << "connected to " << there_.name() << ", " << (kv.length >> 20) << " MiB published; "
                  << us_.agent.explain(region_, kv).to_string() << '\n';
        for (std::size_t bytes = 1; bytes <= half; bytes = bytes < 64 ? bytes * 8 : bytes * 4)
            for (const std::size_t odd : {0, 13}) co_await there_and_back(kv, std::min(bytes + odd, half), odd);
        co_await there_and_back(kv, half, 0);
        co_await scattered(kv);
        co_await us_.agent.notify(there_, "written");
    }

private:
    std::span<std::byte> mine(std::size_t at, std::size_t length) { return {us_.memory.data() + at, length}; }

    static std::vector<std::byte> as_payload(const written& w)
    {
        std::vector<std::byte> p(sizeof w);
        std::memcpy(p.data(), &w, sizeof w);
        return p;
    }

    void report(std::string_view what, std::size_t bytes, clock_type::duration took) const
    {
        const double seconds = std::chrono::duration<double>(took).count();
        std::cout << std::left << std::setw(8) << what << std::right << std::setw(12) << bytes << " bytes  " << std::fixed
                  << std::setprecision(3) << std::setw(9) << static_cast<double>(bytes) / seconds / 1e9 << " GB/s  "
                  << std::setprecision(1) << seconds * 1e6 << " us\n";
    }

    /// The first half of our memory goes there with a notification, and comes back into the second.
    wye::task<> there_and_back(wye::slice kv, std::size_t length, std::size_t at)
    {
        const std::size_t half = us_.memory.size() / 2;
        length = std::min(length, half - at);
        const written w{++seed_, at, length};
        fill(mine(at, length), w.seed);
        const std::vector<std::byte> payload = as_payload(w);
        wye::copy_options o;
        o.notify = "written";
        o.payload = payload;
        const auto begun = clock_type::now();
        co_await wye::copy(region_.at(at, length), kv.sub(at, length), o);
        const auto written_at = clock_type::now();
        co_await wye::copy(kv.sub(at, 1), region_.at(half, 1)); // over there it checks what came, and answers nobody
        const auto between = clock_type::now();
        co_await wye::copy(kv.sub(at, length), region_.at(half, length));
        const auto ended = clock_type::now();
        if (!holds(mine(half, length), w.seed)) throw std::runtime_error{"what came back is not what was sent"};
        report("write", length, written_at - begun);
        report("read", length, ended - between);
    }

    /// Pages from all over, in one batch that is told once.
    wye::task<> scattered(wye::slice kv)
    {
        const std::size_t pages = std::min(settings_.pages, us_.memory.size() / 2 / page_bytes);
        const written w{++seed_, 0, pages * page_bytes};
        fill(mine(0, w.length), w.seed);
        std::vector<wye::transfer> batch;
        for (std::size_t i = 0; i < pages; ++i) { // every seventh, then those between
            const std::size_t p = i * 7 % pages;
            if (pages % 7 != 0) batch.push_back({region_.block(p, page_bytes), kv.block(p, page_bytes)});
            else batch.push_back({region_.block(i, page_bytes), kv.block(i, page_bytes)});
        }
        const std::vector<std::byte> payload = as_payload(w);
        wye::copy_options o;
        o.notify = "written";
        o.payload = payload;
        const auto begun = clock_type::now();
        co_await wye::copy(batch, o);
        report("pages", w.length, clock_type::now() - begun);
    }

    party& us_;
    const settings& settings_;
    std::string endpoint_;
    wye::region region_;
    wye::peer there_;
    std::uint64_t seed_ = 0;
};

int reach(const settings& s, const std::string& endpoint)
{
    party us{s, "prefill"};
    caller c{us, s, endpoint};
    us.run(c.run());
    return 0;
}

int serve(const settings& s, int tell)
{
    party us{s, "decode"};
    us.run(serve(us, s, tell));
    return 0;
}

/// Both, in two processes.
int both(const settings& s)
{
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error{"no pipe"};
    const ::pid_t child = ::fork(); // before anything of libfabric is there
    if (child < 0) throw std::runtime_error{"no second process"};
    if (child == 0) {
        ::close(ends[0]);
        return serve(s, ends[1]);
    }
    ::close(ends[1]);
    std::string endpoint;
    for (char c = 0; ::read(ends[0], &c, 1) == 1 && c != '\n';) endpoint += c;
    ::close(ends[0]);
    const int failed = endpoint.empty() ? 1 : reach(s, endpoint);
    int status = 1;
    ::waitpid(child, &status, 0);
    return failed || status != 0;
}

int run(const settings& s, const std::vector<std::string>& words)
{
    if (words.empty()) return both(s);
    if (words.size() == 1 && words[0] == "serve") return serve(s, -1);
    if (words.size() == 2 && words[0] == "reach") return reach(s, words[1]);
    throw samples::bad_usage{"two_peers [serve | reach HOST:PORT]; try --help"};
}

} // namespace

int main(int argc, char** argv)
{
    settings s;
    samples::options options{"two_peers [serve | reach HOST:PORT] [options]: writes, reads and tells over libfabric.\n"
                             "Without a word both, on loopback."};
    options.add("mib", s.mib, "memory at each side, in MiB (64)")
        .add("pages", s.pages, "of 4 KiB, at most, in the batch (10000)")
        .add("rails", s.rails, "local addresses or interfaces, with commas (127.0.0.1)")
        .add("provider", s.provider, "libfabric's (efa where there is one, else tcp;ofi_rxm)")
        .add("waits", s.waits, "automatic, descriptor or polled")
        .add("secret", s.secret, "what both must know (two peers)")
        .add("listen", s.listen, "serve: the side channel's address (127.0.0.1)");
    try {
        return run(s, options.parse(argc, argv));
    } catch (const samples::bad_usage& e) {
        std::cerr << "two_peers: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "two_peers: " << e.what() << '\n';
        return 1;
    }
}
