// SPDX-License-Identifier: Apache-2.0
#include "generator.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kv {

namespace {

constexpr double tick_ms = 3000;
constexpr double new_per_tick = 6;
constexpr std::size_t prompt_count = 64;
constexpr std::uint64_t longest_tokens = 128 * 1024; ///< a context window; nobody goes on past it

} // namespace

generator::generator(std::uint64_t seed) : random_{seed}
{
    const block_id shared = fresh_++;
    std::vector<double> weights;
    for (std::size_t i = 0; i < prompt_count; ++i) {
        std::vector<block_id> prompt{shared};
        for (std::uint64_t n = 1 + random_() % 8; n > 0; --n) prompt.push_back(fresh_++);
        prompts_.push_back(std::move(prompt));
        weights.push_back(1.0 / static_cast<double>(i + 1));
    }
    popularity_ = {weights.begin(), weights.end()};
}

std::optional<request> generator::next()
{
    while (ready_.empty()) tick();
    request r = std::move(ready_.front());
    ready_.pop_front();
    return r;
}

void generator::tick()
{
    while (!open_.empty() && open_.top().due_ms <= now_ms_) {
        conversation c = open_.top();
        open_.pop();
        ready_.push_back(say(c));
        perhaps_return(std::move(c));
    }
    for (int n = std::poisson_distribution{new_per_tick}(random_); n > 0; --n) {
        conversation c = begin();
        ready_.push_back(say(c));
        perhaps_return(std::move(c));
    }
    now_ms_ += tick_ms;
}

generator::conversation generator::begin()
{
    conversation c;
    c.full = prompts_[popularity_(random_)];
    c.tokens = c.full.size() * block_tokens;
    return c;
}

request generator::say(conversation& c)
{
    const double median = c.turns++ == 0 ? 5000 : 3000;
    const double more = median * std::exp(std::normal_distribution{0.0, 1.0}(random_));
    c.tokens =
        std::min(c.tokens + std::max<std::uint64_t>(1, static_cast<std::uint64_t>(more)), longest_tokens);
    while (c.full.size() < c.tokens / block_tokens) c.full.push_back(fresh_++);

    request r{now_ms_, c.tokens, 1 + random_() % 700, c.full};
    // The tail will be another block once more has been said, so nobody meets it again.
    if (c.tokens % block_tokens != 0) r.blocks.push_back(fresh_++);
    return r;
}

void generator::perhaps_return(conversation&& c)
{
    const double chance = std::min(0.30 + 0.06 * c.turns, 0.66);
    if (c.tokens >= longest_tokens || !std::bernoulli_distribution{chance}(random_)) return;
    c.due_ms = now_ms_ + std::exponential_distribution{1.0 / 200'000}(random_);
    open_.push(std::move(c));
}

} // namespace kv
