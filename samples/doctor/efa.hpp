// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include "checks.hpp"
#include "line.hpp"
#include "report.hpp"

namespace doctor {

/// --efa: what is unproven of wye without two hosts that have EFA, one thing after the other, each a finding and a part
/// of the document's "efa". Over anything else it says that it proves nothing about EFA.
wye::task<> try_all(const patient&, talk&, const welcome&, std::vector<std::byte> metadata, report&);

/// What happens when a copy is cancelled, a rail is lost, a peer stops or is killed. Adds findings; what was measured.
wye::task<boost::json::object> try_faults(talk&, report&);

} // namespace doctor
