// SPDX-License-Identifier: Apache-2.0
#include "ready.hpp"

#include "errors.hpp"

namespace wye::cuf {

namespace {

/// Whether cuFile would stage by itself what cannot go straight, or all.
bool stages(const api& a, const properties& p) noexcept
{
    if (!a.get_parameter) return (p.does & compatible) != 0;
    for (const setting s : {setting::allow_compatible, setting::force_compatible}) {
        bool on = true;
        if (a.get_parameter(s, &on).error != 0 || on) return true;
    }
    return false;
}

} // namespace

std::string make_ready(const api& a)
{
    if (a.init(0) != 0) return "no GPU here";
    // Refused when somebody else has opened it already: then what they have set is looked at.
    if (a.set_parameter) {
        a.set_parameter(setting::allow_compatible, false);
        a.set_parameter(setting::force_compatible, false);
    }
    const status opened = a.driver_open();
    if (opened.error != 0 && opened.error != already_open) return "cuFileDriverOpen failed: " + error_of(opened).message();
    properties p{};
    const status read = a.driver_properties(&p);
    if (read.error != 0) return "cuFileDriverGetProperties failed: " + error_of(read).message();
    if (p.major == 0 && p.minor == 0) return "it has not opened nvidia-fs";
    if (stages(a, p)) return "its compatibility mode is on: set allow_compat_mode to false in cufile.json";
    return {};
}

} // namespace wye::cuf
