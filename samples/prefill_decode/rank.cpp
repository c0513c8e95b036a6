// SPDX-License-Identifier: Apache-2.0
#include "rank.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>

#include <sys/resource.h>

namespace pd {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// A rank computes and checks a layer between two polls, which is milliseconds, but not where ranks share few processors.
constexpr wye::duration longest_gap = 2s, lost_after = 2s;
/// Who is named in a wait is found to be lost within this.
constexpr wye::duration lost_within = 2 * (longest_gap + lost_after);

std::uint64_t peak_rss()
{
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
}

} // namespace

void copies::begin(std::size_t partner, std::size_t group, const wye::selection& from, const wye::selection& to,
                   const wye::copy_options& o)
{
    ++left_[group];
    wye::copy(from, to, o, [this, partner, group](wye::error_code error, std::size_t bytes) {
        if (error && !errors_[partner]) errors_[partner] = error;
        bytes_ += bytes;
        --left_[group];
        changed_.notify();
    });
}

wye::task<> copies::ended(std::size_t group)
{
    while (left_[group] != 0) co_await changed_.wait();
}

void together::begin(wye::task<> t)
{
    ++left_;
    asio::co_spawn(on_, std::move(t), [this](std::exception_ptr e) {
        if (e && !failure_) failure_ = e;
        --left_;
        changed_.notify();
    });
}

wye::task<> together::ended()
{
    while (left_ != 0) co_await changed_.wait();
    if (failure_) std::rethrow_exception(failure_);
}

rank::rank(const settings& s, place at, int socket)
    : settings_{s}, at_{at}, layout_{s.layout_of(at.role)}, line_{runtime_.io(), socket},
      agent_{runtime_, at.name(), agent_options(s)}, idle_{runtime_.get_executor()}
{
}

wye::agent_options rank::agent_options(const settings& s)
{
    wye::agent_options o;
    o.peers.secret = s.secret;
    o.peers.longest_gap = longest_gap;
    o.peers.lost_after = lost_after;
    o.peers.connect_within = find_within;
    return o;
}

wye::libfabric_options rank::fabric_options() const
{
    wye::libfabric_options o;
    o.rails = settings_.rails;
    return o;
}

void rank::run()
{
    std::exception_ptr failure;
    asio::co_spawn(runtime_, live(), [&](std::exception_ptr e) {
        failure = e;
        runtime_.stop();
    });
    runtime_.run();
    if (failure) std::rethrow_exception(failure);
}

void rank::say_failed(const std::string& why)
{
    message m;
    m.f.what = verb::failed;
    m.text = why;
    line_.say(m);
}

wye::task<> rank::live()
{
    co_await serve();
    meets_no_more_.emit(asio::cancellation_type::terminal);
    while (under_way_ != 0) co_await idle_.wait();
    others_.clear();
    if (meeting_) co_await meeting_->leave(agent_);
    message m;
    m.f.what = verb::bye;
    m.f.bytes = bytes_;
    m.f.peak_rss = peak_rss();
    line_.say(m);
}

/// Registers and publishes a tensor for each layer, as an engine has them.
wye::task<> rank::open()
{
    agent_.add(wye::make_libfabric(fabric_options()));
    if (settings_.memory == memory_kind::standin) agent_.add(wye::drivers::vram_standin());
    if (settings_.memory == memory_kind::gpu) add_gpu();
    for (std::uint32_t l = 0; l < layout_.layers; ++l) co_await open_layer(l);
    local_ = agent_.prepare(wye::blocks_of(layers_, layout_.part_bytes()));
    meeting_ = open_meeting_place(runtime_, settings_);
    message m;
    m.f.what = verb::ready;
    m.text = co_await meeting_->announce(agent_);
    line_.say(m);
}

/// Asked for here, not in the front: a process that has looked for GPUs cannot have children that use them.
void rank::add_gpu()
{
    const std::string missing = wye::read_cuda().missing;
    if (!missing.empty()) throw std::runtime_error{"--vram gpu: " + missing + "; --vram standin plays a GPU's memory in DRAM"};
    agent_.add(wye::drivers::cuda());
    // Ranks of one machine copy straight from GPU to GPU. Several are let at us, all of which the front has begun.
    wye::same_host_options near;
    near.gpus = wye::drivers::cuda_sharing();
    near.tracers = wye::tracers::anyone;
    agent_.add(wye::make_same_host(near));
}

wye::task<> rank::open_layer(std::uint32_t layer)
{
    const wye::arena& a = memory_.emplace_back(layout_.layer_bytes());
    const bool vram = settings_.memory == memory_kind::standin;
    wye::memory m = vram ? wye::vram(a.data(), a.size()) : wye::dram(a.data(), a.size());
    if (settings_.memory == memory_kind::gpu) {
        at_hand_.push_back(co_await agent_.register_memory(m));
        m = gpu_.emplace_back(a.size()).memory();
    }
    const auto others = settings_.direction == direction::write ? wye::access::read_write : wye::access::read_only;
    try {
        layers_.push_back(co_await agent_.register_memory(m));
        if (at_.role != settings_.mover()) co_await agent_.publish(name_of_layer(layer), layers_.back(), others);
    } catch (const wye::system_error& e) {
        if (!vram || e.code() != wye::errc::not_supported) throw;
        throw std::runtime_error{"--vram standin: no driver of this build reaches such memory of another process"};
    }
}

wye::task<> rank::serve()
{
    for (;;) {
        std::optional<message> m = co_await line_.next();
        if (!m) std::_Exit(1); // the front has gone, and nobody is left to report to
        if (m->f.what == verb::end) co_return;
        heard(std::move(*m));
    }
}

void rank::heard(message m)
{
    switch (m.f.what) {
    case verb::open: return begin(open());
    case verb::meet:
        meeting_->introduce(m.text);
        if (at_.role == settings_.mover()) begin(follow(), meets_no_more_.slot());
        return;
    case verb::forget: others_.erase(m.f.engine); return;
    default: begin(part_in(std::move(m)));
    }
}

void rank::begin(wye::task<> t, asio::cancellation_slot slot)
{
    ++under_way_;
    const auto ended = [this](std::exception_ptr e) {
        if (e) std::rethrow_exception(e); // out of `run`
        --under_way_;
        idle_.notify();
    };
    asio::co_spawn(runtime_, std::move(t), asio::bind_cancellation_slot(slot, ended));
}

wye::task<> rank::part_in(message m)
{
    if (at_.role == role::prefill) {
        const message report = co_await prefill(m);
        bytes_ += report.f.bytes;
        line_.say(report);
    } else {
        const message report = co_await decode(m);
        bytes_ += report.f.bytes;
        line_.say(report);
    }
}

wye::task<ending> rank::told(std::string key, const partners& by)
{
    if (by.empty()) co_return ending::told; // of a replicated model nobody may need this copy
    wye::wanted all;
    all.key = key;
    all.count = static_cast<std::uint32_t>(by.size());
    all.deadline = settings_.lease;
    try {
        const wye::notification last = co_await agent_.notified(all);
        co_return last.aborted ? ending::aborted : ending::told;
    } catch (const wye::system_error& e) {
        if (e.code() != wye::errc::deadline_missed) throw;
    }
    // The lease is over. Those who have spoken are asked no more; the others are lost, or are locked out.
    ending worst = ending::told;
    together each{runtime_.get_executor()};
    for (const partner& p : by) each.begin(told_alone(key, p, worst));
    co_await each.ended();
    co_return worst;
}

wye::task<> rank::told_alone(std::string key, const partner& by, ending& worst)
{
    wye::wanted one;
    one.key = key;
    one.peer = by.name;
    one.deadline = lost_within;
    ending how = ending::told;
    try {
        const wye::notification n = co_await agent_.notified(one);
        if (n.aborted) how = ending::aborted;
    } catch (const wye::system_error& e) {
        if (e.code() != wye::errc::peer_lost && e.code() != wye::errc::deadline_missed) throw;
        how = e.code() == wye::errc::peer_lost ? ending::lost : ending::revoked;
    }
    if (how == ending::revoked) {
        together layers{runtime_.get_executor()};
        for (std::uint32_t l = 0; l < layout_.layers; ++l) layers.begin(agent_.revoke(name_of_layer(l), by.name));
        co_await layers.ended();
    }
    worst = std::max(worst, how);
}

wye::task<ending> rank::settle(std::string key, const partners& whom, const copies& moved, bool tell)
{
    ending worst = ending::told;
    for (std::size_t i = 0; i < whom.size(); ++i) {
        wye::error_code error = moved.error(i);
        if (tell && !error) {
            try {
                co_await agent_.notify(whom[i].peer, key);
            } catch (const wye::system_error& e) {
                error = e.code();
            }
        }
        if (error) worst = std::max(worst, error == wye::errc::peer_lost ? ending::lost : ending::aborted);
    }
    co_return worst;
}

std::vector<std::uint32_t> rank::blocks(role side, const message& m, const partner& p) const
{
    const layout l = side == at_.role ? layout_ : settings_.layout_of(side);
    return l.select(side == at_.role ? m.mine : m.theirs, side == role::prefill ? p.how.prefill_part : p.how.decode_part);
}

wye::task<> rank::breathe()
{
    co_await asio::post(runtime_.get_executor(), asio::deferred);
}

std::span<std::byte> rank::page_at(std::uint32_t layer, std::uint32_t half, std::uint32_t page)
{
    return {memory_[layer].data() + layout_.offset(half, page), layout_.page_bytes()};
}

wye::task<> rank::spoil_pages(std::span<const std::uint32_t> pages)
{
    if (!settings_.verify) co_return;
    for (std::uint32_t l = 0; l < layout_.layers; ++l) {
        for (std::uint32_t h = 0; h < layout_.halves; ++h)
            for (const std::uint32_t p : pages) spoil(layout_, page_at(l, h, p));
        co_await carry(l, pages, true);
    }
}

wye::task<> rank::carry(std::uint32_t layer, std::span<const std::uint32_t> pages, bool to_gpu)
{
    if (at_hand_.empty()) co_return;
    std::vector<wye::transfer> all;
    for (std::uint32_t h = 0; h < layout_.halves; ++h)
        for (const std::uint32_t p : pages) {
            const std::size_t at = layout_.offset(h, p), n = layout_.page_bytes();
            const wye::slice here = at_hand_[layer].at(at, n), there = layers_[layer].at(at, n);
            all.push_back(to_gpu ? wye::transfer{here, there} : wye::transfer{there, here});
        }
    co_await wye::copy(all);
}

std::string name_of_layer(std::size_t l) { return "layer." + std::to_string(l); }

std::span<const std::uint32_t> group_of(const std::vector<std::uint32_t>& all, std::size_t group, std::size_t groups) noexcept
{
    const std::size_t each = all.size() / groups;
    return {all.data() + group * each, each};
}

/// Ends without destructors when something went wrong: transfers may be under way.
int run_rank(const settings& s, place at, int socket)
{
    rank r{s, at, socket};
    try {
        r.run();
        return 0;
    } catch (const std::exception& e) {
        r.say_failed(e.what());
        std::_Exit(1);
    }
}

} // namespace pd
