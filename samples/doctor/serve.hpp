// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "settings.hpp"

namespace doctor {

/// Is there for doctors with --peer, one after the other, until the process ends; with --once for one. Says on standard
/// output where, and what it has checked. The exit status: not 0 when something was wrong.
int serve(const settings&);

} // namespace doctor
