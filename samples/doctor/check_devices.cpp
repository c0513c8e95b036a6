// SPDX-License-Identifier: Apache-2.0
// RDMA devices: whether they are there, up, and open to this process.
#include <algorithm>
#include <set>

#include "checks.hpp"

namespace doctor {

namespace json = boost::json;

namespace {

std::string joined(const std::vector<std::string>& all)
{
    constexpr std::size_t most = 8;
    std::string out;
    for (std::size_t i = 0; i < all.size() && i < most; ++i) out += (i ? ", " : "") + all[i];
    return all.size() > most ? out + " and " + some(all.size() - most, "other") : out;
}

/// Addresses of PCI functions that are EFA: Amazon's 0xefa0, 0xefa1 ...
std::vector<std::string> efa_functions(const tree& t)
{
    std::vector<std::string> found;
    for (const std::string& at : t.list("sys/bus/pci/devices")) {
        const std::filesystem::path f = std::filesystem::path{"sys/bus/pci/devices"} / at;
        if (t.line(f / "vendor") == "0x1d0f" && t.line(f / "device").starts_with("0xefa")) found.push_back(at);
    }
    return found;
}

finding none_here(const patient& p)
{
    finding f{"rdma devices", verdict::warning, "none in /sys/class/infiniband", {}, {{"devices", json::array{}}}};
    if (p.fabric) f.why += ": wye reaches others over " + p.fabric->provider;
    if (const auto pci = efa_functions(p.files); !pci.empty()) {
        f.verdict = verdict::failed;
        f.why = some(pci.size(), "EFA function") + " on the PCI bus (" + joined(pci) + ") without a driver";
        f.advice = {"modprobe efa; on an image without it run EFA's installer"};
    } else {
        f.advice = {"on an instance type that has EFA attach interfaces of type efa (or efa-only) when it is launched"};
    }
    return f;
}

json::array as_json(const std::vector<device>& all)
{
    json::array out;
    for (const device& d : all)
        out.push_back({{"name", d.name},
                       {"pci", d.pci},
                       {"driver", d.driver},
                       {"state", d.state},
                       {"numa", d.numa},
                       {"gbps", d.gbps}});
    return out;
}

std::string speeds(const std::vector<device>& all)
{
    std::set<double> distinct;
    double sum = 0;
    for (const device& d : all) {
        distinct.insert(d.gbps);
        sum += d.gbps;
    }
    if (sum == 0) return "of a speed that nobody says";
    const std::string total = std::to_string(static_cast<long>(sum)) + " Gb/s together";
    return distinct.size() == 1 ? total : total + ", unequal";
}

void check_state(const std::vector<device>& all, report& r)
{
    std::vector<std::string> down;
    for (const device& d : all)
        if (d.state != "ACTIVE") down.push_back(d.name + " " + (d.state.empty() ? "says no state" : d.state));
    finding f{"rail state", verdict::ok, "all active, " + speeds(all)};
    if (!down.empty()) {
        f.verdict = verdict::failed;
        f.why = "not active: " + joined(down);
        f.advice = {"dmesg | grep -i -e efa -e mlx: what the driver says of them",
                    "detach and attach the interface, or replace the host"};
    }
    r.add(std::move(f));
}

/// /sys shows a container all of its host's devices; /dev those that it was given.
void check_open(const patient& p, report& r)
{
    const auto nodes = p.files.list("dev/infiniband");
    const auto n = static_cast<std::size_t>(
        std::count_if(nodes.begin(), nodes.end(), [](const std::string& s) { return s.starts_with("uverbs"); }));
    finding f{"device files", verdict::ok,
              some(n, "device") + " of " + std::to_string(p.devices.size()) + " in /dev/infiniband"};
    f.facts = {{"in_dev", n}, {"in_sys", p.devices.size()}};
    if (n == 0) {
        f.verdict = verdict::failed;
        f.why = "/sys has " + some(p.devices.size(), "RDMA device") +
                ", and /dev/infiniband none: this process may open none";
        f.advice = {"in a pod: the EFA device plugin must run on the node, and the pod ask for vpc.amazonaws.com/efa "
                    "in its limits",
                    "in a container: --device /dev/infiniband", "on the host: modprobe ib_uverbs"};
    } else if (n < p.devices.size()) {
        f.why += ": the others belong to somebody else";
    }
    r.add(std::move(f));
}

} // namespace

void check_devices(const patient& p, report& r)
{
    if (p.devices.empty()) return r.add(none_here(p));
    std::vector<std::string> names;
    for (const device& d : p.devices) names.push_back(d.name);
    finding f{"rdma devices", verdict::ok, some(p.devices.size(), "device") + ": " + joined(names)};
    f.facts = {{"devices", as_json(p.devices)}};
    r.add(std::move(f));
    check_state(p.devices, r);
    check_open(p, r);
}

} // namespace doctor
