// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <utility>

#include <unistd.h>

#include <wye/cuda.hpp>

#include <checked.hpp>

namespace kv {

namespace {

using samples::bad_usage;
using samples::number;
using samples::one_of;

constexpr std::string_view usage =
    "kv_offload: replays LLM requests against a tiered KV cache, VRAM -> DRAM -> FILE -> OBJ, moving real "
    "bytes.\n"
    "Without --trace it makes requests up; --object dir:/some/folder adds the last tier.";

constexpr std::array<std::pair<std::string_view, policy>, 5> policies{{{"tiered", policy::tiered},
                                                                       {"dram-only", policy::dram_only},
                                                                       {"recompute", policy::recompute},
                                                                       {"no-priority", policy::no_priority},
                                                                       {"synchronous", policy::synchronous}}};
constexpr std::array<std::pair<std::string_view, eviction>, 2> evictions{
    {{"lru", eviction::lru}, {"turns", eviction::turns}}};
constexpr std::array<std::pair<std::string_view, vram_kind>, 3> vram_kinds{
    {{"gpu", vram_kind::gpu}, {"standin", vram_kind::standin}, {"none", vram_kind::none}}};
constexpr std::array<std::pair<std::string_view, bool>, 2> switches{{{"on", true}, {"off", false}}};

/// Options as they were typed, before anybody has looked at them.
struct words {
    std::string trace, generate = "3000", requests = "1000000000", bytes_per_token = "128", speedup = "max";
    std::string vram = "standin", layers = "32", vram_blocks = "500", dram_blocks = "2000", file_blocks = "8000";
    std::string file, object = "none", evict = "turns", policy = "tiered", verify = "on", prefill = "5000";
    std::string json, html;
};

words read_words(int argc, char** argv)
{
    words w;
    samples::options options{std::string{usage}};
    options.add("trace", w.trace, "requests in Mooncake's format, one JSON object a line")
        .add("generate", w.generate, "without a trace: make up so many requests (3000)")
        .add("requests", w.requests, "stop after so many")
        .add("bytes-per-token", w.bytes_per_token,
             "of KV cache (128; an 8B model has 131072); a block is 512 tokens")
        .add("speedup", w.speedup, "replay arrivals so many times faster, or max: back to back (max)")
        .add("vram", w.vram, "gpu, standin (DRAM that plays it) or none (standin)")
        .add("layers", w.layers, "gpu: a block is a page of K and one of V in each layer, as vLLM lays them out (32)")
        .add("vram-blocks", w.vram_blocks, "capacity in blocks (500)")
        .add("dram-blocks", w.dram_blocks, "capacity in blocks (2000)")
        .add("file-blocks", w.file_blocks, "capacity in blocks; 0: no FILE tier (8000)")
        .add("file", w.file, "file or block device of the FILE tier (a temporary file here)")
        .add("object", w.object, "URL of the OBJ tier, such as dir:/var/cache/kv, or none (none)")
        .add("evict", w.evict, "lru or turns (turns)")
        .add("policy", w.policy, "tiered, dram-only, recompute, no-priority or synchronous (tiered)")
        .add("verify", w.verify, "checksums travel with the bytes: on or off (on)")
        .add("prefill-tokens-per-s", w.prefill, "speed of the modelled prefill (5000)")
        .add("json", w.json, "write the report here, as one JSON object")
        .add("html", w.html, "write the report here, as one page with charts");
    const auto stray = options.parse(argc, argv);
    if (!stray.empty()) throw bad_usage{"what is '" + stray.front() + "'? options begin with --; try --help"};
    return w;
}

vram_kind read_vram(const std::string& word)
{
    const vram_kind kind = one_of("vram", word, vram_kinds);
    if (kind == vram_kind::gpu)
        if (const std::string missing = wye::read_cuda().missing; !missing.empty())
            throw bad_usage{"--vram gpu: " + missing + "; --vram standin plays a GPU's memory in DRAM"};
    return kind;
}

/// Each page is whole words.
void check_layers(const settings& s)
{
    if (s.vram != vram_kind::gpu || s.block_bytes() % (std::size_t{16} * s.layers) == 0) return;
    throw bad_usage{"--layers " + std::to_string(s.layers) + " does not divide blocks of " + std::to_string(s.block_bytes()) +
                    " bytes into pages of whole words"};
}

/// Memory that cannot be there is said here, rather than by the kernel in the middle of a replay.
void check_memory(const settings& s)
{
    const double wanted =
        (double(s.vram == vram_kind::standin ? s.vram_blocks : 0) + s.dram_blocks) * double(s.block_bytes());
    const double present = double(::sysconf(_SC_PHYS_PAGES)) * double(::sysconf(_SC_PAGESIZE));
    if (wanted <= present) return;
    std::ostringstream line;
    line << "VRAM and DRAM tiers of " << wanted / 1e9 << " GB do not fit this machine's memory of "
         << present / 1e9 << " GB; make them or --bytes-per-token smaller";
    throw bad_usage{line.str()};
}

} // namespace

std::string_view name_of(vram_kind k) noexcept
{
    for (const auto& [name, value] : vram_kinds)
        if (value == k) return name;
    return "?";
}

std::string_view name_of(policy p) noexcept
{
    for (const auto& [name, value] : policies)
        if (value == p) return name;
    return "?";
}

settings read_settings(int argc, char** argv)
{
    const words w = read_words(argc, argv);
    constexpr std::uint64_t most_requests = 1'000'000'000;
    constexpr std::uint32_t most_blocks = 1'000'000'000;
    settings s;
    s.trace = w.trace;
    s.requests = number<std::uint64_t>("requests", w.requests, 1, most_requests);
    if (s.trace.empty())
        s.requests = std::min(s.requests, number<std::uint64_t>("generate", w.generate, 1, most_requests));
    s.bytes_per_token = number<std::uint64_t>("bytes-per-token", w.bytes_per_token, 1, 16 << 20);
    if (w.speedup != "max") s.speedup = number("speedup", w.speedup, 1e-3, 1e9);
    s.vram = read_vram(w.vram);
    s.layers = number<std::uint32_t>("layers", w.layers, 1, 1024);
    s.vram_blocks = number<std::uint32_t>("vram-blocks", w.vram_blocks, 1, most_blocks);
    s.dram_blocks = number<std::uint32_t>("dram-blocks", w.dram_blocks, 1, most_blocks);
    s.file_blocks = number<std::uint32_t>("file-blocks", w.file_blocks, 0, most_blocks);
    s.file = w.file;
    if (w.object != "none") s.object = w.object;
    s.evict = one_of("evict", w.evict, evictions);
    s.policy = one_of("policy", w.policy, policies);
    s.verify = one_of("verify", w.verify, switches);
    s.prefill_tokens_per_s = number("prefill-tokens-per-s", w.prefill, 1e-3, 1e12);
    s.json = w.json;
    s.html = w.html;
    samples::check_output("json", s.json);
    samples::check_output("html", s.html);
    check_memory(s);
    check_layers(s);
    return s;
}

} // namespace kv
