// SPDX-License-Identifier: Apache-2.0
// The tiers with addresses: DRAM to DRAM by the processor, and whatever touches VRAM by a GPU's copy engines.

#include <algorithm>

#include "device_driver.hpp"

namespace wye::sim::detail {

namespace {

/// Memory of this host.
bool here(const slice& s) noexcept { return !s.of->home; }

class memory final : public device_driver {
public:
    explicit memory(machine& m) : device_driver{m, m.memory} {}
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        return here(from) && here(to) && from.tier() == tier::dram && to.tier() == tier::dram;
    }
};

/// All GPUs of a host; each has channels of its own.
class gpu final : public device_driver {
public:
    explicit gpu(machine& m) : device_driver{m, m.gpu} {}
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        return here(from) && here(to) && from.tier() <= tier::vram && to.tier() <= tier::vram &&
               (from.tier() == tier::vram || to.tier() == tier::vram);
    }

private:
    std::pair<std::size_t, std::size_t> channels(const chunk& c) const noexcept override
    {
        const std::size_t each = std::max(1u, device_.model.channels), gpus = device_.free_at.size() / each;
        const slice& there = c.from.tier() == tier::vram ? c.from : c.to;
        return {static_cast<std::size_t>(there.of->device) % gpus * each, each};
    }
};

} // namespace

std::unique_ptr<driver> memory_driver(machine& m) { return std::make_unique<memory>(m); }
std::unique_ptr<driver> gpu_driver(machine& m) { return std::make_unique<gpu>(m); }

void equip(agent& a, machine& m)
{
    if (!m.nic.rails.empty()) a.add(nic_driver(m));
    a.add(memory_driver(m));
    a.add(gpu_driver(m));
    a.add(disk_driver(m));
    a.add(store_driver(m));
}

} // namespace wye::sim::detail
