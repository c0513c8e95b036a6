// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace kv {

/// Names a block of tokens together with everything before it: an equal id means an equal prefix.
using block_id = std::uint64_t;

/// Tokens of a block; the last block of a request may hold fewer.
inline constexpr std::uint32_t block_tokens = 512;

/// One request of a trace.
struct request {
    double at_ms = 0;                ///< arrival, since the trace began
    std::uint64_t input_tokens = 0;
    std::uint64_t output_tokens = 0;
    std::vector<block_id> blocks;    ///< of the prompt, first to last

    /// Tokens of the `i`th block; none where the list of blocks is longer than the prompt.
    std::uint32_t tokens(std::size_t i) const noexcept
    {
        const std::uint64_t before = i * block_tokens;
        if (input_tokens <= before) return 0;
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(input_tokens - before, block_tokens));
    }
};

/// Requests in the order of their arrival.
class request_source {
public:
    virtual ~request_source() = default;
    /// The next one, or none at the end.
    virtual std::optional<request> next() = 0;
};

/// A trace that is not what it should be; `what()` is one line that names the file and the line.
struct bad_trace : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Reads Mooncake's open format, one JSON object a line, as it goes:
/// `{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}`
/// (milliseconds, tokens, tokens, ids of 512-token blocks).
class trace_reader final : public request_source {
public:
    /// Throws `bad_trace` when it cannot be opened.
    explicit trace_reader(std::string path);
    /// Throws `bad_trace` for a malformed or truncated line.
    std::optional<request> next() override;

private:
    bool read_line();

    std::string path_;
    std::ifstream in_;
    std::string line_;
    std::size_t number_ = 0;
};

/// The first `most` requests of another source.
class first_of final : public request_source {
public:
    first_of(std::unique_ptr<request_source> from, std::uint64_t most)
        : from_{std::move(from)}, left_{most}
    {
    }
    std::optional<request> next() override
    {
        if (left_ == 0) return std::nullopt;
        --left_;
        return from_->next();
    }

private:
    std::unique_ptr<request_source> from_;
    std::uint64_t left_;
};

/// What is in a source, counted by reading all of it.
struct trace_survey {
    std::uint64_t requests = 0;
    std::uint64_t tokens = 0;        ///< of prompts
    std::uint64_t blocks = 0;        ///< references
    std::uint64_t distinct = 0;      ///< blocks; a boundless cache hits all other references
    std::uint64_t arrivals = 0;      ///< distinct times of arrival: fewer than requests means bursts
    std::uint64_t largest_burst = 0; ///< requests that arrive at the same time
    double span_ms = 0;              ///< from the first arrival to the last
};
trace_survey survey(request_source&);

} // namespace kv
