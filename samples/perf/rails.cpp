// SPDX-License-Identifier: Apache-2.0
// Real sockets over rails of unequal rates: two processes in two network namespaces, joined by four shaped pairs of
// veth.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <two_networks.hpp>
#include <wye/libfabric.hpp>
#include <wye/wye.hpp>

#include "report.hpp"
#include "statistics.hpp"

namespace perf {

namespace {

namespace asio = boost::asio;
using namespace wye::literals;
using namespace std::chrono_literals;

const std::vector<unsigned> rates{100, 200, 400, 800}; ///< Mbit/s
constexpr std::size_t area_bytes = 1_GiB;
constexpr std::size_t page_bytes = 64_KiB;

wye::libfabric_options over(std::vector<std::string> rails)
{
    wye::libfabric_options o;
    o.provider = "tcp;ofi_rxm";
    o.rails = std::move(rails);
    return o;
}

/// An agent on some of the rails. Each registers all of the process's memory.
struct party {
    party(wye::runtime& rt, const std::string& name, std::vector<std::string> rails) : agent{rt, name, options()}
    {
        agent.add(wye::make_libfabric(over(std::move(rails))));
    }
    static wye::agent_options options()
    {
        wye::agent_options o;
        o.peers.secret = "perf";
        o.peers.longest_gap = 20s; // who fills or compares a gigabyte does not poll meanwhile
        return o;
    }
    wye::agent agent;
    wye::region memory, back; ///< what is sent, or written to; where it is read back to
    wye::peer other;
    wye::slice kv;
};

/// One agent on each rail alone, and the last one on all of them.
std::vector<std::unique_ptr<party>> parties(wye::runtime& rt, const std::string& name,
                                            const std::vector<std::string>& rails)
{
    std::vector<std::unique_ptr<party>> all;
    for (const std::string& rail : rails)
        all.push_back(std::make_unique<party>(rt, name + rail, std::vector<std::string>{rail}));
    all.push_back(std::make_unique<party>(rt, name, rails));
    return all;
}

/// Runs it to its end; what it throws is thrown.
void drive(wye::runtime& rt, wye::task<> t)
{
    std::exception_ptr error;
    asio::co_spawn(rt, std::move(t), [&](std::exception_ptr e) {
        error = e;
        rt.stop();
    });
    rt.run();
    if (error) std::rethrow_exception(error);
}

void say(int to, const void* what, std::size_t bytes)
{
    if (::send(to, what, bytes, MSG_NOSIGNAL) != static_cast<::ssize_t>(bytes))
        throw std::runtime_error{"the peer has gone"};
}

void hear(int from, void* what, std::size_t bytes)
{
    if (::recv(from, what, bytes, MSG_WAITALL) != static_cast<::ssize_t>(bytes))
        throw std::runtime_error{"the peer has gone"};
}

wye::task<> serve(wye::runtime& rt, std::vector<std::unique_ptr<party>>& all, wye::arena& memory, int line)
{
    for (auto& p : all) {
        p->memory = co_await p->agent.register_memory(wye::dram(memory.data(), memory.size()));
        co_await p->agent.publish("kv", p->memory);
        const std::vector<std::byte> metadata = p->agent.metadata();
        const std::uint64_t length = metadata.size();
        say(line, &length, sizeof length);
        say(line, metadata.data(), metadata.size());
    }
    asio::posix::stream_descriptor end{rt.io(), ::dup(line)};
    try {
        co_await end.async_wait(asio::posix::descriptor_base::wait_read, asio::use_awaitable);
    } catch (const boost::system::system_error&) {
        // over in any case
    }
}

/// The process in the far network: serves until the line is closed.
int far_side(const samples::two_networks& networks, int line)
{
    try {
        networks.enter_far();
        wye::runtime rt;
        wye::arena memory{area_bytes};
        std::vector<std::unique_ptr<party>> all = parties(rt, "far", networks.far_addresses());
        drive(rt, serve(rt, all, memory, line));
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "perf: the far side: %s\n", e.what());
        return 1;
    }
}

/// That process, as its parent sees it.
class far_process {
public:
    explicit far_process(const samples::two_networks& networks)
    {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error{"no socket pair"};
        std::fflush(nullptr);
        id_ = ::fork(); // before anything of libfabric is there
        if (id_ == 0) {
            ::close(ends[0]);
            ::_exit(far_side(networks, ends[1]));
        }
        ::close(ends[1]);
        line = ends[0];
        if (id_ < 0) throw std::runtime_error{"no second process"};
    }
    far_process(const far_process&) = delete;
    far_process& operator=(const far_process&) = delete;
    ~far_process()
    {
        ::close(line);
        if (id_ > 0) ::waitpid(id_, nullptr, 0);
    }
    int line = -1;

private:
    ::pid_t id_ = -1;
};

class bench {
public:
    explicit bench(const samples::two_networks& networks)
        : far_{networks}, sent_{area_bytes}, back_{area_bytes}, all_{parties(rt_, "near", networks.near_addresses())}
    {
        for (std::size_t i = 0; i < area_bytes; i += 8) {
            const std::uint64_t word = (i + 1) * 0x9e3779b97f4a7c15;
            std::memcpy(sent_.data() + i, &word, 8);
        }
        drive(rt_, open());
    }

    /// MB/s of one rail by itself.
    double alone(std::size_t rail, double seconds)
    {
        const double wanted = std::min(rates[rail] * 1e6 / 8 * seconds, 1.0 * area_bytes);
        const std::size_t bytes = std::max<std::size_t>(static_cast<std::size_t>(wanted) / page_bytes, 16) * page_bytes;
        return timed(bytes, write(*all_[rail], bytes));
    }
    /// MB/s of a gigabyte, each chunk over the rail that is ready for it.
    double pulled() { return timed(area_bytes, write(*all_.back(), area_bytes)); }
    /// The same the other way, and compared with what was written.
    double read()
    {
        const double rate = timed(area_bytes, fetch(*all_.back()));
        if (std::memcmp(sent_.data(), back_.data(), area_bytes) != 0)
            throw std::runtime_error{"what came back is not what was sent"};
        return rate;
    }
    /// MB/s of a gigabyte in equal stripes, one for each rail.
    double striped() { return timed(area_bytes, write_stripes()); }

    /// Urgent pages, one after the other.
    struct urgent_pages {
        double p99;            ///< microseconds
        double rate;           ///< MB/s
        double background = 0; ///< MB/s
    };
    urgent_pages urgent(double seconds)
    {
        std::vector<double> taken;
        const auto begun = clock::now();
        drive(rt_, pages(seconds, taken));
        const double bytes = static_cast<double>(taken.size()) * page_bytes;
        return {quantile(std::move(taken), 0.99), bytes / seconds_since(begun) / 1e6};
    }
    /// The same while a background transfer has all that is left.
    urgent_pages urgent_beside(double seconds)
    {
        wye::progress moved;
        wye::copy_options o;
        o.priority = wye::priority::background;
        o.progress = &moved;
        party& p = *all_.back();
        wye::flight background = wye::start(p.memory, p.kv, o);
        urgent(0.3); // it is under way on all rails
        const std::uint64_t before = moved.landed();
        const auto begun = clock::now();
        urgent_pages u = urgent(seconds);
        u.background = static_cast<double>(moved.landed() - before) / seconds_since(begun) / 1e6;
        if (background.done()) throw std::runtime_error{"the background transfer ended too soon"};
        background.cancel();
        drive(rt_, drained(background));
        return u;
    }

private:
    wye::task<> open()
    {
        for (auto& p : all_) {
            p->memory = co_await p->agent.register_memory(wye::dram(sent_.data(), sent_.size()));
            p->back = co_await p->agent.register_memory(wye::dram(back_.data(), back_.size()));
            std::uint64_t length = 0;
            hear(far_.line, &length, sizeof length);
            std::vector<std::byte> metadata(length);
            hear(far_.line, metadata.data(), metadata.size());
            p->other = co_await p->agent.connect(std::move(metadata));
            p->kv = p->other.published("kv");
            co_await wye::copy(p->memory.at(0, 16_MiB), p->kv.sub(0, 16_MiB)); // connections are made, windows open
        }
    }
    double timed(std::size_t bytes, wye::task<> t)
    {
        const auto begun = clock::now();
        drive(rt_, std::move(t));
        return static_cast<double>(bytes) / seconds_since(begun) / 1e6;
    }
    static wye::task<> write(party& p, std::size_t bytes)
    {
        co_await wye::copy(p.memory.at(0, bytes), p.kv.sub(0, bytes));
    }
    static wye::task<> fetch(party& p) { co_await wye::copy(p.kv, p.back); }
    static wye::task<> drained(wye::flight& f) { co_await f.drained(); }
    wye::task<> write_stripes()
    {
        const std::size_t stripe = area_bytes / rates.size();
        std::vector<wye::flight> flights;
        for (std::size_t i = 0; i < rates.size(); ++i)
            flights.push_back(wye::start(all_[i]->memory.at(i * stripe, stripe), all_[i]->kv.sub(i * stripe, stripe)));
        for (wye::flight& f : flights) {
            const wye::outcome o = co_await f.drained();
            if (o.error) throw boost::system::system_error{o.error};
        }
    }
    wye::task<> pages(double seconds, std::vector<double>& taken)
    {
        party& p = *all_.back();
        wye::copy_options o;
        o.priority = wye::priority::urgent;
        const auto begun = clock::now();
        for (std::size_t i = 0; seconds_since(begun) < seconds || taken.size() < 100; ++i) {
            const std::size_t page = i % (area_bytes / page_bytes);
            const auto at = clock::now();
            co_await wye::copy(p.memory.block(page, page_bytes), p.kv.block(page, page_bytes), o);
            taken.push_back(seconds_since(at) * 1e6);
        }
    }

    far_process far_; // first: it is forked before this process has anything of libfabric
    wye::runtime rt_;
    wye::arena sent_, back_;
    std::vector<std::unique_ptr<party>> all_;
};

void urgency(bench& b, const settings& s, report& r)
{
    const double seconds = std::min(s.seconds, 3.0); // the background transfer must last
    const auto idle = b.urgent(seconds), loaded = b.urgent_beside(seconds);
    char text[160];
    std::snprintf(text, sizeof text, "64 KiB: %.0f us idle, %.0f us beside background; %.0f and %.0f MB/s then", idle.p99,
                  loaded.p99, loaded.rate, loaded.background);
    r.add("rails/urgent_p99_over_idle", "ratio", loaded.p99 / idle.p99, text);
}

void measure(bench& b, const settings& s, report& r)
{
    double sum = 0;
    for (std::size_t i = 0; i < rates.size(); ++i) {
        const std::string name = "rails/alone/" + std::to_string(rates[i]);
        const double rate = b.alone(i, s.seconds);
        sum += rate;
        if (r.wants(name)) r.add(name, "MB/s", rate, "written over one rail shaped to so many Mbit/s");
    }
    const auto share = [&](const char* name, auto measured, const char* what) {
        if (!r.wants(name)) return;
        const double rate = measured();
        char text[160];
        std::snprintf(text, sizeof text, "1 GiB %s: %.1f of %.1f MB/s", what, rate, sum);
        r.add(name, "share", rate / sum, text);
    };
    share("rails/unequal", [&] { return b.pulled(); }, "written");
    if (!r.wants("rails/unequal") && r.wants("rails/unequal_read")) b.pulled(); // something to read
    share("rails/unequal_read", [&] { return b.read(); }, "read, and compared");
    share("rails/unequal_static", [&] { return b.striped(); }, "written in equal stripes");
    if (r.wants("rails/urgent_p99_over_idle")) urgency(b, s, r);
}

} // namespace

void run_rails(const settings& s, report& r)
{
    const auto cases = {"rails/alone/100", "rails/alone/200", "rails/alone/400", "rails/alone/800", "rails/unequal",
                        "rails/unequal_read", "rails/unequal_static", "rails/urgent_p99_over_idle"};
    if (std::ranges::none_of(cases, [&](const char* name) { return r.wants(name); })) return;
    std::unique_ptr<samples::two_networks> networks;
    try {
        networks = std::make_unique<samples::two_networks>(rates);
    } catch (const std::exception& e) {
        r.add({"rails/unequal", "share", {}, {}, {}, {}, std::string{"skipped: "} + e.what()});
        return;
    }
    bench b{*networks};
    measure(b, s, r);
}

} // namespace perf
