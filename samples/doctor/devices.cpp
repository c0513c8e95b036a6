// SPDX-License-Identifier: Apache-2.0
// Linux, Documentation/ABI/stable/sysfs-class-infiniband; drivers/infiniband/hw/efa/efa_verbs.c names efa's counters.
#include "devices.hpp"

#include <cstdlib>

namespace doctor {

namespace fs = std::filesystem;

namespace {

void read_counters(const tree& t, const fs::path& folder, counters& into)
{
    for (const std::string& name : t.list(folder))
        if (const auto n = t.number(folder / name); n && name != "lifespan")
            into[name] += *n; // how often they are read
}

/// "4: ACTIVE" is "ACTIVE".
std::string word_after_colon(const std::string& s)
{
    const std::size_t at = s.find(": ");
    return at == s.npos ? s : s.substr(at + 2);
}

device read_device(const tree& t, const std::string& name)
{
    const fs::path at = fs::path{"sys/class/infiniband"} / name;
    device d;
    d.name = name;
    d.pci = t.target(at / "device");
    d.driver = t.target(at / "device/driver");
    if (d.driver.empty() && t.line(at / "device/vendor") == "0x1d0f") d.driver = "efa"; // Amazon makes no other
    d.peer_memory = t.line(at / "device/p2p");
    const std::string node = t.line(at / "device/numa_node");
    if (const auto n = leading_number(node)) d.numa = static_cast<int>(*n);
    read_counters(t, at / "hw_counters", d.counters);
    for (const std::string& port : t.list(at / "ports")) {
        const fs::path p = at / "ports" / port;
        if (d.state.empty()) {
            d.state = word_after_colon(t.line(p / "state"));
            d.gbps = std::strtod(t.line(p / "rate").c_str(), nullptr); // "100 Gb/sec (4X EDR)"
        }
        read_counters(t, p / "hw_counters", d.counters);
    }
    return d;
}

} // namespace

std::vector<device> rdma_devices(const tree& t)
{
    std::vector<device> all;
    for (const std::string& name : t.list("sys/class/infiniband")) all.push_back(read_device(t, name));
    return all;
}

counters sum_of(const std::vector<device>& all)
{
    counters sum;
    for (const device& d : all)
        for (const auto& [name, n] : d.counters) sum[name] += n;
    return sum;
}

counters since(const counters& before, const counters& now)
{
    counters grown;
    for (const auto& [name, n] : now) {
        const std::uint64_t was = count(before, name);
        grown[name] = n >= was ? n - was : n;
    }
    return grown;
}

std::uint64_t count(const counters& c, const std::string& name)
{
    const auto it = c.find(name);
    return it == c.end() ? 0 : it->second;
}

boost::json::object as_json(const counters& c)
{
    boost::json::object o;
    for (const auto& [name, n] : c) o[name] = n;
    return o;
}

} // namespace doctor
