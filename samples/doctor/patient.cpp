// SPDX-License-Identifier: Apache-2.0
// What the checks look at, and libfabric, which is the first to be asked.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "checks.hpp"

extern char** environ;

namespace doctor {

namespace json = boost::json;

namespace {

/// What in the environment steers libfabric, NCCL and wye.
json::array environment()
{
    json::array some;
    for (char** e = environ; *e; ++e) {
        const std::string_view line = *e;
        for (const std::string_view prefix : {"FI_", "NCCL_", "OFI_NCCL_", "WYE_FABRIC_"})
            if (line.starts_with(prefix)) some.emplace_back(line);
    }
    return some;
}

json::object as_json(const wye::libfabric_facts& f)
{
    json::array rails;
    for (const auto& r : f.rails)
        rails.push_back(
            {{"name", r.name}, {"domain", r.domain}, {"address", r.address}, {"gbps", r.bytes_per_second * 8 / 1e9}});
    return {{"provider", f.provider},    {"version", f.version},
            {"sleeps", f.sleeps},        {"emulated_writes", f.emulated_writes}, {"gpu_memory", f.gpu_memory},
            {"rails", std::move(rails)}, {"environment", environment()}};
}

finding judge(const wye::libfabric_facts& f, bool efa_is_here)
{
    finding out{"libfabric", verdict::ok, {}, {}, as_json(f)};
    out.why = f.provider + " of libfabric " + f.version + ", " + some(f.rails.size(), "rail") +
              (f.sleeps ? ", an idle loop sleeps" : ", polled: its queues cannot be slept on");
    if (f.gpu_memory) out.why += "; its NICs reach GPU memory";
    if (f.emulated_writes) {
        out.verdict = verdict::warning;
        out.why = "efa of libfabric " + f.version + " emulates writes: each costs the target's processor a copy";
        out.advice = {"use libfabric 1.18 or newer; EFA's installer has one in /opt/amazon/efa"};
    } else if (efa_is_here && f.provider != "efa" && f.provider != "efa-direct") {
        out.verdict = verdict::failed;
        out.why = "there are EFA devices, and libfabric " + f.version + " takes " + f.provider;
        out.advice = {"look whether FI_PROVIDER, WYE_FABRIC_PROVIDER or --provider name another",
                      "use a libfabric that was built with efa: /opt/amazon/efa/lib before others in LD_LIBRARY_PATH",
                      "see below whether this process may open the devices"};
    }
    return out;
}

} // namespace

patient::patient(const settings& s) : how{s}, files{s.sys}, devices{rdma_devices(files)} {}

bool patient::has_efa() const
{
    return std::any_of(devices.begin(), devices.end(), [](const device& d) { return d.efa(); });
}

void check_fabric(patient& p, report& r)
{
    if (!p.files.is_this_machine())
        return r.add({"libfabric", verdict::ok, "not asked: these are another machine's files"});
    try {
        p.fabric = wye::facts_of(*wye::make_libfabric(p.how.fabric()));
        r.add(judge(*p.fabric, p.has_efa()));
    } catch (const std::exception& e) {
        r.add({"libfabric",
               verdict::failed,
               e.what(),
               {"fi_info -p efa says what libfabric finds; FI_LOG_LEVEL=warn before it says why not"},
               {{"environment", environment()}}});
    }
}

std::string bytes_text(double b)
{
    constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    std::size_t u = 0;
    for (; b >= 1024 && u + 1 < std::size(units); b /= 1024) ++u;
    char text[32];
    std::snprintf(text, sizeof text, "%.*f %s", std::floor(b) == b ? 0 : 1, b, units[u]);
    return text;
}

std::string some(std::uint64_t n, const std::string& what)
{
    return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s");
}

} // namespace doctor
