// SPDX-License-Identifier: Apache-2.0
#include "rank.hpp"

#include <string>
#include <vector>

namespace pd {

/// Its part in a request, from computing the pages until nobody needs them.
wye::task<message> rank::prefill(const message& m)
{
    message report;
    report.f.what = verb::released;
    report.f.request = m.f.request;
    if (settings_.direction == direction::write) co_await write(m, report);
    else co_await hold(m, report);
    co_await spoil_pages(m.mine);
    co_return report;
}

wye::task<> rank::compute_layer(const message& m, std::uint32_t layer)
{
    if (settings_.verify) {
        for (std::uint32_t h = 0; h < layout_.halves; ++h)
            for (std::uint32_t i = 0; i < m.mine.size(); ++i) {
                const page_id id{m.f.request, layer, h, settings_.model.replicated ? 0 : at_.rank * layout_.heads,
                                 i * layout_.page_tokens};
                compute(layout_, id, page_at(layer, h, m.mine[i]));
            }
        co_await carry(layer, m.mine, true);
        co_await breathe();
    }
    if (settings_.direction == direction::write && settings_.layer_time.count() > 0)
        co_await runtime_.sleep(settings_.layer_time);
}

/// Writes to decode and tells it: all at once when all is computed, or each layer when it is.
wye::task<> rank::write(const message& m, message& report)
{
    const partners& whom = engine(m.f.engine);
    const std::string key = std::to_string(m.f.request);
    std::vector<std::vector<std::uint32_t>> from, to;
    for (const partner& p : whom) {
        from.push_back(blocks(role::prefill, m, p));
        to.push_back(blocks(role::decode, m, p));
    }
    wye::copy_options o;
    if (!m.f.layerwise) o.notify = key;
    const std::size_t groups = m.f.layerwise ? layout_.layers : 1;
    copies moved{runtime_.get_executor(), whom.size(), groups};
    for (std::uint32_t l = 0, g = 0; l < layout_.layers; ++l) {
        co_await compute_layer(m, l);
        if (!m.f.layerwise && l + 1 != layout_.layers) continue;
        if (g == 0) report.f.begun_ns = now_ns();
        for (std::size_t i = 0; i < whom.size(); ++i)
            moved.begin(i, g, local_.select(group_of(from[i], g, groups)), whom[i].remote.select(group_of(to[i], g, groups)), o);
        ++g;
    }
    const std::uint64_t computed = now_ns();
    for (std::size_t g = 0; g < groups; ++g) co_await moved.ended(g);
    report.f.how = co_await settle(key, whom, moved, m.f.layerwise);
    report.f.bytes = moved.bytes();
    report.f.ended_ns = now_ns();
    report.f.exposed_ns = report.f.ended_ns - computed;
}

/// Holds the pages until all who read them have said that they have.
wye::task<> rank::hold(const message& m, message& report)
{
    for (std::uint32_t l = 0; l < layout_.layers; ++l) co_await compute_layer(m, l);
    message computed;
    computed.f.what = verb::computed;
    computed.f.request = m.f.request;
    line_.say(computed);
    report.f.how = co_await told(std::to_string(m.f.request), engine(m.f.engine));
}

} // namespace pd
