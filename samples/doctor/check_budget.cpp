// SPDX-License-Identifier: Apache-2.0
// What so many peers take of what NICs and the system have.
#include <algorithm>
#include <limits>

#include "checks.hpp"

namespace doctor {

namespace fs = std::filesystem;

namespace {

constexpr double gib = 1024.0 * 1024 * 1024;
constexpr std::uint64_t spare_descriptors = 64; // the program's own
constexpr double most_pages = 22e6;             // entries in one EFA NIC, as others found by trying: 22 to 24 million
constexpr double huge_page = 2.0 * 1024 * 1024, small_page = 4096;

/// What is to be had, and who says so; nothing where nobody does.
struct allowance {
    std::uint64_t most = 0;
    std::string source;
};

std::string provider_of(const patient& p)
{
    if (p.fabric) return p.fabric->provider;
    return p.has_efa() ? "efa" : p.devices.empty() ? "tcp;ofi_rxm" : "verbs;ofi_rxm";
}

std::uint64_t rails_of(const patient& p)
{
    if (p.fabric) return p.fabric->rails.size();
    return p.devices.empty() ? 1 : p.devices.size();
}

/// What the process's control group may have of each device: "mlx5_0 hca_handle=2 hca_object=2000" or "max" (Linux,
/// Documentation/admin-guide/cgroup-v2.rst). Of the device that has least.
allowance by_cgroup(const patient& p)
{
    const std::string mine = value_of(p.files.text("proc/self/cgroup"), "0:"); // "0::/kubepods/…"
    allowance a;
    for (const std::string& folder : {mine, std::string{}}) {
        const fs::path at = fs::path{"sys/fs/cgroup"} / fs::path{folder}.relative_path() / "rdma.max";
        const std::string text = p.files.text(at);
        for (const device& d : p.devices) {
            const std::string line = value_of(text, d.name);
            const std::size_t objects = line.find("hca_object=");
            if (objects == line.npos) continue;
            const auto n = leading_number(std::string_view{line}.substr(objects + 11));
            if (n && (a.source.empty() || *n < a.most)) a = {*n, "/" + at.string()};
        }
    }
    return a;
}

/// Of the rail that has least; a provider in software says something huge.
template <class Member>
allowance by_libfabric(const patient& p, Member what)
{
    allowance a;
    if (!p.fabric) return a;
    for (const auto& r : p.fabric->rails)
        if (r.*what != 0 && (a.source.empty() || r.*what < a.most)) a = {r.*what, "libfabric"};
    return a;
}

finding against(const char* check, std::uint64_t needed, const std::string& of_what, const allowance& a)
{
    finding f{check, verdict::ok, std::to_string(needed) + ' ' + of_what};
    f.facts = {{"needed", needed}};
    if (a.source.empty()) {
        f.why += "; how many there are is not in /sys";
        f.advice = {"ibv_devinfo -v says max_qp, max_mr, max_ah of each device"};
        return f;
    }
    f.facts["most"] = a.most;
    f.facts["source"] = a.source;
    f.why += ", of " + std::to_string(a.most) + " by " + a.source;
    if (needed > a.most) {
        f.verdict = verdict::failed;
    } else if (needed > a.most / 2) {
        f.verdict = verdict::warning;
        f.why += ": not twice, beside another library in the process";
    }
    return f;
}

/// A NIC of EFA speaks to all peers through one queue pair; verbs and tcp have a connection to each.
void check_pairs(const patient& p, report& r)
{
    const std::uint64_t peers = p.how.peers, rails = rails_of(p);
    const bool efa = provider_of(p).starts_with("efa");
    const std::uint64_t each = efa ? 1 : peers;
    const std::string what =
        std::string{each == 1 ? "queue pair" : "queue pairs"} + " of each rail for " + some(peers, "peer");
    finding f = against("queue pairs", each, efa ? what + ", however many" : what,
                        by_libfabric(p, &wye::libfabric_facts::rail::most_endpoints));
    f.facts["rails"] = rails;
    if (efa) {
        f.facts["address_handles"] = peers;
        f.why += "; " + some(peers, "address handle") + " of each, one a peer";
    }
    if (f.verdict != verdict::ok)
        f.advice = {
            "fewer peers, or fewer rails to each: libfabric_options::rails; NCCL takes queue pairs of the same NICs"};
    r.add(std::move(f));
}

void check_registrations(const patient& p, report& r)
{
    // What it receives messages in; of each region one for itself and one that peers have the key to.
    const std::uint64_t each = 1 + 2 * p.how.regions;
    finding f = against("registrations", each, "of each rail for " + some(p.how.regions, "published region"),
                        by_libfabric(p, &wye::libfabric_facts::rail::most_registrations));
    if (f.verdict != verdict::ok) f.advice = {"publish fewer, larger regions: all layers in one, with slices of it"};
    r.add(std::move(f));
    const allowance objects = by_cgroup(p);
    if (objects.source.empty()) return;
    finding g =
        against("rdma cgroup", each + 16, "objects of each device", objects); // queues, domains, pairs beside them
    if (g.verdict != verdict::ok) g.advice = {"raise rdma.max of the control group, or publish fewer regions"};
    r.add(std::move(g));
}

void check_pages(const patient& p, report& r)
{
    const double bytes = p.how.register_gib * gib;
    const std::string enabled = p.files.line("sys/kernel/mm/transparent_hugepage/enabled");
    const bool huge = enabled.find("[always]") != enabled.npos || enabled.find("[madvise]") != enabled.npos ||
                      leading_number(value_of(p.files.text("proc/meminfo"), "HugePages_Free")).value_or(0) != 0;
    const double pages = bytes / (huge ? huge_page : small_page);
    finding f{"nic page tables", verdict::ok,
              bytes_text(bytes) + " on pages of " + (huge ? "2 MiB" : "4 KiB") + " are " +
                  std::to_string(static_cast<std::uint64_t>(pages)) + " entries of some 22 million in each NIC"};
    f.facts = {{"pages", pages}, {"most", most_pages}, {"huge", huge}};
    if (pages > most_pages) {
        f.verdict = verdict::failed;
        f.advice = {"take memory on huge pages (wye::arena does where it may)",
                    "register with near rails only, or less"};
    }
    r.add(std::move(f));
}

void check_descriptors(const patient& p, report& r)
{
    const std::uint64_t needed = p.how.peers * rails_of(p) + spare_descriptors;
    const std::string limit = value_of(p.files.text("proc/self/limits"), "Max open files");
    allowance a;
    if (const auto n = leading_number(limit))
        a = {*n, "/proc/self/limits"};
    else if (limit.starts_with("unlimited"))
        a = {std::numeric_limits<std::int64_t>::max(), "/proc/self/limits"};
    finding f = against("descriptors", needed,
                        "for connections to " + some(p.how.peers, "peer") + " and the program itself", a);
    if (a.source.empty())
        f.advice = {"ulimit -n says how many there are"};
    else if (f.verdict != verdict::ok)
        f.advice = {"ulimit -n, or LimitNOFILE= in the unit that starts it"};
    r.add(std::move(f));
}

} // namespace

void check_budget(const patient& p, report& r)
{
    if (provider_of(p).starts_with("tcp")) return check_descriptors(p, r);
    check_pairs(p, r);
    check_registrations(p, r);
    if (provider_of(p).starts_with("efa"))
        check_pages(p, r);
    else
        check_descriptors(p, r);
}

} // namespace doctor
