// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <algorithm>
#include <array>

#include <pattern.hpp>

namespace doctor {

namespace {

constexpr std::size_t most_samples = 200'000;

} // namespace

std::vector<wye::transfer> blocks(line& l, direction d, std::size_t length, std::size_t block)
{
    std::vector<wye::transfer> batch;
    for (std::size_t at = 0; at < length; at += block) {
        const std::size_t n = std::min(block, length - at);
        if (d == direction::write)
            batch.push_back({l.sent(at, n), l.area.sub(at, n)});
        else
            batch.push_back({l.area.sub(at, n), l.came(at, n)});
    }
    return batch;
}

wye::task<double> rate_of(line& l, direction d, std::size_t block, double seconds)
{
    const std::vector<wye::transfer> batch = blocks(l, d, l.area.length, block);
    co_await wye::copy(batch); // connections are made, rates are learnt
    std::size_t n = 0;
    const stopwatch since;
    do {
        co_await wye::copy(batch);
        ++n;
    } while (since.seconds() < seconds);
    co_return static_cast<double>(n * l.area.length) / since.seconds();
}

wye::task<rates> both_rates(line& l, std::uint64_t seed, std::size_t block, double seconds)
{
    const std::size_t length = l.area.length;
    samples::fill(l.front(0, length), seed);
    rates r;
    r.write = co_await rate_of(l, direction::write, block, seconds);
    const std::span<std::byte> back = l.back(0, length);
    std::fill(back.begin(), back.end(), std::byte{});
    r.read = co_await rate_of(l, direction::read, block, seconds);
    r.right = samples::holds(back, seed);
    co_return r;
}

latencies summary(std::vector<double> us)
{
    if (us.empty()) return {};
    std::sort(us.begin(), us.end());
    const auto at = [&](double q) { return us[static_cast<std::size_t>(q * static_cast<double>(us.size() - 1))]; };
    return {us.size(), at(0.5), at(0.99), us.back()};
}

wye::task<latencies> latencies_of(talk& t, small what, std::size_t bytes, double seconds)
{
    line& l = t.over();
    const std::vector<std::byte> nothing = as_bytes(order{});
    wye::copy_options o;
    if (what == small::write_told) {
        o.notify = order_key;
        o.payload = nothing;
    }
    const wye::slice here = what == small::read ? l.came(0, bytes) : l.sent(0, bytes);
    const wye::slice from = what == small::read ? l.area.sub(0, bytes) : here;
    const wye::slice to = what == small::read ? here : l.area.sub(0, bytes);
    std::vector<double> us;
    const stopwatch all;
    while (all.seconds() < seconds && us.size() < most_samples) {
        const stopwatch one;
        if (what == small::word)
            co_await l.us.agent.notify(l.there, std::string{order_key}, nothing);
        else
            co_await wye::copy(from, to, o);
        us.push_back(one.seconds() * 1e6);
    }
    co_return summary(std::move(us));
}

} // namespace doctor
