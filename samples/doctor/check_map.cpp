// SPDX-License-Identifier: Apache-2.0
// Which rails are near which GPU.
#include <exception>
#include <iomanip>
#include <ostream>

#include "checks.hpp"

namespace doctor {

namespace json = boost::json;

json::object as_json(const wye::topology& t)
{
    json::array gpus, rails;
    for (const wye::topology::gpu& g : t.gpus) {
        json::array near;
        for (const std::string& name : g.rails) near.emplace_back(name);
        gpus.push_back({{"pci", g.pci}, {"numa", g.numa}, {"rails", std::move(near)}});
    }
    for (const wye::topology::rail& r : t.rails)
        rails.push_back({{"name", r.name}, {"pci", r.pci}, {"numa", r.numa}, {"gbps", r.gbps}});
    return {{"gpus", std::move(gpus)}, {"rails", std::move(rails)}};
}

void print(std::ostream& out, const wye::topology& t)
{
    for (const wye::topology::gpu& g : t.gpus) {
        out << "gpu  " << g.pci << "  node " << std::setw(2) << g.numa << "  rails";
        if (g.rails.empty()) out << " none";
        for (const std::string& name : g.rails) out << ' ' << name;
        out << '\n';
    }
    for (const wye::topology::rail& r : t.rails) {
        out << "rail " << r.pci << "  node " << std::setw(2) << r.numa << "  " << r.name;
        if (r.gbps > 0) out << ", " << r.gbps << " Gb/s";
        out << '\n';
    }
    if (t.gpus.empty() && t.rails.empty()) out << "no GPU and no RDMA device\n";
}

namespace {

finding judge(const wye::topology& t)
{
    finding f{"near rails", verdict::ok, {}, {}, as_json(t)};
    if (t.gpus.empty()) {
        f.why = "no GPU here";
        return f;
    }
    std::string far;
    std::size_t fewest = t.rails.size(), most = 0;
    for (const wye::topology::gpu& g : t.gpus) {
        fewest = std::min(fewest, g.rails.size());
        most = std::max(most, g.rails.size());
        const wye::topology::rail* const first = g.rails.empty() ? nullptr : t.find(g.rails.front());
        if (first && first->numa >= 0 && g.numa >= 0 && first->numa != g.numa) far += (far.empty() ? "" : ", ") + g.pci;
    }
    const std::string each =
        fewest == most ? std::to_string(most) : std::to_string(fewest) + " to " + std::to_string(most);
    f.why = some(t.gpus.size(), "GPU") + ", " + some(t.rails.size(), "rail") + ", " + each + " near each";
    if (!far.empty()) {
        f.verdict = verdict::warning;
        f.why += "; none on the node of " + far;
        f.advice = {"in a pod ask for all EFA devices of the host; where it has no more, the way between sockets is in "
                    "between"};
    }
    return f;
}

} // namespace

void check_map(const patient& p, report& r)
{
    if (!p.files.is_this_machine())
        return r.add({"near rails", verdict::ok,
                      "not asked: these are another machine's files; --topology FILE.xml reads a saved map"});
    try {
        r.add(judge(wye::read_topology()));
    } catch (const std::exception& e) {
        r.add({"near rails", verdict::warning, e.what(), {"build wye with hwloc 2.0 or newer (libhwloc-dev)"}});
    }
}

} // namespace doctor
