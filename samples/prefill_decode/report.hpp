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

    std::uint64_t bytes_of_page() const { return settings.layout_of(role::prefill).bytes_of_page() * shares(); }
    std::uint64_t leaks() const; ///< pages that nobody gave back, and requests that a rank still holds
    double gb_per_s() const noexcept { return rate(outcome.wall_s); }
    double gb_per_s_moving() const noexcept { return rate(outcome.moving_s); } ///< while a transfer was under way
    /// What share of a transfer's time was hidden behind compute.
    double hidden() const noexcept;

private:
    /// Of a page that a rank has.
    std::uint32_t shares() const noexcept { return settings.model.replicated ? 1 : settings.prefill.ranks; }
    double rate(double seconds) const noexcept { return seconds > 0 ? double(outcome.bytes) / 1e9 / seconds : 0; }
};

void print_table(std::ostream&, const summary&);
void write_json(std::ostream&, const summary&);

} // namespace pd
