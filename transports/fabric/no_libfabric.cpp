// SPDX-License-Identifier: Apache-2.0
#include <wye/libfabric.hpp>

namespace wye {

std::unique_ptr<fabric> make_libfabric(const libfabric_options&)
{
    throw system_error(errc::not_supported, "wye was built without libfabric");
}

libfabric_facts facts_of(const fabric&) { return {}; }

} // namespace wye
