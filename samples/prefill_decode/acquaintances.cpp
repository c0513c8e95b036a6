// SPDX-License-Identifier: Apache-2.0
#include "rank.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <boost/asio/error.hpp>

namespace pd {

rank::partners& rank::engine(std::uint32_t e)
{
    const auto [it, is_new] = others_.try_emplace(e);
    if (!is_new) return it->second;
    const bool we_prefill = at_.role == role::prefill;
    const sharding shards = settings_.sharding();
    for (const link& l : shards.links())
        if ((we_prefill ? l.prefill : l.decode) == at_.rank)
            it->second.push_back({place{other_than(at_.role), e, we_prefill ? l.decode : l.prefill}.name(), l, {}, {}});
    return it->second;
}

/// Meets who is there and who comes, as long as it serves.
wye::task<> rank::follow()
{
    const std::string who = std::string{name_of(other_than(at_.role))} + "-";
    try {
        for (;;) {
            std::vector<arrival> those = co_await meeting_->arrivals(who);
            if (those.empty()) co_return;
            for (arrival& a : those) begin(meet(std::move(a)));
        }
    } catch (const wye::system_error& e) {
        if (e.code() != boost::asio::error::operation_aborted) throw;
    }
}

/// Connects to it if ours copies to or from it, and says so when it is connected to all of that engine.
wye::task<> rank::meet(arrival a)
{
    const std::optional<place> who = place_named(a.name);
    if (!who) co_return;
    const auto is_it = [name = a.name](const partner& p) { return p.name == name; };
    const partners& of = engine(who->engine);
    const auto ours = std::find_if(of.begin(), of.end(), is_it);
    if (ours != of.end() && !ours->peer) co_await connect(std::move(a));
    const partners& now = engine(who->engine);
    if (!std::all_of(now.begin(), now.end(), [](const partner& p) { return bool{p.peer}; })) co_return;
    message met = word(verb::met);
    met.f.engine = who->engine;
    line_.say(met);
}

/// Without those that the job began with there is no job. One who joins may have gone already, or comes again with another
/// life; so may one of an earlier job, who is there until its entry expires.
wye::task<> rank::connect(arrival a)
{
    const place who = *place_named(a.name);
    try {
        wye::peer peer = co_await meeting_->connect(agent_, std::move(a));
        for (partner& p : engine(who.engine)) // which may have been forgotten meanwhile
            if (p.name == who.name() && !p.peer) prepare(p, std::move(peer));
    } catch (const wye::system_error& e) {
        const bool first = who.engine < settings_.of(who.role).workers;
        if (first && e.code() != wye::errc::stale_metadata) throw;
    }
}

/// The blocks that copies to or from it name by number.
void rank::prepare(partner& p, wye::peer peer)
{
    std::vector<wye::slice> blocks;
    for (std::uint32_t l = 0; l < layout_.layers; ++l) {
        const auto some = wye::blocks_of(peer.published(name_of_layer(l)), layout_.part_bytes());
        blocks.insert(blocks.end(), some.begin(), some.end());
    }
    agent_.explain(layers_[0].at(0, layout_.part_bytes()), blocks[0]); // throws `no_route` before anything is moved
    p.remote = agent_.prepare(std::move(blocks));
    p.peer = std::move(peer);
}

} // namespace pd
