// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include <wye/libfabric.hpp>
#include <wye/topology.hpp>

#include "devices.hpp"
#include "report.hpp"
#include "settings.hpp"
#include "tree.hpp"

namespace doctor {

/// What the checks look at, read once.
struct patient {
    explicit patient(const settings&);

    const settings& how;
    tree files;
    std::vector<device> devices;
    std::optional<wye::libfabric_facts> fabric; ///< unless `files` are another machine's, or it has none

    bool has_efa() const;
};

/// Each adds findings, and throws nothing but bad_alloc.
void check_fabric(patient&, report&);        ///< libfabric, its provider and rails
void check_devices(const patient&, report&); ///< RDMA devices, their state, and whether this process may open them
void check_map(const patient&, report&);     ///< which rails are near which GPU
void check_memory(const patient&, report&);  ///< what may be locked; huge pages
void check_gpudirect(const patient&, report&);
void check_budget(const patient&, report&); ///< queue pairs, registrations, descriptors for `settings::peers`
void check_counters(const patient&, report&);

/// What sent packets and received none means, by what was counted: null when it is not so.
std::optional<finding> one_way(const std::string& whose, const counters&);
/// Why packets get lost on the way between two efa NICs, likeliest first.
std::vector<std::string> causes_of_silence();

/// {"gpus":[{"pci","numa","rails":[…]}],"rails":[{"name","pci","numa","gbps"}]}
boost::json::object as_json(const wye::topology&);
/// The same, to read.
void print(std::ostream&, const wye::topology&);

/// "8 MiB", "1.5 GiB".
std::string bytes_text(double);
/// "3 rails", "1 rail".
std::string some(std::uint64_t n, const std::string& what);

} // namespace doctor
