// SPDX-License-Identifier: Apache-2.0
#include "block_store.hpp"

#include <string_view>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace kv {

namespace asio = boost::asio;

namespace {

/// Adds the time from its construction to its destruction.
class stopwatch {
public:
    explicit stopwatch(wye::duration& total) noexcept : total_{total} {}
    stopwatch(const stopwatch&) = delete;
    ~stopwatch() { total_ += block_store::clock::now() - began_; }

private:
    wye::duration& total_;
    block_store::clock::time_point began_ = block_store::clock::now();
};

std::string said(level who, std::string_view what, const wye::error_code& why)
{
    return std::string{name_of(who)} + ' ' + std::string{what} + ": " + why.message();
}

} // namespace

block_store::block_store(hierarchy& tiers, const settings& s, std::function<void(block_id)> on_lost)
    : tiers_{tiers}, top_{tiers.top()}, synchronous_{s.policy == policy::synchronous},
      prioritised_{s.policy == policy::tiered}, verify_{s.verify}, on_lost_{std::move(on_lost)},
      landed_{tiers.agent().runtime().get_executor()}
{
}

wye::task<> block_store::promote(block_id id, wye::duration deadline)
{
    block& b = blocks_.at(id);
    if (b.at.where < b.goal) ++measured_.served_early[static_cast<std::size_t>(b.goal)];
    const bool ahead = fetched_ahead(b);
    if (ahead) --ahead_, ++measured_.prefetched;
    b.goal = top_; // from now on a copy that lands below is of no use, and one that fails does no harm
    if (b.at.where == top_) {
        co_await check(b, b.at);
    } else if (ahead && !b.moving) {
        b.at = std::exchange(b.bound, {}); // checked when it landed
    } else {
        b.wanted = clock::now();
        if (ahead) co_return; // it will land, and be checked
        co_await settled(id);
        b.bound = co_await slot(top_);
        begin_fetch(b, wye::priority::urgent, b.at.where >= level::file ? deadline : wye::duration{});
        if (synchronous_) co_await settled(id);
    }
}

wye::task<> block_store::compute(block_id id)
{
    // It may be here all the same, when only a block before it was lost.
    block& b = blocks_[id];
    b.id = id;
    forgo_prefetch(b);
    b.goal = top_;
    co_await caught_up();
    co_await settled(id);
    if (b.at.where == top_) co_return;
    b.bound = co_await slot(top_);
    co_await computed(b.bound, id);
    b.at = std::exchange(b.bound, {});
}

wye::task<> block_store::compute_only(block_id id)
{
    const place scratch = co_await slot(top_);
    co_await computed(scratch, id);
}

wye::task<> block_store::computed(const place& at, block_id id)
{
    const wye::error_code failed = co_await tiers_.fill(at, id);
    if (failed) throw wye::system_error{failed, "VRAM"};
}

wye::task<> block_store::demote(block_id id, level to)
{
    if (block* b = find(id); b && b->moving && b->bound.where != to) co_await settled(id);
    block* const b = find(id);
    if (!b) co_return; // a tier did not take it
    forgo_prefetch(*b);
    b->goal = to;
    if (to == level::nowhere) {
        blocks_.erase(id);
    } else if (to == level::object && b->in_object) {
        b->at = place{level::object, {}};
    } else if (!b->moving) {
        b->bound = co_await slot(to);
        b->moving = true;
        ++writing_;
        asio::co_spawn(tiers_.agent().runtime(), write_back(*b), asio::detached);
        if (synchronous_) co_await settled(id);
    }
}

bool block_store::prefetch(block_id id, wye::duration deadline)
{
    // The other half of the spare slots is for what leaves the top, and for what is wanted at once.
    if (ahead_ >= tiers_.spare() / 2) return false;
    block* const b = find(id);
    if (!b || b->moving || b->at.where < level::file || b->bound.where != level::nowhere) return true;
    auto taken = tiers_.try_take(top_);
    if (!taken) return false;
    b->bound = std::move(*taken);
    ++ahead_;
    begin_fetch(*b, wye::priority::normal, deadline);
    return true;
}

void block_store::begin_fetch(block& b, wye::priority p, wye::duration deadline)
{
    wye::copy_options how = options(p);
    how.deadline = deadline;
    b.moving = true;
    ++fetching_;
    asio::co_spawn(tiers_.agent().runtime(), fetch(b, how), asio::detached);
}

wye::task<> block_store::fetch(block& b, wye::copy_options how)
{
    const wye::error_code error = co_await tiers_.copy(b.at, b.bound, b.id, how);
    if (!error) {
        co_await check(b, b.bound);
    } else if (b.goal == top_) {
        count(b, error);
        co_await tiers_.fill(b.bound, b.id); // what fails here is found out when it is looked at
    }
    fetched(b, error);
}

void block_store::fetched(block& b, wye::error_code error)
{
    b.moving = false;
    --fetching_;
    if (b.wanted != clock::time_point{}) {
        const std::chrono::duration<float, std::milli> waited{clock::now() - b.wanted};
        if (b.at.where >= level::file) measured_.urgent_ms.push_back(waited.count());
        b.wanted = {};
    }
    if (b.goal == top_) b.at = std::exchange(b.bound, {});
    else if (error) --ahead_, b.bound = {}; // fetched ahead, and nobody has asked for it yet
    landed_.notify();
}

wye::task<> block_store::write_back(block& b)
{
    const wye::copy_options how = options(wye::priority::background);
    const wye::error_code error = co_await tiers_.copy(b.at, b.bound, b.id, how);
    written(b, error);
}

void block_store::written(block& b, wye::error_code error)
{
    b.moving = false;
    --writing_;
    if (error) {
        ++measured_.failed_stores;
        measured_.last_failure = said(b.bound.where, "did not take a block", error);
    } else if (b.bound.where == level::object) {
        b.in_object = true;
    }
    if (b.goal != b.bound.where) {
        b.bound = {}; // touched meanwhile: it stays where it is
    } else if (!error) {
        b.at = std::exchange(b.bound, {});
    } else {
        const block_id id = b.id;
        blocks_.erase(id);
        on_lost_(id);
    }
    landed_.notify();
}

/// It was not loaded, and so is computed.
void block_store::count(const block& b, wye::error_code error)
{
    if (error == wye::errc::deadline_missed) {
        ++measured_.late_loads;
    } else {
        ++measured_.failed_loads;
        measured_.last_failure = said(b.at.where, "did not give a block", error);
        if (error == wye::errc::corrupt) ++measured_.corruptions;
    }
}

wye::task<> block_store::check(const block& b, const place& at)
{
    const bool whole = co_await tiers_.holds(at, b.id);
    if (whole) co_return;
    ++measured_.corruptions;
    co_await tiers_.fill(at, b.id);
}

void block_store::forgo_prefetch(block& b)
{
    if (!fetched_ahead(b)) return;
    --ahead_;
    ++measured_.wasted_prefetches;
    b.bound = {};
}

wye::task<> block_store::settled(block_id id)
{
    co_await until([this, id] {
        const block* b = find(id);
        return !b || !b->moving;
    });
}

wye::task<> block_store::caught_up()
{
    // An eighth of the spare slots stays free for loads, beside the half that prefetching may take.
    const std::uint32_t most = tiers_.spare() * 3 / 8;
    co_await until([this, most] { return writing_ <= most; });
}

wye::task<> block_store::drained()
{
    co_await until([this] { return writing_ + fetching_ == 0; });
}

void block_store::clear()
{
    for (auto& [id, b] : blocks_) forgo_prefetch(b);
    blocks_.clear();
}

block_store::block* block_store::find(block_id id)
{
    const auto found = blocks_.find(id);
    return found == blocks_.end() ? nullptr : &found->second;
}

wye::task<place> block_store::slot(level l)
{
    if (auto taken = tiers_.try_take(l)) co_return std::move(*taken);
    const stopwatch waiting{measured_.stall};
    co_return co_await tiers_.take(l);
}

template <class Condition>
wye::task<> block_store::until(Condition holds)
{
    if (holds()) co_return;
    const stopwatch waiting{measured_.stall};
    while (!holds()) co_await landed_.wait();
}

wye::copy_options block_store::options(wye::priority p) const noexcept
{
    wye::copy_options how;
    how.priority = prioritised_ ? p : wye::priority::normal;
    how.verify = verify_;
    return how;
}

} // namespace kv
