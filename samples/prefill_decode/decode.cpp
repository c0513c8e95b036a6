// SPDX-License-Identifier: Apache-2.0
#include "rank.hpp"

#include <string>
#include <vector>

namespace pd {

/// Its part in a request, until its pages are there and were looked at.
wye::task<message> rank::decode(const message& m)
{
    message report;
    report.f.what = verb::arrived;
    report.f.request = m.f.request;
    if (settings_.direction == direction::write) report.f.how = co_await told(std::to_string(m.f.request), engine(m.f.engine));
    else co_await read(m, report);
    if (settings_.verify && report.f.how == ending::told) {
        report.f.verified = static_cast<std::uint32_t>(m.mine.size());
        report.f.wrong = co_await count_wrong(m);
    }
    co_await spoil_pages(m.mine);
    co_return report;
}

/// Reads from prefill and tells it that it has: all at once, before the first layer is computed; or each layer, which is
/// computed when it has come while the next ones do.
wye::task<> rank::read(const message& m, message& report)
{
    const partners& whom = engine(m.f.engine);
    const std::string key = std::to_string(m.f.request);
    const std::size_t groups = m.f.layerwise ? layout_.layers : 1;
    wye::copy_options o;
    if (!m.f.layerwise) o.notify = key;
    copies moved{runtime_.get_executor(), whom.size(), groups};
    report.f.begun_ns = now_ns();
    for (std::size_t i = 0; i < whom.size(); ++i) {
        const std::vector<std::uint32_t> from = blocks(role::prefill, m, whom[i]), to = blocks(role::decode, m, whom[i]);
        for (std::size_t g = 0; g < groups; ++g)
            moved.begin(i, g, whom[i].remote.select(group_of(from, g, groups)), local_.select(group_of(to, g, groups)), o);
    }
    for (std::size_t g = 0; g < groups; ++g) {
        const std::uint64_t waits = now_ns();
        co_await moved.ended(g);
        report.f.ended_ns = now_ns();
        report.f.exposed_ns += report.f.ended_ns - waits;
        if (m.f.layerwise && g + 1 < groups) co_await runtime_.sleep(settings_.layer_time);
    }
    report.f.how = co_await settle(key, whom, moved, m.f.layerwise);
    report.f.bytes = moved.bytes();
}

wye::task<std::uint32_t> rank::count_wrong(const message& m)
{
    std::vector<bool> wrong(m.mine.size());
    for (std::uint32_t l = 0; l < layout_.layers; ++l) {
        co_await carry(l, m.mine, false);
        for (std::uint32_t h = 0; h < layout_.halves; ++h)
            for (std::uint32_t i = 0; i < m.mine.size(); ++i) {
                const page_id id{m.f.request, l, h, settings_.model.replicated ? 0 : at_.rank * layout_.heads,
                                 i * layout_.page_tokens};
                if (!holds(layout_, id, page_at(l, h, m.mine[i]))) wrong[i] = true;
            }
        co_await breathe();
    }
    std::uint32_t count = 0;
    for (const bool w : wrong) count += w;
    co_return count;
}

} // namespace pd
