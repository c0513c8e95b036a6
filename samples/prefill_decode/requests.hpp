// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "line.hpp"
#include "settings.hpp"

namespace pd {

/// The pages of one engine, the same for all of its ranks. Taken at random, as they lie after some hours of serving.
class page_table {
public:
    page_table(std::uint32_t pages, std::uint64_t seed);
    std::size_t free() const noexcept { return free_.size(); }
    std::size_t taken() const noexcept { return total_ - free_.size(); }
    /// So many must be free.
    std::vector<std::uint32_t> take(std::uint32_t count);
    void give_back(const std::vector<std::uint32_t>&);

private:
    std::vector<std::uint32_t> free_;
    std::size_t total_;
    std::mt19937_64 random_;
};

/// What came of a run.
struct outcome {
    struct exposure { ///< of transfers, for the requests that were moved in one way
        std::uint64_t ns = 0, parts = 0;
        double ms() const noexcept { return parts ? double(ns) / double(parts) / 1e6 : 0; }
    };
    struct killing {
        std::string who;
        std::uint32_t after = 0;                  ///< requests
        std::uint64_t requests = 0, pages = 0;    ///< that engines of the other role held for it
        std::uint64_t lost = 0, revoked = 0, told = 0; ///< holds of their ranks for these, by how they ended
        double longest_hold_s = 0;                ///< from then on
        role of{};                                ///< of who was lost
        std::uint64_t at_ns = 0;
    };
    struct engine {
        std::string name;
        std::uint64_t requests = 0;               ///< complete
        bool guest = false;                       ///< it was not there from the beginning
        enum end { stayed, left, lost } is = stayed;
    };

    std::uint64_t complete = 0, failed = 0, retried = 0;
    std::uint64_t tokens = 0, pages = 0, bytes = 0; ///< of those that are complete
    std::uint64_t verified = 0, wrong = 0;          ///< ranks' shares of pages
    std::vector<float> transfer_ms; ///< from the first copy's begin until the last rank is told
    std::vector<float> request_ms;  ///< from a request's beginning until all of its pages are there and verified
    exposure plain, layerwise;
    double wall_s = 0, moving_s = 0; ///< in all; with a transfer under way
    std::uint64_t prefill_leaks = 0, decode_leaks = 0; ///< pages that nobody gave back
    std::vector<killing> killed;    ///< engines that were lost
    std::vector<engine> engines;
    std::string failure;            ///< the first
    bool interrupted = false;
};

/// Router and schedulers in one: which engines serve a request, whose pages it has, and when they are given back. Knows of
/// processes only by what they say.
class requests {
public:
    /// Says something to all ranks of an engine.
    using say = std::function<void(role, std::uint32_t engine, const message&)>;
    requests(const settings&, say);

    /// Begins what there is room for.
    void begin_some();
    /// A rank says `computed`, `arrived` or `released`.
    void heard(const message&);
    /// Begins no more.
    void stop() noexcept { stopped_ = true; }
    /// Nothing is under way, and nothing is to be begun.
    bool over() const noexcept;
    /// Whether it is time for `kill_decode`: of which engine.
    std::optional<std::uint32_t> victim() const noexcept;
    /// This engine is no more.
    void lose(place, std::string who);

    /// Another engine that may come: its number. It gets nothing before `admit`, nothing new after `retire`.
    std::uint32_t expect(role);
    void admit(place);
    void retire(place at) { of(at).is = standing::leaving; }
    bool serves(place at) const noexcept { return of(at).is == standing::serving; }
    /// Nothing is under way that has to do with it.
    bool idle(place) const noexcept;
    /// The engine with which one of that role serves the request.
    std::optional<place> other_side(std::uint32_t request, role) const noexcept;
    std::uint64_t served(place at) const noexcept { return of(at).served; }
    std::uint32_t engines(role r) const noexcept { return static_cast<std::uint32_t>(all(r).size()); }
    bool stopped() const noexcept { return stopped_; }
    outcome result() const;

private:
    enum class standing : std::uint8_t { expected, serving, leaving, lost };
    struct engine {
        page_table pages;
        standing is{};
        std::uint32_t under_way = 0; ///< requests
        bool came = true;
        std::uint64_t served = 0;
    };
    struct request {
        std::uint32_t tokens = 0, prefill = 0, decode = 0; ///< engines
        std::vector<std::uint32_t> prefill_pages, decode_pages;
        std::uint32_t to_compute = 0, to_release = 0, to_arrive = 0; ///< ranks
        bool layerwise = false;
        std::string failure;
        std::optional<std::size_t> lost; ///< with whom: index of `outcome::killed`
        std::uint64_t begun_ns = 0, arrived_ns = 0, first_ns = 0, last_ns = 0, bytes = 0;
    };

    std::vector<engine>& all(role r) noexcept { return r == role::prefill ? prefill_ : decode_; }
    const std::vector<engine>& all(role r) const noexcept { return r == role::prefill ? prefill_ : decode_; }
    engine& of(place at) noexcept { return all(at.role)[at.engine]; }
    const engine& of(place at) const noexcept { return all(at.role)[at.engine]; }
    std::uint32_t draw_tokens();
    /// The least busy of those that serve and have so many pages.
    static std::optional<std::uint32_t> pick(const std::vector<engine>&, std::uint32_t pages) noexcept;
    void begin(std::uint32_t tokens, std::uint32_t prefill, std::uint32_t decode);
    void tell(role, std::uint32_t id, const request&);
    void computed(std::uint32_t id, request&);
    void arrived(request&, const message&);
    void released(request&, const message&);
    void note_moved(request&, const message&);
    void note_ending(request&, const message&);
    void lose(request&, role, std::size_t index);
    void give_back(role, request&);
    void finish(const request&);

    const settings& settings_;
    say say_;
    std::mt19937_64 random_;
    std::vector<engine> prefill_, decode_;
    std::map<std::uint32_t, request> under_way_;
    std::deque<std::uint32_t> again_; ///< tokens of requests that were lost
    std::uint32_t drawn_ = 0, last_id_ = 0, lost_under_way_ = 0;
    std::optional<std::uint32_t> next_tokens_;
    bool stopped_ = false;
    std::uint64_t begun_ns_ = 0, last_ns_ = 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> moving_;
    outcome outcome_;
};

} // namespace pd
