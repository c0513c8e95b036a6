// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tiered_index.hpp"
#include "trace.hpp"

namespace kv {

enum class vram_kind : std::uint8_t { gpu, standin, none };
std::string_view name_of(vram_kind) noexcept; ///< as on the command line

/// The cache under test and the baselines it is to be compared with.
enum class policy : std::uint8_t {
    tiered,      ///< all of it: prefetch, urgent loads, background write-back
    dram_only,   ///< nothing below DRAM
    recompute,   ///< no cache: every block is computed
    no_priority, ///< like tiered, but every copy has the same priority
    synchronous, ///< like tiered, but one copy at a time, and each request waits for its own
};
std::string_view name_of(policy) noexcept; ///< as on the command line

/// What the command line asks for. Everything is checked and within bounds.
struct settings {
    std::string trace;                 ///< empty: a generated one
    std::uint64_t requests = 0;        ///< how many at most
    std::uint64_t bytes_per_token = 0;
    double speedup = 0;                ///< 0: back to back
    vram_kind vram = vram_kind::standin;
    std::uint32_t layers = 0;          ///< of the model whose cache it is: how a GPU's memory is laid out
    std::uint32_t vram_blocks = 0, dram_blocks = 0, file_blocks = 0;
    std::string file;                  ///< empty: a temporary one in the current directory
    std::string object;                ///< URL; empty: none
    eviction evict = eviction::turns;
    kv::policy policy = kv::policy::tiered;
    bool verify = true;
    double prefill_tokens_per_s = 0;
    std::string json, html;            ///< empty: not written

    std::size_t block_bytes() const noexcept { return bytes_per_token * block_tokens; }
};

/// Reads the command line. Throws `samples::bad_usage` with one line that says what is wrong; prints the help
/// and exits when asked to.
settings read_settings(int argc, char** argv);

} // namespace kv
