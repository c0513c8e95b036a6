// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <cerrno>
#include <string_view>
#include <system_error>
#include <unordered_set>

#include <boost/json.hpp>

namespace kv {

namespace {

namespace json = boost::json;

// Nothing real is larger, and sums of them stay far from overflow.
constexpr std::uint64_t most_tokens = 100'000'000;

// A million blocks, more than any context window; what is longer is not a trace.
constexpr std::size_t longest_line = 16 << 20;

/// The whole number in `value`, which `what` calls; throws what is wrong with it.
std::uint64_t whole(const json::value& value, std::string_view what, std::uint64_t most)
{
    json::error_code error;
    const auto number = value.to_number<std::uint64_t>(error);
    if (error) throw std::runtime_error{std::string{what} + " is not a whole number of at least 0"};
    if (number > most) throw std::runtime_error{std::string{what} + " is absurd: " + std::to_string(number)};
    return number;
}

const json::value& field(const json::object& from, std::string_view name)
{
    const json::value* found = from.if_contains(name);
    if (!found) throw std::runtime_error{"there is no \"" + std::string{name} + "\""};
    return *found;
}

request parse(std::string_view line)
{
    json::error_code error;
    const json::value document = json::parse(line, error);
    if (error == json::error::incomplete) throw std::runtime_error{"the line is truncated"};
    if (error) throw std::runtime_error{"this is not JSON: " + error.message()};
    const json::object* fields = document.if_object();
    if (!fields) throw std::runtime_error{"this is not a JSON object"};

    request r;
    const json::value& time = field(*fields, "timestamp");
    if (!time.is_number() || !((r.at_ms = time.to_number<double>()) >= 0))
        throw std::runtime_error{"timestamp is not a number of at least 0"};
    r.input_tokens = whole(field(*fields, "input_length"), "input_length", most_tokens);
    r.output_tokens = whole(field(*fields, "output_length"), "output_length", most_tokens);
    const json::array* ids = field(*fields, "hash_ids").if_array();
    if (!ids) throw std::runtime_error{"hash_ids is not a list"};
    r.blocks.reserve(ids->size());
    for (const json::value& id : *ids) r.blocks.push_back(whole(id, "a hash id", UINT64_MAX));
    return r;
}

} // namespace

trace_reader::trace_reader(std::string path) : path_{std::move(path)}, in_{path_}
{
    // A directory opens well and then gives nothing.
    if (in_) in_.peek();
    if (in_.bad() || !in_.is_open())
        throw bad_trace{"trace " + path_ + ": " + std::generic_category().message(errno)};
    in_.clear();
}

std::optional<request> trace_reader::next()
{
    while (read_line()) {
        if (line_.find_first_not_of(" \t\r") == line_.npos) continue;
        try {
            return parse(line_);
        } catch (const std::exception& e) {
            throw bad_trace{"trace " + path_ + ", line " + std::to_string(number_) + ": " + e.what()};
        }
    }
    return std::nullopt;
}

bool trace_reader::read_line()
{
    using traits = std::ifstream::traits_type;
    line_.clear();
    ++number_;
    for (auto c = in_.rdbuf()->sbumpc(); !traits::eq_int_type(c, traits::eof()); c = in_.rdbuf()->sbumpc()) {
        if (c == '\n') return true;
        if (line_.size() == longest_line)
            throw bad_trace{"trace " + path_ + ", line " + std::to_string(number_) + ": it does not end"};
        line_.push_back(traits::to_char_type(c));
    }
    return !line_.empty();
}

trace_survey survey(request_source& source)
{
    trace_survey s;
    std::unordered_set<block_id> seen;
    double first = 0, last = -1;
    std::uint64_t burst = 0;
    while (const auto r = source.next()) {
        if (s.requests++ == 0) first = r->at_ms;
        s.tokens += r->input_tokens;
        s.blocks += r->blocks.size();
        seen.insert(r->blocks.begin(), r->blocks.end());
        if (r->at_ms != last) ++s.arrivals, burst = 0;
        s.largest_burst = std::max(s.largest_burst, ++burst);
        last = r->at_ms;
    }
    s.distinct = seen.size();
    s.span_ms = s.requests ? last - first : 0;
    return s;
}

} // namespace kv
