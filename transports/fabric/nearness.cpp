// SPDX-License-Identifier: Apache-2.0
#include "nearness.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wye::ofi {

namespace {

/// "0000:4f:00.0", or nothing.
std::string pci_of(const fi_info& i)
{
    if (!i.nic || !i.nic->bus_attr || i.nic->bus_attr->bus_type != FI_BUS_PCI) return {};
    const fi_pci_attr& at = i.nic->bus_attr->attr.pci;
    char text[32];
    std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", at.domain_id, at.bus_id, at.device_id, at.function_id);
    return text;
}

/// libfabric calls "rdmap79s0-rdm" what is "rdmap79s0" elsewhere.
bool is_called(const rail& r, std::string_view name)
{
    const std::string_view domain = r.what().domain_attr->name;
    return domain == name || (domain.starts_with(name) && domain.substr(name.size()).starts_with('-'));
}

std::optional<topology> known(const std::vector<std::unique_ptr<rail>>& rails, const libfabric_options& o)
{
    if (o.near) return o.near;
    if (std::all_of(rails.begin(), rails.end(), [](const auto& r) { return pci_of(r->what()).empty(); })) return {};
    try {
        return read_topology();
    } catch (const std::exception&) {
        return {}; // without hwloc all are as near as any
    }
}

std::uint64_t bit(std::size_t i) noexcept { return std::uint64_t{1} << i; }

/// The node that the page is on, or -1.
int node_of(const std::byte* at) noexcept
{
    int node = -1;
    const auto flags = static_cast<unsigned long>(MPOL_F_NODE | MPOL_F_ADDR);
    return ::syscall(SYS_get_mempolicy, &node, nullptr, 0ul, at, flags) == 0 ? node : -1;
}

} // namespace

nearness::nearness(const std::vector<std::unique_ptr<rail>>& rails, const libfabric_options& o)
{
    const std::optional<topology> t = known(rails, o);
    if (!t) return;
    gpus_.resize(t->gpus.size());
    for (std::size_t i = 0; i < rails.size(); ++i) {
        const auto same = [&, pci = pci_of(rails[i]->what())](const topology::rail& r) {
            return is_called(*rails[i], r.name) || (!pci.empty() && pci == r.pci);
        };
        const auto it = std::find_if(t->rails.begin(), t->rails.end(), same);
        if (it == t->rails.end()) continue;
        for (std::size_t g = 0; g < gpus_.size(); ++g)
            if (std::ranges::find(t->gpus[g].rails, it->name) != t->gpus[g].rails.end()) gpus_[g] |= bit(i);
        if (it->numa < 0) continue;
        const auto node = static_cast<std::size_t>(it->numa);
        nodes_.resize(std::max(nodes_.size(), node + 1));
        nodes_[node] |= bit(i);
    }
}

std::uint64_t nearness::of(const segment& s) const noexcept
{
    const std::vector<std::uint64_t>& all = s.tier == tier::vram ? gpus_ : nodes_;
    if (all.empty() || s.length == 0) return 0;
    const int at = s.tier == tier::vram ? s.device : node_of(s.base);
    return at >= 0 && static_cast<std::size_t>(at) < all.size() ? all[static_cast<std::size_t>(at)] : 0;
}

} // namespace wye::ofi
