// SPDX-License-Identifier: Apache-2.0
// How an agent comes to know another's memory without metadata, and how agents come to harm.

#include <wye/sim.hpp>

#include <algorithm>

#include <engine.hpp>

#include "rails_driver.hpp"

namespace wye::sim {

namespace detail {

rails_driver& nic_of(agent& a)
{
    for (const auto& d : a.engine().drivers())
        if (auto* const nic = dynamic_cast<rails_driver*>(d.get())) return *nic;
    throw system_error(errc::not_supported, "a host without rails");
}

} // namespace detail

region world::reach(agent& here, agent& there, const region& theirs)
{
    auto s = detail::nic_of(here).reach(universe_->host_of(there), theirs);
    here.engine().adopt(*s);
    return region{wye::detail::segment_handle{std::move(s), true}};
}

void world::crash(agent& a)
{
    universe_->party_of(a).crashed = true;
    detail::nic_of(a).die();
}

void world::stall(agent& a, duration d)
{
    detail::party& p = universe_->party_of(a);
    p.stalled_until = universe_->now() + d;
    if (!p.on.nic.rails.empty()) detail::nic_of(a).stall(p.stalled_until);
    at(now() + d, [] {}); // so that time gets there
}

} // namespace wye::sim
