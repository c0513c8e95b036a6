// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE kv_trace
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <unordered_set>
#include <vector>

#include <unistd.h>

#include "content.hpp"
#include "generator.hpp"
#include "trace.hpp"

namespace {

/// A file with these contents, gone with the test.
class written {
public:
    explicit written(const std::string& text)
    {
        std::ofstream{path_} << text;
    }
    ~written() { std::filesystem::remove(path_); }
    const std::string& path() const { return path_; }

private:
    std::string path_ = (std::filesystem::temp_directory_path() / ("kv_trace." + std::to_string(::getpid()))).string();
};

const std::string good = R"({"timestamp": 27482, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2353]})";

/// What the reader says of a trace that it refuses; empty if it takes it.
std::string refusal(const std::string& text)
{
    const written file{text};
    kv::trace_reader reader{file.path()};
    try {
        while (reader.next()) {}
    } catch (const kv::bad_trace& e) {
        return e.what();
    }
    return {};
}

bool says(const std::string& line, const std::string& part) { return line.find(part) != line.npos; }

} // namespace

// A line of the open format is one request; blank lines and a missing last newline are no matter.
BOOST_AUTO_TEST_CASE(reads_requests)
{
    const written file{good + "\n\n" + good};
    kv::trace_reader reader{file.path()};
    const auto r = reader.next();
    BOOST_REQUIRE(r);
    BOOST_TEST(r->at_ms == 27482);
    BOOST_TEST(r->input_tokens == 1100u);
    BOOST_TEST(r->output_tokens == 52u);
    BOOST_TEST(r->blocks == (std::vector<kv::block_id>{46, 47, 2353}), boost::test_tools::per_element());
    BOOST_TEST(reader.next().has_value());
    BOOST_TEST(!reader.next().has_value());
}

// Only the last block of a prompt may be partial.
BOOST_AUTO_TEST_CASE(counts_the_tokens_of_blocks)
{
    const kv::request r{0, 1100, 1, {1, 2, 3, 4}};
    BOOST_TEST(r.tokens(0) == 512u);
    BOOST_TEST(r.tokens(1) == 512u);
    BOOST_TEST(r.tokens(2) == 76u);
    BOOST_TEST(r.tokens(3) == 0u);
}

// What is wrong with a line is said, and which line it is.
BOOST_AUTO_TEST_CASE(names_the_bad_line)
{
    const auto second = [](const std::string& line) { return refusal(good + "\n" + line + "\n" + good + "\n"); };
    BOOST_TEST(says(second(good.substr(0, 60)), "line 2: the line is truncated"));
    BOOST_TEST(says(second("hello"), "line 2: this is not JSON"));
    BOOST_TEST(says(second("[1, 2]"), "line 2: this is not a JSON object"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": 1, "output_length": 1})"), "line 2: there is no \"hash_ids\""));
    BOOST_TEST(says(second(R"({"timestamp": -1, "input_length": 1, "output_length": 1, "hash_ids": []})"), "timestamp"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": -1, "output_length": 1, "hash_ids": []})"), "input_length"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": 1e15, "output_length": 1, "hash_ids": []})"), "absurd"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": 7})"), "not a list"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1.5]})"), "hash id"));
    BOOST_TEST(says(second(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [-1]})"), "hash id"));
    BOOST_TEST(refusal(good + "\n").empty());
}

// A line cut off at the end of the file, in whatever place, is never taken for a request.
BOOST_AUTO_TEST_CASE(refuses_every_truncation)
{
    for (std::size_t length = 1; length < good.size(); ++length)
        BOOST_TEST(says(refusal(good + "\n" + good.substr(0, length)), "line 2:"));
}

BOOST_AUTO_TEST_CASE(refuses_what_cannot_be_read)
{
    BOOST_CHECK_THROW(kv::trace_reader{"/nonexistent/trace"}, kv::bad_trace);
    BOOST_CHECK_THROW(kv::trace_reader{"/"}, kv::bad_trace);
}

// The generator is endless and the same for the same seed, and it does what its description says.
BOOST_AUTO_TEST_CASE(generates_what_it_states)
{
    constexpr std::size_t count = 3000;
    kv::generator one{7}, same{7}, other{8};
    std::unordered_set<kv::block_id> seen;
    std::size_t blocks = 0, repeated = 0, differing = 0;
    double last = 0, tokens = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const kv::request a = *one.next(), b = *same.next(), c = *other.next();
        BOOST_REQUIRE(a.blocks == b.blocks);
        differing += a.blocks != c.blocks;
        BOOST_REQUIRE(a.blocks.front() == 0u);
        BOOST_REQUIRE(a.blocks.size() == (a.input_tokens + 511) / 512);
        BOOST_REQUIRE(a.at_ms >= last);
        last = a.at_ms;
        tokens += double(a.input_tokens);
        for (const kv::block_id id : a.blocks) ++blocks, repeated += !seen.insert(id).second;
    }
    BOOST_TEST(differing > count / 2);
    BOOST_TEST(tokens / count > 8'000);
    BOOST_TEST(tokens / count < 18'000);
    BOOST_TEST(double(repeated) / double(blocks) > 0.30);
    BOOST_TEST(double(repeated) / double(blocks) < 0.55);
}

BOOST_AUTO_TEST_CASE(surveys_a_source)
{
    const written file{good + "\n" + good + "\n"};
    kv::trace_reader reader{file.path()};
    const kv::trace_survey s = kv::survey(reader);
    BOOST_TEST(s.requests == 2u);
    BOOST_TEST(s.tokens == 2200u);
    BOOST_TEST(s.blocks == 6u);
    BOOST_TEST(s.distinct == 3u);
    BOOST_TEST(s.arrivals == 1u);
    BOOST_TEST(s.largest_burst == 2u);
}

// A block holds its own bytes only, and any flipped bit shows.
BOOST_AUTO_TEST_CASE(tells_a_blocks_bytes)
{
    std::vector<std::byte> block(4096);
    kv::prefill(5, block);
    BOOST_TEST(kv::holds(5, block));
    BOOST_TEST(!kv::holds(6, block));
    for (std::size_t at = 0; at < block.size(); at += 61) {
        block[at] ^= std::byte{1};
        BOOST_TEST(!kv::holds(5, block));
        block[at] ^= std::byte{1};
    }
    BOOST_TEST(kv::holds(5, block));
}
