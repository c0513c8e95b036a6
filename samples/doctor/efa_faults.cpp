// SPDX-License-Identifier: Apache-2.0
// What breaks on two hosts without root: copies are cancelled, rails are lost, and a process over there is stopped, and
// killed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>

#include <pattern.hpp>

#include "efa.hpp"
#include "measure.hpp"

namespace doctor {

namespace json = boost::json;
using namespace wye::literals;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t block = 1_MiB;
constexpr int cancellations = 20;
constexpr std::size_t most_bytes = 256_MiB; // of the area: what is checked again and again
constexpr auto late = 300ms;                // by when a write that is late would have landed
constexpr double rail_back_within = 15;     // seconds
constexpr double peer_lost_within = 8;      // seconds: two without a word, and what it takes to lock it out

/// Says of a rail, in its driver's place, that it is lost. The runtime fences it, sends elsewhere what it had, and
/// opens it again: all but what broke is as it would be.
struct rumour : wye::driver {
    static void spread(wye::driver& about, std::uint32_t rail) { (about.*&rumour::lost)(rail); }
};

std::string seconds_text(double s)
{
    char text[32];
    std::snprintf(text, sizeof text, s < 0.1 ? "%.4f s" : "%.2f s", s);
    return text;
}

class faults {
public:
    faults(talk& t, report& r)
        : talk_{t}, line_{t.over()}, report_{r}, length_{std::min<std::size_t>(line_.area.length, most_bytes)}
    {
    }

    wye::task<json::object> all()
    {
        co_await cancelled_copies();
        const auto rails = static_cast<std::uint32_t>(line_.us.facts.rails.size());
        co_await lost_rail(0);
        if (rails > 1) co_await lost_rail(rails - 1);
        co_await gone_peer(order::kind::stop, "stopped peer");
        co_await gone_peer(order::kind::kill, "killed peer");
        co_return std::move(out_);
    }

private:
    wye::metrics measured() const { return line_.us.agent.measure(); }

    void add(const char* check, bool fine, std::string why, json::object facts)
    {
        out_[check] = facts;
        report_.add({check, fine ? verdict::ok : verdict::failed, std::move(why), {}, std::move(facts)});
    }

    /// Writes the seed's bytes over all of it, and has looked at it over there.
    wye::task<> overwrite(std::uint64_t seed)
    {
        order o;
        o.what = order::kind::check;
        o.seed = seed;
        o.length = length_;
        const std::vector<std::byte> payload = as_bytes(o);
        wye::copy_options told;
        told.notify = order_key;
        told.payload = payload;
        ++talk_.told;
        co_await wye::copy(line_.came(0, length_), line_.area.sub(0, length_), told);
        co_await talk_.checked(talk_.told);
    }
    /// Once more, without any bytes.
    wye::task<> look_again(std::uint64_t seed)
    {
        order o;
        o.what = order::kind::check;
        o.seed = seed;
        o.length = length_;
        ++talk_.told;
        co_await line_.us.agent.notify(line_.there, std::string{order_key}, as_bytes(o));
    }

    /// A copy that is cancelled ends; and nothing of it lands afterwards.
    wye::task<> cancelled_copies()
    {
        const std::uint64_t seed = talk_.next_seed();
        samples::fill(line_.front(0, length_), talk_.next_seed());
        samples::fill(line_.back(0, length_), seed);
        const std::vector<wye::transfer> batch = blocks(line_, direction::write, length_, block);
        const tally before = co_await talk_.checked(talk_.told);
        double slowest = 0;
        int stopped = 0, failed = 0;
        for (int i = 0; i < cancellations; ++i) {
            wye::flight f = wye::start(batch);
            co_await line_.us.agent.runtime().sleep(i * 200us);
            f.cancel();
            const stopwatch since;
            const wye::outcome how = co_await f.drained();
            slowest = std::max(slowest, since.seconds());
            if (how.error == boost::asio::error::operation_aborted)
                ++stopped;
            else if (how.error)
                ++failed;
            co_await overwrite(seed);
        }
        co_await line_.us.agent.runtime().sleep(late);
        co_await look_again(seed);
        const tally seen = co_await talk_.checked(talk_.told);
        const std::uint64_t wrong = seen.wrong - before.wrong;
        add("cancelled copies", wrong == 0 && failed == 0,
            std::to_string(stopped) + " of " + std::to_string(cancellations) +
                " were under way; the slowest was over after " + seconds_text(slowest) + "; " + std::to_string(wrong) +
                " wrote over what came after them",
            {{"cancelled", stopped},
             {"of", cancellations},
             {"failed", failed},
             {"slowest_s", slowest},
             {"wrong", wrong}});
    }

    std::uint64_t bytes_over(std::uint32_t rail) const
    {
        std::uint64_t bytes = 0;
        for (const wye::driver_metrics& d : measured().drivers)
            if (d.name == line_.us.fabric.name() && d.rail == rail) bytes += d.bytes;
        return bytes;
    }

    /// The copy that is under way lands all the same, and the rail comes back.
    wye::task<> lost_rail(std::uint32_t rail)
    {
        const std::uint64_t seed = talk_.next_seed();
        samples::fill(line_.front(0, length_), seed);
        const std::vector<wye::transfer> once = blocks(line_, direction::write, length_, block);
        std::vector<wye::transfer> batch;
        for (int i = 0; i < 8; ++i) batch.insert(batch.end(), once.begin(), once.end()); // long enough to be caught
        wye::flight f = wye::start(batch);
        co_await line_.us.agent.runtime().sleep(2ms);
        const bool under_way = !f.done();
        rumour::spread(line_.us.fabric, rail);
        const wye::outcome how = co_await f.drained();
        co_await look_again(seed);
        const tally seen = co_await talk_.checked(talk_.told);

        const std::uint64_t bytes = bytes_over(rail);
        const stopwatch since;
        wye::error_code error;
        while (bytes_over(rail) == bytes && since.seconds() < rail_back_within && !error) {
            const auto [e, n] = co_await wye::copy(once, boost::asio::as_tuple(boost::asio::deferred));
            error = e;
        }
        const double back = since.seconds();
        const bool fine = !how.error && !error && seen.wrong == 0 && back < rail_back_within;
        std::string why = "rail " + std::to_string(rail) +
                          (under_way ? " given up in the middle of a copy, which " : " given up; the copy ");
        why += how.error ? "failed: " + how.error.message() : seen.wrong ? "landed wrong" : "landed all the same";
        why += back < rail_back_within ? "; the rail carried again after " + seconds_text(back)
                                       : "; the rail did not come back";
        add(rail == 0 ? "lost rail" : "last rail lost", fine, why,
            {{"rail", rail},
             {"under_way", under_way},
             {"error", how.error.message()},
             {"wrong", seen.wrong},
             {"back_after_s", back}});
    }

    /// A process over there stops or dies in the middle: what has to do with it ends, what has not goes on.
    wye::task<> gone_peer(order::kind what, const char* check)
    {
        order hire;
        hire.what = order::kind::hire;
        const std::vector<std::byte> answer = co_await talk_.ask(hire);
        const std::uint64_t n = from_bytes<std::uint64_t>(answer).value_or(0);
        if (n == 0 || n > letter_bytes) throw trouble{"understudy", "there is none over there", {}};
        co_await wye::copy(line_.there.published(understudy_name).sub(0, n), line_.came(0, n));
        const std::span<const std::byte> metadata = line_.back(0, n);
        wye::peer other = co_await line_.us.agent.connect(std::vector<std::byte>(metadata.begin(), metadata.end()));
        const wye::slice pool = other.published(understudy_name);
        const std::size_t bytes = std::min<std::size_t>(pool.length, length_);
        co_await wye::copy(line_.sent(0, bytes), pool.sub(0, bytes));

        std::vector<wye::transfer> batch;
        for (int i = 0; i < 64; ++i) batch.push_back({line_.sent(0, bytes), pool.sub(0, bytes)});
        wye::copy_options told;
        told.notify = "doctor.gone"; // it must answer for the copy to end well
        wye::flight f = wye::start(batch, told);
        order end;
        end.what = what;
        co_await talk_.ask(end);
        const bool under_way = !f.done();
        const stopwatch since;
        const others o = co_await others_meanwhile(f, since);
        const wye::outcome how = co_await f.drained();
        const double took = since.seconds();
        // A NIC of EFA writes to the memory of a process that is stopped; it is the notification that cannot be taken.
        const bool fine = o.error == wye::error_code{} && took < peer_lost_within &&
                          (how.error == wye::errc::peer_lost || !under_way);
        add(check, fine,
            "its copy ended after " + seconds_text(took) + ": " + (how.error ? how.error.message() : "well") +
                "; meanwhile " + some(o.writes, "write") + " to the other" +
                (o.error ? " and then: " + o.error.message() : ", the slowest in " + seconds_text(o.slowest)),
            {{"under_way", under_way},
             {"error", how.error.message()},
             {"after_s", took},
             {"others", o.writes},
             {"others_slowest_s", o.slowest}});
        end.what = order::kind::kill;
        co_await talk_.ask(end);
    }
    struct others {
        std::uint64_t writes = 0;
        double slowest = 0;
        wye::error_code error;
    };
    wye::task<others> others_meanwhile(const wye::flight& f, const stopwatch& since)
    {
        others o;
        const std::size_t bytes = std::min(block, length_);
        while (!f.done() && !o.error && since.seconds() < 2 * peer_lost_within) {
            const stopwatch one;
            const auto [e, n] = co_await wye::copy(line_.sent(0, bytes), line_.area.sub(0, bytes),
                                                   boost::asio::as_tuple(boost::asio::deferred));
            o.error = e;
            o.slowest = std::max(o.slowest, one.seconds());
            ++o.writes;
            co_await line_.us.agent.runtime().sleep(1ms);
        }
        co_return o;
    }

    talk& talk_;
    line& line_;
    report& report_;
    std::size_t length_;
    json::object out_;
};

} // namespace

wye::task<json::object> try_faults(talk& t, report& r)
{
    faults all{t, r};
    json::object out = co_await all.all();
    co_return out;
}

} // namespace doctor
