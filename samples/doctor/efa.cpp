// SPDX-License-Identifier: Apache-2.0
#include "efa.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include <boost/json/array.hpp>

#include <pattern.hpp>

#include "measure.hpp"
#include "visit.hpp"

namespace doctor {

namespace json = boost::json;
using namespace wye::literals;

namespace {

constexpr std::size_t block = 1_MiB;
constexpr double good = 0.8; // of what the rails' links carry together

bool is_efa(const std::string& provider) { return provider.starts_with("efa"); }

counters parse_counters(std::span<const std::byte> text)
{
    counters c;
    std::string_view all{reinterpret_cast<const char*>(text.data()), text.size()};
    while (!all.empty()) {
        const std::size_t end = std::min(all.find('\n'), all.size() - 1);
        const std::string_view line = all.substr(0, end);
        all.remove_prefix(end + 1);
        if (const std::size_t blank = line.find(' '); blank != line.npos)
            c[std::string{line.substr(0, blank)}] = leading_number(line.substr(blank + 1)).value_or(0);
    }
    return c;
}

json::object as_json(const latencies& l, const char* what, std::size_t bytes)
{
    return {{"what", what}, {"bytes", bytes}, {"n", l.n}, {"p50_us", l.p50}, {"p99_us", l.p99}, {"most_us", l.most}};
}

class trial {
public:
    trial(const patient& p, talk& t, std::vector<std::byte> metadata, report& r)
        : patient_{p}, how_{p.how}, talk_{t}, line_{t.over()}, metadata_{std::move(metadata)}, report_{r}
    {
    }

    wye::task<json::object> all()
    {
        const counters here = sum_of(rdma_devices(patient_.files));
        const counters there = co_await their_counters();
        co_await by_rails();
        co_await by_block();
        co_await by_latency();
        co_await told_after_data();
        out_["faults"] = co_await try_faults(talk_, report_);
        const counters there_now = co_await their_counters();
        compare(here, sum_of(rdma_devices(patient_.files)), there, there_now);
        co_return std::move(out_);
    }

private:
    wye::task<counters> their_counters()
    {
        order o;
        o.what = order::kind::counted;
        const std::vector<std::byte> text = co_await talk_.ask(o);
        co_return parse_counters(text);
    }

    /// One rail, two, four ... all, each with an agent of its own.
    wye::task<> by_rails()
    {
        const auto& all = line_.us.facts.rails;
        json::array table;
        std::vector<std::string> names;
        double nominal = 0;
        for (std::size_t n = 1; n < all.size(); ++n) {
            names.push_back(all[n - 1].name);
            nominal += all[n - 1].bytes_per_second;
            if ((n & (n - 1)) != 0) continue;
            const auto few = std::make_unique<line>(line_.us.agent.runtime(), how_, names);
            co_await few->connect(metadata_);
            const rates r = co_await both_rates(*few, talk_.next_seed(), block, how_.seconds);
            table.push_back(row(n, nominal, r));
        }
        nominal += all.back().bytes_per_second;
        const rates r = co_await both_rates(line_, talk_.next_seed(), block, how_.seconds);
        table.push_back(row(all.size(), nominal, r));
        out_["rails"] = std::move(table);
    }
    json::object row(std::size_t n, double nominal, const rates& r)
    {
        finding f{"rates", verdict::ok,
                  some(n, "rail") + ": writes " + rate_text(r.write) + ", reads " + rate_text(r.read)};
        f.facts = {{"rails", n},
                   {"write_bytes_per_s", r.write},
                   {"read_bytes_per_s", r.read},
                   {"links_bytes_per_s", nominal},
                   {"right", r.right}};
        json::object facts = f.facts;
        if (!r.right) {
            f.verdict = verdict::failed;
            f.why += "; what came back is not what was written";
        } else if (is_efa(line_.us.facts.provider) && std::min(r.write, r.read) < good * nominal) {
            f.verdict = verdict::warning;
            f.why += ", of links of " + rate_text(nominal);
            f.advice = {"use rails near the memory (doctor's map; numactl); one core posts some 2 million pieces a "
                        "second at most"};
        }
        report_.add(std::move(f));
        return facts;
    }

    /// All rails, in pieces of the size of a page of a KV cache and more.
    wye::task<> by_block()
    {
        json::array table;
        for (const std::size_t bytes : {64_KiB, 256_KiB, 4_MiB}) {
            const std::size_t size = std::min<std::size_t>(bytes, line_.area.length);
            const double write = co_await rate_of(line_, direction::write, size, how_.seconds);
            const double read = co_await rate_of(line_, direction::read, size, how_.seconds);
            table.push_back({{"bytes", size}, {"write_bytes_per_s", write}, {"read_bytes_per_s", read}});
            report_.add({"blocks", verdict::ok,
                         bytes_text(static_cast<double>(size)) + " each, all rails: writes " + rate_text(write) +
                             ", reads " + rate_text(read)});
        }
        out_["blocks"] = std::move(table);
    }

    wye::task<> by_latency()
    {
        struct kind {
            small what;
            const char* name;
            std::size_t bytes;
        };
        constexpr std::array<kind, 7> kinds{{{small::write, "write", 64},
                                             {small::write, "write", 4_KiB},
                                             {small::write, "write", 64_KiB},
                                             {small::read, "read", 4_KiB},
                                             {small::write_told, "write and notification", 64},
                                             {small::write_told, "write and notification", 64_KiB},
                                             {small::word, "notification", 0}}};
        json::array table;
        for (const kind& k : kinds) {
            const latencies l = co_await latencies_of(talk_, k.what, k.bytes, how_.seconds / 2);
            table.push_back(as_json(l, k.name, k.bytes));
            char text[96];
            std::snprintf(text, sizeof text, "%s of %s: p50 %.1f us, p99 %.1f us", k.name,
                          bytes_text(static_cast<double>(k.bytes)).c_str(), l.p50, l.p99);
            report_.add({"latency", verdict::ok, text});
        }
        out_["latency"] = std::move(table);
    }

    /// Random pieces, some at once, each with a notification by which the other side looks at it: had it come before
    /// the last byte, there would be something else.
    wye::task<> told_after_data()
    {
        std::mt19937_64 random{1};
        const std::size_t pages = std::min<std::size_t>(16, line_.area.length / block);
        std::uint64_t bytes = 0;
        tally seen;
        const std::uint64_t before = talk_.told;
        const stopwatch since;
        do {
            std::vector<order> orders;
            std::vector<wye::flight> flights;
            for (std::size_t i = 0; i < pages; ++i) orders.push_back(random_piece(i, random));
            for (const order& o : orders) {
                bytes += o.length;
                flights.push_back(tell(o));
            }
            for (wye::flight& f : flights) {
                const wye::outcome how = co_await f.drained();
                if (how.error) throw wye::system_error{how.error, "a write with a notification"};
            }
            seen = co_await talk_.checked(talk_.told);
        } while (since.seconds() < how_.seconds);
        const std::uint64_t told = talk_.told - before;
        json::object facts{{"told", told}, {"bytes", bytes}, {"wrong", seen.wrong}};
        report_.add({"told",
                     seen.wrong ? verdict::failed : verdict::ok,
                     some(told, "write") + " of random size with a notification: " + std::to_string(seen.wrong) +
                         " wrong when it came",
                     {},
                     facts});
        out_["told"] = std::move(facts);
    }
    order random_piece(std::size_t page, std::mt19937_64& random)
    {
        order o;
        o.what = order::kind::check;
        o.seed = talk_.next_seed();
        const std::size_t least = random() % 2 ? 1 : 256_KiB; // some are cut over several rails
        o.length = least + random() % (block - least);
        o.offset = page * block + random() % (block - o.length + 1);
        return o;
    }
    wye::flight tell(const order& o)
    {
        samples::fill(line_.front(o.offset, o.length), o.seed);
        const std::vector<std::byte> payload = as_bytes(o); // it is copied when the operation begins
        wye::copy_options told;
        told.notify = order_key;
        told.payload = payload;
        ++talk_.told;
        return wye::start(line_.sent(o.offset, o.length), line_.area.sub(o.offset, o.length), told);
    }

    void compare(const counters& here, const counters& here_now, const counters& there, const counters& there_now)
    {
        const counters mine = since(here, here_now), theirs = since(there, there_now);
        out_["counters"] = {{"here", {{"before", doctor::as_json(here)}, {"after", doctor::as_json(here_now)}}},
                            {"there", {{"before", doctor::as_json(there)}, {"after", doctor::as_json(there_now)}}}};
        if (here_now.empty() && there_now.empty())
            return report_.add({"counters", verdict::ok, "neither side has an RDMA device, so nothing was counted"});
        bool silent = false;
        for (const auto& [whose, grown] :
             {std::pair{std::string{"here, meanwhile"}, mine}, std::pair{std::string{"there, meanwhile"}, theirs}})
            if (auto f = one_way(whose, grown)) {
                silent = true;
                report_.add(std::move(*f));
            }
        if (!silent)
            report_.add({"counters", verdict::ok,
                         "meanwhile here " + some(count(mine, "tx_pkts"), "packet") + " out, " +
                             std::to_string(count(mine, "rx_pkts")) + " in; there " +
                             std::to_string(count(theirs, "tx_pkts")) + " out, " +
                             std::to_string(count(theirs, "rx_pkts")) + " in"});
    }

    const patient& patient_;
    const settings& how_;
    talk& talk_;
    line& line_;
    std::vector<std::byte> metadata_;
    report& report_;
    json::object out_;
};

/// What all of it says about EFA.
finding conclusion(const std::string& provider, bool emulated, bool one_machine, verdict worst)
{
    finding f{"efa", worst};
    f.facts = {{"provider", provider},
               {"proves_efa", is_efa(provider) && worst != verdict::failed},
               {"one_machine", one_machine}};
    if (!is_efa(provider)) {
        f.why = provider.starts_with("tcp") ? "this is tcp, it proves nothing about EFA"
                                            : "this is " + provider + ", it proves nothing about EFA";
        f.verdict = std::max(worst, verdict::warning);
        f.advice = {"run both sides on hosts with EFA, without --provider"};
    } else if (worst == verdict::failed) {
        f.why = "wye over " + provider + " does not do all that it says: see what failed";
        f.advice = {"send the report of --json"};
    } else {
        f.why = "wye over " + provider + " did all that it says" +
                (one_machine ? ", between two processes of one machine" : "");
        if (emulated) f.why += ", with emulated writes";
    }
    return f;
}

} // namespace

wye::task<> try_all(const patient& p, talk& t, const welcome& w, std::vector<std::byte> metadata, report& r)
{
    if (!w.efa)
        throw trouble{"efa", "the other side serves without --efa", {"start it as doctor --efa --serve ADDRESS:PORT"}};
    const wye::libfabric_facts& facts = t.over().us.facts;
    if (t.over().area.length < 2 * block)
        throw trouble{"efa", "less than 2 MiB in common", {"a larger --mib, on both sides"}};
    const bool one_machine = p.files.line("proc/sys/kernel/random/boot_id") == w.boot;
    if (!is_efa(facts.provider))
        r.note("this is " + std::string{facts.provider.starts_with("tcp") ? "tcp" : facts.provider} +
               ", it proves nothing about EFA");
    trial all{p, t, std::move(metadata), r};
    json::object out = co_await all.all();
    const finding f = conclusion(facts.provider, facts.emulated_writes, one_machine, r.worst());
    out["provider"] = facts.provider;
    out["version"] = facts.version;
    out["host"] = w.host;
    out["proves_efa"] = f.facts.at("proves_efa");
    out["said"] = f.why;
    r.add(f);
    r.attach("efa", std::move(out));
}

} // namespace doctor
