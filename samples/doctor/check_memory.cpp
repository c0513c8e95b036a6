// SPDX-License-Identifier: Apache-2.0
// What may be locked, which NICs do with all that they reach, and huge pages, which keep their tables small.
#include <charconv>
#include <limits>

#include "checks.hpp"

namespace doctor {

namespace {

constexpr double gib = 1024.0 * 1024 * 1024;
constexpr unsigned cap_ipc_lock = 14; // linux/capability.h

/// Whether the process may lock whatever it likes.
bool privileged(const tree& t)
{
    const std::string set = value_of(t.text("proc/self/status"), "CapEff");
    std::uint64_t bits = 0;
    std::from_chars(set.data(), set.data() + set.size(), bits, 16);
    return bits >> cap_ipc_lock & 1;
}

std::string lock_text(std::uint64_t limit)
{
    return limit == std::numeric_limits<std::uint64_t>::max() ? "unlimited" : bytes_text(static_cast<double>(limit));
}

finding judge_lock(const patient& p, std::uint64_t limit)
{
    const double wanted = p.how.register_gib * gib;
    const bool free = privileged(p.files);
    finding f{"locked memory", verdict::ok, lock_text(limit) + " may be locked"};
    f.facts = {{"limit_bytes", limit}, {"ipc_lock", free}, {"wanted_bytes", wanted}};
    if (static_cast<double>(limit) >= wanted) return f;
    if (free) {
        f.why += ", and CAP_IPC_LOCK makes that of no account";
        return f;
    }
    f.advice = {
        "ulimit -l unlimited: in /etc/security/limits.d, or LimitMEMLOCK=infinity in the unit that starts it",
        "in a pod: the limit is the container runtime's (LimitMEMLOCK=infinity of containerd), or add IPC_LOCK to "
        "securityContext.capabilities"};
    if (p.devices.empty()) {
        f.verdict = verdict::warning;
        f.why +=
            ": enough here, since tcp locks nothing, and too little for NICs that shall reach " + bytes_text(wanted);
    } else {
        f.verdict = verdict::failed;
        f.why += ", and NICs shall reach " + bytes_text(wanted) + ": registering it will fail with ENOMEM";
    }
    return f;
}

void check_lock(const patient& p, report& r)
{
    const std::string limits = value_of(p.files.text("proc/self/limits"), "Max locked memory");
    if (limits.starts_with("unlimited")) return r.add(judge_lock(p, std::numeric_limits<std::uint64_t>::max()));
    if (const auto n = leading_number(limits)) return r.add(judge_lock(p, *n));
    r.add({"locked memory",
           verdict::warning,
           "/proc/self/limits does not say what may be locked",
           {"ulimit -l says it"}});
}

/// "always [madvise] never" is "madvise".
std::string chosen(const std::string& s)
{
    const std::size_t begin = s.find('['), end = s.find(']');
    return begin == s.npos || end == s.npos || end < begin ? s : s.substr(begin + 1, end - begin - 1);
}

void check_pages(const patient& p, report& r)
{
    const std::string info = p.files.text("proc/meminfo");
    const auto number = [&](const char* name) { return leading_number(value_of(info, name)).value_or(0); };
    const std::uint64_t total = number("HugePages_Total"), free = number("HugePages_Free");
    const std::string transparent = chosen(p.files.line("sys/kernel/mm/transparent_hugepage/enabled"));
    finding f{"huge pages", verdict::ok,
              std::to_string(free) + " free of " + std::to_string(total) + " reserved; transparent ones: "};
    f.why += transparent.empty() ? "not in this kernel" : transparent;
    f.facts = {{"total", total}, {"free", free}, {"kib", number("Hugepagesize")}, {"transparent", transparent}};
    const bool wished = transparent == "always" || transparent == "madvise"; // wye::arena asks for them
    if (!wished && free == 0) {
        f.verdict = verdict::warning;
        f.advice = {"echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                    "or reserve some: vm.nr_hugepages in sysctl; in a pod hugepages-2Mi in its limits"};
    } else if (p.has_efa() && free == 0) {
        f.verdict = verdict::warning;
        f.why += "; efa's own buffers would like some that are reserved";
        f.advice = {
            "reserve some: vm.nr_hugepages in sysctl (EFA's installer does); in a pod hugepages-2Mi in its limits"};
    }
    r.add(std::move(f));
}

} // namespace

void check_memory(const patient& p, report& r)
{
    check_lock(p, r);
    check_pages(p, r);
}

} // namespace doctor
