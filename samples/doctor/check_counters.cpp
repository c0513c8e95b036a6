// SPDX-License-Identifier: Apache-2.0
// What NICs have counted since they were last reset, which a reboot of the system does not do.
#include "checks.hpp"

namespace doctor {

namespace {

constexpr std::uint64_t dropped_one_in = 1000; ///< packets: more is worth a word

struct symptom {
    const char* counter;
    const char* means;
    const char* advice;
};

/// Errors that should not be there at all.
constexpr symptom symptoms[] = {
    {"reg_mr_err", "registrations were refused",
     "too much memory, or too many regions: see locked memory and registrations"},
    {"create_qp_err", "queue pairs were refused", "too many in all processes of the host: see queue pairs"},
    {"create_ah_err", "address handles were refused",
     "a peer's address makes no sense here (another subnet or zone?), or there are too many"},
    {"rdma_read_wr_err", "reads failed", "keys that were withdrawn, or a peer that went"},
    {"rdma_write_wr_err", "writes failed", "keys that were withdrawn, or a peer that went"},
    {"unresponsive_remote_events", "peers did not answer",
     "they were gone, or the security group lets one direction through only"},
    {"impaired_remote_conn_events", "connections were throttled",
     "congestion, or a peer that is slow: compare with its counters"},
    {"retrans_timeout_events", "packets timed out and took another path",
     "some are normal under load; many with little traffic are not"}};

void check_drops(const device& d, report& r)
{
    const std::uint64_t dropped = count(d.counters, "rx_drops"), received = count(d.counters, "rx_pkts");
    if (dropped == 0 || dropped <= received / dropped_one_in) return;
    r.add({"counters",
           verdict::warning,
           d.name + ": " + std::to_string(dropped) + " packets dropped of " + std::to_string(received) + " received",
           {"the process did not take what came in time: poll more often, or on a processor of its own"},
           as_json(d.counters)});
}

void check_errors(const patient& p, report& r)
{
    const counters all = sum_of(p.devices);
    for (const symptom& s : symptoms)
        if (const std::uint64_t n = count(all, s.counter); n != 0)
            r.add({"counters",
                   verdict::warning,
                   std::string{s.counter} + " " + std::to_string(n) + ": " + s.means,
                   {s.advice},
                   {{s.counter, n}}});
}

} // namespace

std::vector<std::string> causes_of_silence()
{
    return {"the security group must name itself in an egress rule, too, all protocols: 0.0.0.0/0 does not cover EFA, "
            "whose addresses "
            "are not of IP; and in an ingress rule",
            "the interface's subnet must be of the VPC's primary CIDR, and both hosts in one subnet or at least one "
            "zone: EFA is not "
            "carried out of a secondary CIDR",
            "in pods: the EFA device plugin must give the pod the devices (vpc.amazonaws.com/efa in its limits), at "
            "both ends"};
}

std::optional<finding> one_way(const std::string& whose, const counters& c)
{
    const std::uint64_t sent = count(c, "tx_pkts"), received = count(c, "rx_pkts");
    if (sent == 0 || received != 0) return std::nullopt;
    return finding{"counters", verdict::failed, whose + ": " + some(sent, "packet") + " sent and none received",
                   causes_of_silence(), as_json(c)};
}

void check_counters(const patient& p, report& r)
{
    if (p.devices.empty()) return;
    const counters all = sum_of(p.devices);
    if (all.empty())
        return r.add({"counters",
                      verdict::warning,
                      "the driver has no hw_counters",
                      {"use a newer efa driver: EFA's installer has one"}});
    bool silent = false;
    for (const device& d : p.devices) {
        if (auto f = one_way(d.name, d.counters)) {
            silent = true;
            r.add(std::move(*f));
        }
        check_drops(d, r);
    }
    check_errors(p, r);
    if (silent) return;
    const std::uint64_t sent = count(all, "tx_pkts"), received = count(all, "rx_pkts");
    r.add({"counters",
           verdict::ok,
           some(sent, "packet") + " sent, " + std::to_string(received) + " received" +
               (sent == 0 && received == 0 ? ": nothing has been tried yet" : ""),
           {},
           as_json(all)});
}

} // namespace doctor
