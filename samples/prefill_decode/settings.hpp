// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <wye/units.hpp>

#include "model.hpp"

namespace pd {

enum class role : std::uint8_t { prefill, decode };
constexpr role other_than(role r) noexcept { return r == role::prefill ? role::decode : role::prefill; }
enum class direction : std::uint8_t {
    write, ///< prefill writes into decode's pages, and tells it
    read,  ///< decode is told where prefill's pages are, reads them, and tells it that they are free
};
enum class memory_kind : std::uint8_t { dram, standin, gpu };

/// Engines of one role: each has ranks that share its heads, and one page table.
struct engines {
    std::uint32_t workers = 1, ranks = 1;
};

/// What the command line asks for. Everything is checked and within bounds.
struct settings {
    pd::model model;                  ///< with `--layers` and `--scale` applied
    pd::model full;                   ///< as it is
    std::uint32_t scale = 0;
    pd::direction direction = direction::write;
    engines prefill, decode;
    std::uint32_t page_tokens = 0, pages = 0; ///< in each engine's pool
    std::uint32_t requests = 0, concurrency = 0, max_tokens = 0;
    std::uint64_t seed = 0;
    bool layerwise = false;
    wye::duration layer_time{};       ///< simulated compute of one layer
    std::uint32_t kill_decode = 0;    ///< after so many requests; 0: never
    wye::duration lease{};            ///< how long pages are held for who has not said that it is done
    bool verify = true;
    memory_kind memory = memory_kind::dram;
    std::string directory;            ///< empty: side channels
    std::vector<std::string> rails;
    std::string secret;               ///< drawn for this run
    std::string json;                 ///< empty: not written
    std::optional<role> join{};       ///< an engine of this role joins the job that is in `directory`, which says the rest
    std::vector<std::string> arguments{}; ///< the command line, for who joins

    pd::sharding sharding() const { return {model, page_tokens, prefill.ranks, decode.ranks}; }
    layout layout_of(role r) const { return r == role::prefill ? sharding().prefill(pages) : sharding().decode(pages); }
    /// Of a page in all layers, with all heads.
    std::size_t page_bytes() const noexcept
    {
        return std::size_t{model.layers} * model.halves * model.heads * page_tokens * model.head_bytes;
    }
    const engines& of(role r) const noexcept { return r == role::prefill ? prefill : decode; }
    std::uint32_t pages_for(std::uint32_t tokens) const noexcept { return (tokens + page_tokens - 1) / page_tokens; }
    /// The role whose ranks copy; those of the other wait to be told.
    role mover() const noexcept { return direction == direction::write ? role::prefill : role::decode; }
};

/// One process: a rank of an engine.
struct place {
    pd::role role{};
    std::uint32_t engine = 0, rank = 0;

    std::string name() const; ///< of its agent: "prefill-0-1"
    std::string engine_name() const; ///< "prefill-0"
    bool is_of(const place& o) const noexcept { return role == o.role && engine == o.engine; } ///< the same engine
};
/// Nothing if that is no place's name.
std::optional<place> place_named(std::string_view);
std::string_view name_of(role) noexcept;

/// Where pages are, for reports.
std::string_view name_of(memory_kind) noexcept;

/// Reads the command line. Throws `samples::bad_usage` with one line that says what is wrong; prints the help and exits
/// when asked to.
settings read_settings(int argc, char** argv);
/// Those of a job, for `guest`, who joins it: by the command line that began the job, and its secret.
settings read_settings_of_job(const settings& guest, std::vector<std::string> arguments, std::string secret);

} // namespace pd
