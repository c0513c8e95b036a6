// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <random>
#include <sstream>
#include <utility>

#include <unistd.h>

#include <checked.hpp>

namespace pd {

namespace {

using samples::bad_usage;
using samples::number;
using samples::one_of;

constexpr std::string_view usage =
    "prefill_decode: moves paged KV caches from prefill workers to decode workers, each rank of them a process,\n"
    "over libfabric on loopback, and checks every page that arrives.";

constexpr std::array<std::pair<std::string_view, direction>, 2> directions{
    {{"write", direction::write}, {"read", direction::read}}};
constexpr std::array<std::pair<std::string_view, role>, 2> roles{{{"prefill", role::prefill}, {"decode", role::decode}}};
constexpr std::array<std::pair<std::string_view, bool>, 2> switches{{{"on", true}, {"off", false}}};
constexpr std::uint32_t most_ranks = 16, most_workers = 16;
constexpr std::uint32_t most_pages = 16'384; ///< of a request: the list goes in one message

/// Options as they were typed, before anybody has looked at them.
struct words {
    std::string model = "llama-3-8b", layers, scale = "16", direction = "write";
    std::string prefill_workers = "1", prefill_ranks = "1", decode_workers, decode_ranks = "1";
    std::string page_tokens = "16", pages = "1024", requests = "200", concurrency = "8", max_tokens = "1024";
    std::string layer_time, kill_decode, lease = "10", verify = "on", vram = "none";
    std::string directory, join, rails, seed = "1", json;
    bool layerwise = false;

    bool operator==(const words&) const = default;
};

words read_words(int argc, char** argv)
{
    words w;
    samples::options options{std::string{usage}};
    options.add("model", w.model, "llama-3-8b, llama-3-70b or deepseek-mla (llama-3-8b)")
        .add("scale", w.scale, "divide the bytes of each head by this (16)")
        .add("layers", w.layers, "use only so many of the model's")
        .add("direction", w.direction, "write: by prefill; read: by decode, as vLLM does (write)")
        .add("prefill-workers", w.prefill_workers, "engines, each with its pages (1)")
        .add("prefill-ranks", w.prefill_ranks, "processes that share an engine's heads (1)")
        .add("decode-workers", w.decode_workers, "(1; 2 with --kill-decode)")
        .add("decode-ranks", w.decode_ranks, "(1)")
        .add("page-tokens", w.page_tokens, "tokens in a page (16)")
        .add("pages", w.pages, "in the pool of each engine (1024)")
        .add("requests", w.requests, "(200)")
        .add("concurrency", w.concurrency, "requests under way at once (8)")
        .add("max-tokens", w.max_tokens, "of a request; each factor of two below is as frequent (1024)")
        .add("seed", w.seed, "of lengths and page lists (1)")
        .add("layerwise", w.layerwise, "overlap each second request with compute, layer by layer, and compare")
        .add("layer-us", w.layer_time, "simulated compute of a layer, in us (0; 200 with --layerwise)")
        .add("kill-decode", w.kill_decode, "kill a decode worker after so many requests")
        .add("lease", w.lease, "seconds that pages are held for who says nothing (10)")
        .add("verify", w.verify, "every page is what prefill computed: on or off (on)")
        .add("vram", w.vram, "gpu, standin (DRAM that plays it) or none: DRAM (none)")
        .add("directory", w.directory, "a folder, or etcd://host:port/prefix, to find each other in (by side channels)")
        .add("join", w.join, "prefill or decode: add an engine to the job that serves in --directory; Ctrl-C: leave it")
        .add("rails", w.rails, "local addresses or interfaces, with commas (127.0.0.1)")
        .add("json", w.json, "write the report here, as one JSON object");
    const auto stray = options.parse(argc, argv);
    if (!stray.empty()) throw bad_usage{"what is '" + stray.front() + "'? options begin with --; try --help"};
    return w;
}

std::uint32_t count(std::string_view option, const std::string& text, std::uint32_t most, std::uint32_t least = 1)
{
    return number<std::uint32_t>(option, text, least, most);
}

void read_model(settings& s, const words& w)
{
    std::array<std::pair<std::string_view, const model*>, 3> known;
    for (std::size_t i = 0; i < known.size(); ++i) known[i] = {models()[i].name, &models()[i]};
    s.full = s.model = *one_of("model", w.model, known);
    s.scale = count("scale", w.scale, 128);
    s.model.head_bytes = std::max(8u, s.full.head_bytes / s.scale / 8 * 8); // whole words
    if (!w.layers.empty()) s.model.layers = count("layers", w.layers, s.full.layers);
}

void read_engines(settings& s, const words& w)
{
    s.prefill.workers = count("prefill-workers", w.prefill_workers, most_workers);
    s.prefill.ranks = count("prefill-ranks", w.prefill_ranks, most_ranks);
    const std::string decode = !w.decode_workers.empty() ? w.decode_workers : w.kill_decode.empty() ? "1" : "2";
    s.decode.workers = count("decode-workers", decode, most_workers);
    s.decode.ranks = count("decode-ranks", w.decode_ranks, most_ranks);
    const std::string_view wanted = sharding::objection(s.model, s.prefill.ranks, s.decode.ranks);
    if (wanted.empty()) return;
    std::ostringstream line;
    line << "--prefill-ranks " << s.prefill.ranks << " and --decode-ranks " << s.decode.ranks << ": " << s.model.name << " with "
         << s.model.heads << " KV heads needs " << wanted;
    throw bad_usage{line.str()};
}

void read_load(settings& s, const words& w)
{
    s.page_tokens = count("page-tokens", w.page_tokens, 1024);
    s.pages = count("pages", w.pages, 1 << 18);
    s.requests = count("requests", w.requests, 10'000'000);
    s.concurrency = count("concurrency", w.concurrency, 1024);
    s.max_tokens = count("max-tokens", w.max_tokens, 1 << 24);
    s.seed = number<std::uint64_t>("seed", w.seed, 0, ~std::uint64_t{0});
    if (s.pages_for(s.max_tokens) > s.pages)
        throw bad_usage{"--max-tokens " + w.max_tokens + " are " + std::to_string(s.pages_for(s.max_tokens)) +
                        " pages, more than the pool's --pages " + w.pages};
    if (s.pages_for(s.max_tokens) > most_pages)
        throw bad_usage{"--max-tokens " + w.max_tokens + " are more than " + std::to_string(most_pages) + " pages"};
    s.layerwise = w.layerwise;
    const std::string layer = !w.layer_time.empty() ? w.layer_time : w.layerwise ? "200" : "0";
    s.layer_time = std::chrono::microseconds{count("layer-us", layer, 1'000'000, w.layerwise ? 1 : 0)};
    const double lease = number("lease", w.lease, 0.1, 3600.0);
    s.lease = std::chrono::duration_cast<wye::duration>(std::chrono::duration<double>{lease});
    if (w.kill_decode.empty()) return;
    s.kill_decode = count("kill-decode", w.kill_decode, 10'000'000);
    if (s.decode.workers < 2) throw bad_usage{"--kill-decode needs --decode-workers 2, or more: the others go on"};
    if (s.kill_decode >= s.requests)
        throw bad_usage{"--kill-decode " + w.kill_decode + " is not in the middle of --requests " + w.requests};
}

memory_kind read_memory(const std::string& word)
{
    constexpr std::array<std::pair<std::string_view, memory_kind>, 3> known{
        {{"gpu", memory_kind::gpu}, {"standin", memory_kind::standin}, {"none", memory_kind::dram}}};
    return one_of("vram", word, known);
}

std::vector<std::string> read_rails(const std::string& text)
{
    std::vector<std::string> rails;
    std::istringstream list{text};
    for (std::string rail; std::getline(list, rail, ',');) rails.push_back(rail);
    return rails;
}

/// Memory that cannot be there is said here, rather than by the kernel in the middle of a run.
void check_memory(const settings& s)
{
    double wanted = 0;
    for (const role r : {role::prefill, role::decode})
        wanted += double(s.layout_of(r).bytes_of_page()) * s.pages * s.of(r).ranks * s.of(r).workers;
    const double present = double(::sysconf(_SC_PHYS_PAGES)) * double(::sysconf(_SC_PAGESIZE));
    if (wanted <= present) return;
    std::ostringstream line;
    line << "pools of " << wanted / 1e9 << " GB in all do not fit this machine's memory of " << present / 1e9
         << " GB; make --pages smaller or --scale larger";
    throw bad_usage{line.str()};
}

/// For this run only: its processes inherit it.
std::string draw_secret()
{
    std::random_device random;
    std::ostringstream secret;
    for (int i = 0; i < 4; ++i) secret << std::hex << random();
    return secret.str();
}

/// Of a job.
settings settings_by(const words& w)
{
    settings s;
    read_model(s, w);
    s.direction = one_of("direction", w.direction, directions);
    read_engines(s, w);
    read_load(s, w);
    s.verify = one_of("verify", w.verify, switches);
    s.memory = read_memory(w.vram);
    s.directory = w.directory;
    s.rails = read_rails(w.rails);
    check_memory(s);
    s.secret = draw_secret();
    return s;
}

/// Of who joins one.
settings guest_by(const words& w)
{
    settings s;
    s.join = one_of("join", w.join, roles);
    s.directory = w.directory;
    if (s.directory.empty()) throw bad_usage{"--join needs --directory: where the job is"};
    words all;
    all.join = w.join;
    all.directory = w.directory;
    if (w != all) throw bad_usage{"--join goes with --directory and nothing else: the job has the other options"};
    return s;
}

} // namespace

std::string_view name_of(memory_kind k) noexcept
{
    return k == memory_kind::dram ? "DRAM" : k == memory_kind::gpu ? "a GPU" : "VRAM stand-in";
}

std::string_view name_of(role r) noexcept { return r == role::prefill ? "prefill" : "decode"; }

std::string place::engine_name() const { return std::string{name_of(role)} + "-" + std::to_string(engine); }

std::string place::name() const { return engine_name() + "-" + std::to_string(rank); }

std::optional<place> place_named(std::string_view name)
{
    place p;
    for (const auto& [word, role] : roles) {
        if (!name.starts_with(word) || name.size() == word.size()) continue;
        p.role = role;
        const char *const end = name.data() + name.size(), *const engine = name.data() + word.size() + 1;
        const char* const rank = std::from_chars(engine, end, p.engine).ptr;
        if (rank != end) std::from_chars(rank + 1, end, p.rank);
    }
    return p.name() == name ? std::optional{p} : std::nullopt;
}

settings read_settings(int argc, char** argv)
{
    const words w = read_words(argc, argv);
    settings s = w.join.empty() ? settings_by(w) : guest_by(w);
    s.json = w.json;
    samples::check_output("json", s.json);
    s.arguments.assign(argv + 1, argv + argc);
    return s;
}

settings read_settings_of_job(const settings& guest, std::vector<std::string> arguments, std::string secret)
{
    std::string program = "prefill_decode";
    std::vector<char*> argv{program.data()};
    for (std::string& a : arguments) argv.push_back(a.data());
    settings s = settings_by(read_words(static_cast<int>(argv.size()), argv.data()));
    s.directory = guest.directory;
    s.secret = std::move(secret);
    return s;
}

} // namespace pd
