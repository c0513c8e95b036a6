// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "tree.hpp"

namespace doctor {

/// By the names that the driver gives them; of a device and its ports together.
using counters = std::map<std::string, std::uint64_t>;

/// An RDMA device as /sys/class/infiniband has it.
struct device {
    std::string name;        ///< "rdmap79s0"
    std::string pci;         ///< "0000:4f:00.0"; empty when its link does not say
    std::string driver;      ///< "efa"
    std::string state;       ///< of its first port: "ACTIVE"
    std::string peer_memory; ///< who lets it reach GPU memory, as efa's driver says: "NVIDIA"
    int numa = -1;
    double gbps = 0; ///< of its first port
    doctor::counters counters;

    bool efa() const { return driver == "efa"; }
};

std::vector<device> rdma_devices(const tree&);

/// Of all of them together.
doctor::counters sum_of(const std::vector<device>&);
/// What was counted since; what has gone down was reset, and counts from nothing.
doctor::counters since(const doctor::counters& before, const doctor::counters& now);
std::uint64_t count(const doctor::counters&, const std::string& name);
boost::json::object as_json(const doctor::counters&);

} // namespace doctor
