// SPDX-License-Identifier: Apache-2.0
#include "contexts.hpp"

namespace wye::cuf {

contexts::~contexts()
{
    for (const auto& [ordinal, h] : held_) api_->context_release(h.device);
}

context contexts::open(int ordinal)
{
    if (const context known = find(ordinal)) return known;
    held h{};
    if (api_->device_get(&h.device, ordinal) != 0 || api_->context_retain(&h.of, h.device) != 0) return nullptr;
    held_.emplace(ordinal, h);
    return h.of;
}

context contexts::find(int ordinal) const noexcept
{
    const auto it = held_.find(ordinal);
    return it == held_.end() ? nullptr : it->second.of;
}

} // namespace wye::cuf
