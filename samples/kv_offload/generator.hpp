// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <string_view>
#include <vector>

#include "trace.hpp"

namespace kv {

/// A made-up chat service, for those without a trace: the same requests for the same seed, without end.
///
/// Its shape follows a real hour of such a service (12,000 tokens a prompt, a third of all blocks seen
/// before); `description` states it.
class generator final : public request_source {
public:
    explicit generator(std::uint64_t seed = 1);
    std::optional<request> next() override;

    static constexpr std::string_view description =
        "bursts on 3 s ticks, Poisson, 6 new conversations a tick; each begins with block 0 and one of 64 "
        "system prompts of 1 to 8 blocks, Zipf; first turns add a log-normal number of tokens (median "
        "5,000), later ones (median 3,000); after turn t the user comes back with probability "
        "min(0.30 + 0.06 t, 0.66), 200 s later on average (exponential)";

private:
    struct conversation {
        double due_ms = 0;
        std::uint32_t turns = 0;
        std::uint64_t tokens = 0;
        std::vector<block_id> full; ///< blocks that are full, and so will be met again
        friend bool operator>(const conversation& a, const conversation& b) { return a.due_ms > b.due_ms; }
    };

    void tick();
    conversation begin();
    /// The conversation's next request; it grows by it.
    request say(conversation&);
    void perhaps_return(conversation&&);

    std::mt19937_64 random_;
    std::vector<std::vector<block_id>> prompts_; ///< the most popular first
    std::discrete_distribution<std::size_t> popularity_;
    std::priority_queue<conversation, std::vector<conversation>, std::greater<>> open_;
    std::deque<request> ready_;
    double now_ms_ = 0;
    block_id fresh_ = 0;
};

} // namespace kv
