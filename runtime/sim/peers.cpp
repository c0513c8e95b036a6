// SPDX-License-Identifier: Apache-2.0
// How an agent comes to know another's memory, without metadata.

#include <wye/sim.hpp>

#include <algorithm>

#include <engine.hpp>

#include "universe.hpp"

namespace wye::sim {

region world::reach(agent& here, agent& there, const region& theirs)
{
    wye::detail::engine& e = here.engine();
    detail::machine& host = universe_->host_of(there);
    const auto is_nic = [](const auto& d) { return d->name() == "nic"; };
    const auto nic = std::find_if(e.drivers().begin(), e.drivers().end(), is_nic);
    if (nic == e.drivers().end()) throw system_error(errc::not_supported, "a host without rails");
    std::uint32_t peer = 1;
    for (const detail::machine& m : universe_->machines) {
        if (&m == &host) break;
        ++peer;
    }
    auto s = detail::remote_segment(**nic, host, peer, theirs);
    e.adopt(*s);
    return region{wye::detail::segment_handle{std::move(s), true}};
}

} // namespace wye::sim
