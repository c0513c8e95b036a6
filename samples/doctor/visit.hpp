// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "checks.hpp"
#include "line.hpp"
#include "report.hpp"
#include "settings.hpp"

namespace doctor {

/// --peer: a handshake with the doctor that serves there, and transfers, all checked; with --efa all of efa.hpp. What
/// ends it is thrown: `trouble`, or system_error.
void visit(const patient&, report&);

/// Bytes a second, to read: "41.2 Gb/s (5.15 GB/s)".
std::string rate_text(double bytes_per_second);

} // namespace doctor
