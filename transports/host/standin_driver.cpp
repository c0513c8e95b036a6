// SPDX-License-Identifier: Apache-2.0
#include <wye/drivers.hpp>

#include "copy_queue.hpp"

namespace wye::drivers {

namespace {

/// Carries what a GPU's copy engines would, and nothing else: what a GPU must stage is staged here too.
class standin_driver final : public driver {
public:
    std::string_view name() const noexcept override { return "vram_standin"; }
    wye::limits limits() const noexcept override { return host::copy_limits(); }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto memory = [](tier t) { return t == tier::dram || t == tier::vram; };
        return memory(from.tier()) && memory(to.tier()) &&
               (from.tier() == tier::vram || to.tier() == tier::vram);
    }
    bool submit(chunk& c) noexcept override
    {
        queue_.push(c);
        return true;
    }
    std::size_t poll(turn t) noexcept override { return queue_.poll(t); }

private:
    host::copy_queue queue_;
};

} // namespace

std::unique_ptr<driver> vram_standin()
{
    return std::make_unique<standin_driver>();
}

} // namespace wye::drivers
