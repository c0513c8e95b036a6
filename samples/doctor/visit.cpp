// SPDX-License-Identifier: Apache-2.0
#include "visit.hpp"

#include <cstdio>
#include <memory>
#include <optional>

#include <boost/asio/error.hpp>

#include <pattern.hpp>
#include <wye/side_channel.hpp>

#include "efa.hpp"
#include "measure.hpp"

namespace doctor {

using namespace wye::literals;

namespace {

constexpr std::size_t block = 1_MiB;

std::string milliseconds(double seconds)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.1f ms", seconds * 1e3);
    return text;
}

std::vector<std::string> advice_for(const wye::error_code& e)
{
    if (e == wye::errc::not_trusted) return {"give both sides the same secret (WYE_DOCTOR_SECRET)"};
    if (e == wye::errc::bad_name) return {"it is HOST:PORT, as doctor --serve has said it"};
    if (e == wye::errc::bad_metadata)
        return {"something else listens there: is it the port that doctor --serve has said?"};
    return {"start doctor --serve ADDRESS:PORT there; it listens on loopback unless it is given an address",
            "the security group, and any firewall, must let TCP through to that port"};
}

wye::task<std::vector<std::byte>> fetch(wye::runtime& rt, const settings& s)
{
    wye::fetch_options how;
    how.secret = s.secret;
    wye::metadata_source source = co_await wye::metadata_source::open(rt, s.peer, how);
    std::vector<std::byte> metadata = co_await source.fetch();
    co_return metadata;
}

class visitor {
public:
    visitor(const patient& p, report& r) : patient_{p}, report_{r} {}

    wye::task<> go()
    {
        const counters before = sum_of(rdma_devices(patient_.files));
        std::vector<std::byte> metadata = co_await side_channel();
        line_.emplace(rt_, patient_.how, patient_.how.rails);
        talk t{*line_};
        const welcome w = co_await handshake(t, metadata, before);
        if (patient_.how.efa)
            co_await try_all(patient_, t, w, metadata, report_);
        else
            co_await transfers(t);
        co_await t.end();
    }

    wye::runtime& runtime() noexcept { return rt_; }

private:
    wye::task<std::vector<std::byte>> side_channel()
    {
        const stopwatch since;
        std::vector<std::byte> metadata;
        try {
            metadata = co_await fetch(rt_, patient_.how);
        } catch (const wye::system_error& e) {
            throw trouble{"side channel", patient_.how.peer + ": " + e.code().message(), advice_for(e.code())};
        }
        report_.add({"side channel",
                     verdict::ok,
                     "the secret is proved, " + some(metadata.size(), "byte") + " of metadata, in " +
                         milliseconds(since.seconds()),
                     {},
                     {{"seconds", since.seconds()}}});
        co_return metadata;
    }

    wye::task<welcome> handshake(talk& t, const std::vector<std::byte>& metadata, const counters& before)
    {
        const stopwatch since;
        welcome w;
        try {
            co_await line_->connect(metadata);
            w = co_await t.begin();
        } catch (const wye::system_error& e) {
            silent(e.code(), before);
        }
        report_.add({"handshake",
                     verdict::ok,
                     std::string{"both ways over "} + line_->us.facts.provider + " with " + w.host + " in " +
                         milliseconds(since.seconds()) + "; " +
                         line_->us.agent.explain(line_->mine, line_->area).to_string(),
                     {},
                     {{"seconds", since.seconds()}, {"host", w.host}, {"provider", line_->us.facts.provider}}});
        co_return w;
    }

    /// The side channel answers, the fabric does not.
    [[noreturn]] void silent(const wye::error_code& e, const counters& before)
    {
        const counters grown = since(before, sum_of(rdma_devices(patient_.files)));
        if (auto f = one_way("since this began", grown)) report_.add(std::move(*f));
        const std::string& provider = line_->us.facts.provider;
        const std::string why = "the side channel answers, " + provider + " does not: " + e.message();
        if (!provider.starts_with("tcp")) throw trouble{"handshake", why, causes_of_silence()};
        throw trouble{
            "handshake",
            why,
            {"over tcp both sides need --rails with addresses that the other reaches; 127.0.0.1 is for one host",
             "firewalls must let all ports through between them"}};
    }

    wye::task<> transfers(talk& t)
    {
        line& l = *line_;
        const rates r = co_await both_rates(l, t.next_seed(), block, patient_.how.seconds);
        report_.add({"rates",
                     r.right ? verdict::ok : verdict::failed,
                     (r.right ? "what was written came back: " : "what came back is not what was written; ") +
                         ("writes " + rate_text(r.write)) + ", reads " + rate_text(r.read),
                     {},
                     {{"write_bytes_per_s", r.write}, {"read_bytes_per_s", r.read}}});
        co_await all_is_told(t);
    }

    /// All of the area, with a notification: the other side looks at it when it is told.
    wye::task<> all_is_told(talk& t)
    {
        line& l = *line_;
        order o;
        o.what = order::kind::check;
        o.seed = t.next_seed();
        o.length = l.area.length;
        samples::fill(l.front(0, o.length), o.seed);
        const std::vector<std::byte> payload = as_bytes(o);
        wye::copy_options told;
        told.notify = order_key;
        told.payload = payload;
        co_await wye::copy(l.sent(0, o.length), l.area, told);
        const tally seen = co_await t.checked(++t.told);
        report_.add({"told",
                     seen.wrong ? verdict::failed : verdict::ok,
                     bytes_text(static_cast<double>(o.length)) + " with a notification: over there all of it was " +
                         (seen.wrong ? "not there when it came" : "right when it came"),
                     {},
                     {{"checked", seen.checked}, {"wrong", seen.wrong}}});
    }

    const patient& patient_;
    report& report_;
    wye::runtime rt_;
    std::optional<line> line_;
};

} // namespace

std::string rate_text(double bytes_per_second)
{
    char text[64];
    std::snprintf(text, sizeof text, "%.2f Gb/s (%.2f GB/s)", bytes_per_second * 8 / 1e9, bytes_per_second / 1e9);
    return text;
}

void visit(const patient& p, report& r)
{
    visitor v{p, r};
    run(v.runtime(), v.go());
}

} // namespace doctor
