// SPDX-License-Identifier: Apache-2.0
#include "provider.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "errors.hpp"

namespace wye::ofi {

namespace {

constexpr std::size_t most_rails = 64;

[[noreturn]] void refuse(const std::string& why) { throw system_error(errc::not_supported, why); }

bool over_tcp(const std::string& name) { return name == "tcp;ofi_rxm"; }
bool is_efa(const std::string& name) { return name == "efa" || name == "efa-direct"; }
bool is_slow(const std::string& name) { return is_efa(name) || name.starts_with("verbs"); }

info hints_for(const std::string& name, bool off_loop, bool gpu_memory)
{
    info h{::fi_allocinfo()};
    if (!h) throw std::bad_alloc{};
    h->caps = FI_MSG | FI_RMA;
    h->mode = FI_CONTEXT | FI_CONTEXT2;
    h->ep_attr->type = FI_EP_RDM;
    // An MR that belongs to an endpoint (FI_MR_ENDPOINT) would not outlive a fence, so that is not offered.
    h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
    if (gpu_memory) {
        h->caps |= FI_HMEM;
        h->domain_attr->mr_mode |= FI_MR_HMEM;
    }
    h->domain_attr->threading = off_loop ? FI_THREAD_SAFE : FI_THREAD_DOMAIN;
    h->domain_attr->control_progress = h->domain_attr->data_progress = FI_PROGRESS_MANUAL;
    // A write ends when it has arrived: everything that is told after the last byte rests on that.
    h->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    // What is written for a read has landed when the message after it comes.
    if (over_tcp(name)) h->tx_attr->msg_order = h->rx_attr->msg_order = FI_ORDER_SAW;
    h->fabric_attr->prov_name = ::strdup(name.c_str());
    return h;
}

/// All that the provider of exactly this name has, from this local address.
std::vector<info> ask(const std::string& name, const char* from, bool off_loop, bool gpu_memory = false)
{
    const info hints = hints_for(name, off_loop, gpu_memory);
    fi_info* first = nullptr;
    if (::fi_getinfo(api_version(), from, nullptr, from ? FI_SOURCE : 0, hints.get(), &first) < 0) return {};
    const info all{first};
    std::vector<info> some;
    for (const fi_info* i = first; i; i = i->next) {
        if (name != i->fabric_attr->prov_name) continue;
        info one{::fi_dupinfo(i)};
        if (!one) throw std::bad_alloc{};
        one->tx_attr->op_flags = 0; // it is asked for where it is meant
        some.push_back(std::move(one));
    }
    return some;
}

/// An address as it is, or that of an interface.
std::string address_of(const std::string& rail)
{
    in6_addr any;
    if (::inet_pton(AF_INET, rail.c_str(), &any) == 1 || ::inet_pton(AF_INET6, rail.c_str(), &any) == 1) return rail;
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) refuse("cannot list this machine's interfaces");
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> keep{all, ::freeifaddrs};
    for (const ifaddrs* i = all; i; i = i->ifa_next) {
        if (rail != i->ifa_name || !i->ifa_addr || i->ifa_addr->sa_family != AF_INET) continue;
        sockaddr_in at;
        std::memcpy(&at, i->ifa_addr, sizeof at);
        char text[INET_ADDRSTRLEN] = {};
        return ::inet_ntop(AF_INET, &at.sin_addr, text, sizeof text) ? text : rail;
    }
    refuse("no interface with an IPv4 address is called " + rail);
}

/// IP providers: one rail for each local address.
void take_addresses(provider& p, const libfabric_options& o)
{
    std::vector<std::string> from = o.rails;
    if (from.empty() && over_tcp(p.name)) from = {"127.0.0.1"};
    for (const std::string& rail : from) {
        std::vector<info> found = ask(p.name, address_of(rail).c_str(), p.slow);
        if (found.empty()) refuse(p.name + " has no endpoint that confirms delivery at " + rail);
        p.rails.push_back({rail, std::move(found.front())});
    }
}

/// Others: one for each domain, those that were named or all; such as reach GPUs' memory if there are any.
void take_domains(provider& p, const libfabric_options& o)
{
    std::vector<info> all;
    if (o.gpu_memory) all = ask(p.name, nullptr, p.slow, true);
    p.gpu_memory = !all.empty();
    if (all.empty()) all = ask(p.name, nullptr, p.slow);
    std::vector<std::string> seen;
    for (info& i : all) {
        const std::string name = i->domain_attr->name;
        const auto listed = [&](const auto& l) { return std::find(l.begin(), l.end(), name) != l.end(); };
        if (listed(seen) || (!o.rails.empty() && !listed(o.rails))) continue;
        seen.push_back(name);
        p.rails.push_back({name, std::move(i)});
    }
    for (const std::string& name : o.rails)
        if (std::find(seen.begin(), seen.end(), name) == seen.end()) refuse(p.name + " has no domain called " + name);
}

std::string wanted_name(const libfabric_options& o)
{
    if (const char* const forced = std::getenv("WYE_FABRIC_PROVIDER"); forced && *forced) return forced;
    if (!o.provider.empty()) return o.provider;
    return ask("efa", nullptr, true).empty() ? "tcp;ofi_rxm" : "efa";
}

} // namespace

std::uint32_t api_version() noexcept
{
    return FI_VERSION_GE(::fi_version(), FI_VERSION(1, 18)) ? FI_VERSION(1, 18) : FI_VERSION(1, 17);
}

provider choose(const libfabric_options& o)
{
    provider p;
    p.name = wanted_name(o);
    free_signals();
    p.closes_paths = p.name.ends_with(";ofi_rxm");
    p.asks_for_reads = over_tcp(p.name);
    p.slow = is_slow(p.name) || o.always_off_loop;
    p.emulated_writes = p.name == "efa" && api_version() < FI_VERSION(1, 18);
    if (!p.closes_paths && !is_efa(p.name))
        refuse(p.name + " cannot keep out what was written to a connection that broke; use efa or one of \";ofi_rxm\"");

    if (over_tcp(p.name) || (!is_efa(p.name) && !o.rails.empty())) take_addresses(p, o);
    else take_domains(p, o);
    free_signals();
    if (p.rails.empty()) refuse("libfabric has no provider " + p.name + " here that confirms delivery");
    if (p.rails.size() > most_rails) refuse(std::to_string(p.rails.size()) + " rails; at most 64 can be driven");
    return p;
}

} // namespace wye::ofi
