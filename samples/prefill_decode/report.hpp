// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <vector>

#include "front.hpp"
#include "requests.hpp"
#include "settings.hpp"

namespace pd {

/// What to report, in every form.
struct summary {
    pd::settings settings;
    pd::outcome outcome;
    std::vector<rank_report> ranks;

    /// Pages that nobody gave back.
    std::uint64_t leaks() const noexcept { return outcome.prefill_leaks + outcome.decode_leaks; }
    std::uint64_t joined() const noexcept; ///< engines
    std::uint64_t left() const noexcept;   ///< of those, in order, before the end
    double gb_per_s() const noexcept { return rate(outcome.wall_s); }
    double gb_per_s_moving() const noexcept { return rate(outcome.moving_s); } ///< while a transfer was under way
    /// What share of a transfer's time was hidden behind compute.
    double hidden() const noexcept;

private:
    double rate(double seconds) const noexcept { return seconds > 0 ? double(outcome.bytes) / 1e9 / seconds : 0; }
};

/// What is about to be done.
void print_head(std::ostream&, const settings&);
void print_table(std::ostream&, const summary&);
void write_json(std::ostream&, const summary&);

} // namespace pd
