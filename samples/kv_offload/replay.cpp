// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/asio/post.hpp>

namespace kv {

namespace asio = boost::asio;

namespace {

// A busy engine has some requests waiting, whose blocks can be fetched ahead.
constexpr std::size_t most_waiting = 8;

constexpr std::uint64_t requests_per_sample = 100;

std::vector<tiered_index::tier_size> sizes(const hierarchy& tiers, const settings& s)
{
    std::vector<tiered_index::tier_size> out;
    if (s.policy == policy::recompute) return out;
    if (tiers.has(level::vram)) out.push_back({level::vram, s.vram_blocks});
    if (tiers.has(level::dram)) out.push_back({level::dram, s.dram_blocks});
    if (tiers.has(level::file)) out.push_back({level::file, s.file_blocks});
    if (tiers.has(level::object)) out.push_back({level::object, tiered_index::boundless});
    return out;
}

float milliseconds(wye::duration d) { return std::chrono::duration<float, std::milli>(d).count(); }

} // namespace

replay::replay(hierarchy& tiers, const settings& s, request_source& source,
               std::function<void(const replay_result&)> told)
    : settings_{s}, source_{source}, told_{std::move(told)}, runtime_{tiers.agent().runtime()}, tiers_{tiers},
      index_{sizes(tiers, s), s.evict}, store_{tiers, s, [this](block_id id) { index_.erase(id); }}
{
}

wye::task<> replay::run()
{
    began_ = clock::now();
    std::exception_ptr failure;
    try {
        co_await serve_all();
    } catch (...) {
        failure = std::current_exception();
    }
    co_await store_.drained();
    store_.clear();
    result_.wall_s = std::chrono::duration<double>(clock::now() - began_).count();
    result_.moved = store_.measured();
    result_.leaked_leases = tiers_.leases();
    result_.interrupted = stopping_;
    if (failure) std::rethrow_exception(failure);
}

wye::task<> replay::serve_all()
{
    next_ = source_.next();
    while (!stopping_) {
        admit();
        if (waiting_.empty()) {
            if (!next_) co_return;
            co_await sleep_until_arrival(*next_);
            continue;
        }
        const request now = std::move(waiting_.front());
        waiting_.pop_front();
        if (looked_ahead_ > 0) --looked_ahead_;
        co_await serve(now);
        told_(result_);
    }
}

wye::task<> replay::serve(const request& r)
{
    const prefix found = index_.look_up(r);
    count(r, found);
    const auto began = clock::now();
    const wye::duration deadline = deadline_of(found);
    for (std::size_t i = 0; i < found.blocks; ++i) co_await touch(r, found, i, deadline);
    prefetch();
    for (std::size_t i = 0; i < found.blocks; ++i) co_await store_.settled(r.blocks[i]);
    count_time(r, found, clock::now() - began);

    for (std::size_t i = found.blocks; i < r.blocks.size(); ++i) co_await touch(r, found, i, {});
    // Not every request waits for something, and yet copies are to go on.
    co_await asio::post(runtime_, asio::deferred);
}

wye::task<> replay::touch(const request& r, const prefix& found, std::size_t i, wye::duration deadline)
{
    const block_id id = r.blocks[i];
    if (!index_.keeps(r, i)) {
        co_await store_.compute_only(id);
        co_return;
    }
    const std::vector<move> moves = index_.touch(r, found, i);
    const bool hit = i < found.blocks && moves.front().from != level::nowhere;
    if (hit) {
        ++result_.hits_when_touched[static_cast<std::size_t>(moves.front().from)];
        co_await store_.promote(id, deadline);
    } else {
        co_await store_.compute(id);
    }
    for (std::size_t m = 1; m < moves.size(); ++m) co_await store_.demote(moves[m].id, moves[m].to);
}

void replay::admit()
{
    while (next_ && waiting_.size() < most_waiting && has_arrived(*next_)) {
        waiting_.push_back(std::move(*next_));
        next_ = source_.next();
    }
}

void replay::prefetch()
{
    if (settings_.policy == policy::synchronous || settings_.policy == policy::recompute) return;
    for (; looked_ahead_ < waiting_.size(); ++looked_ahead_) {
        const request& r = waiting_[looked_ahead_];
        const prefix found = index_.look_up(r);
        const wye::duration deadline = deadline_of(found);
        for (std::size_t i = 0; i < found.blocks; ++i)
            if (!store_.prefetch(r.blocks[i], deadline)) return;
    }
}

bool replay::has_arrived(const request& r) const
{
    if (settings_.speedup == 0) return true;
    const std::chrono::duration<double, std::milli> due{r.at_ms / settings_.speedup};
    return clock::now() - began_ >= due;
}

wye::task<> replay::sleep_until_arrival(const request& r)
{
    // In short pieces, so that an interrupt is heard.
    const std::chrono::duration<double, std::milli> due{r.at_ms / settings_.speedup};
    const auto left = std::chrono::duration_cast<wye::duration>(due - (clock::now() - began_));
    co_await runtime_.sleep(
        std::clamp<wye::duration>(left, std::chrono::microseconds{1}, std::chrono::milliseconds{50}));
}

wye::duration replay::prefill_time(std::uint64_t tokens) const
{
    const std::chrono::duration<double> time{static_cast<double>(tokens) / settings_.prefill_tokens_per_s};
    return std::chrono::duration_cast<wye::duration>(std::min(time, std::chrono::duration<double>{1e6}));
}

wye::duration replay::deadline_of(const prefix& found) const
{
    // Loading that takes longer than computing the same tokens is not worth waiting for. The baseline waits.
    if (settings_.policy == policy::synchronous) return {};
    const auto lower = found.tokens[std::size_t(level::file)] + found.tokens[std::size_t(level::object)];
    return prefill_time(lower);
}

void replay::count(const request& r, const prefix& found)
{
    ++result_.requests;
    result_.asked.blocks += r.blocks.size();
    result_.asked.tokens += r.input_tokens;
    for (std::size_t l = 0; l < level_count; ++l) {
        result_.hits[l].blocks += found.in[l];
        result_.hits[l].tokens += found.tokens[l];
    }
    for (std::size_t i = 0; i < r.blocks.size(); ++i) {
        if (r.blocks[i] != 0) continue;
        ++result_.shared_asked.blocks, result_.shared_asked.tokens += r.tokens(i);
        if (i < found.blocks) ++result_.shared_hits.blocks, result_.shared_hits.tokens += r.tokens(i);
    }
    if (result_.requests % requests_per_sample != 0) return;
    auto& sample = result_.timeline.emplace_back();
    for (std::size_t l = 0; l < level_count; ++l) sample[l] = result_.hits[l].blocks;
    sample[level_count] = result_.asked.blocks;
}

void replay::count_time(const request& r, const prefix& found, wye::duration io)
{
    std::uint64_t hit = 0;
    for (const std::uint64_t tokens : found.tokens) hit += tokens;
    const float io_ms = milliseconds(io);
    result_.io_ms.push_back(io_ms);
    result_.ttft_ms.push_back(io_ms + milliseconds(prefill_time(r.input_tokens - hit)));
    if (found.in[std::size_t(level::file)] + found.in[std::size_t(level::object)] > 0)
        result_.lower_io_ms.push_back(io_ms);
}

} // namespace kv
