// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"
#include <ostream>
namespace kv { void write_html(std::ostream& out, const summary&) { out << "<html></html>\n"; } }
