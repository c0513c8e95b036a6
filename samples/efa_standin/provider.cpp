// SPDX-License-Identifier: Apache-2.0
// The calls of libfabric that an efa driver makes, and no others.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/providers/fi_prov.h>

#include "nic.hpp"

namespace efa_standin {

namespace {

/// Objects of ours begin with those of libfabric, and these with their fid.
template <class Ours, class Theirs>
Ours& ours(fid* f) noexcept
{
    return static_cast<Ours&>(*reinterpret_cast<Theirs*>(f));
}

template <class Ours, class Theirs>
int close(fid* f)
{
    delete &ours<Ours, Theirs>(f);
    return 0;
}

template <class Ops>
Ops ops() noexcept
{
    Ops o{};
    o.size = sizeof o;
    return o;
}

template <class Theirs>
void fill(Theirs& f, std::size_t fclass, void* context, fi_ops& calls) noexcept
{
    f.fid = {fclass, context, &calls};
}

// Memory.

int close_memory(fid* f)
{
    forget(ours<memory, fid_mr>(f));
    return 0;
}

fi_ops memory_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close_memory;
    return o;
}();

int enroll(fid* f, const fi_mr_attr* a, std::uint64_t, fid_mr** out)
{
    domain& d = ours<domain, fid_domain>(f);
    if (a->iface != FI_HMEM_SYSTEM && !takes(*a, d.gpu_memory)) return -FI_EINVAL;
    memory& m = enroll(d, *a);
    fill(m, FI_CLASS_MR, nullptr, memory_calls);
    *out = &m;
    return 0;
}

fi_ops_mr mr_calls = [] {
    auto o = ops<fi_ops_mr>();
    o.regattr = enroll;
    return o;
}();

// Queues.

ssize_t read(fid_cq* q, void* into, std::size_t most)
{
    return reap(static_cast<queue&>(*q), static_cast<fi_cq_msg_entry*>(into), most);
}
ssize_t read_error(fid_cq* q, fi_cq_err_entry* into, std::uint64_t)
{
    return reap_error(static_cast<queue&>(*q), *into);
}

fi_ops_cq cq_calls = [] {
    auto o = ops<fi_ops_cq>();
    o.read = read;
    o.readerr = read_error;
    return o;
}();
fi_ops queue_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close<queue, fid_cq>;
    return o;
}();

int open_queue(fid_domain*, fi_cq_attr* a, fid_cq** out, void* context)
{
    if (a->wait_obj != FI_WAIT_NONE || a->format != FI_CQ_FORMAT_MSG) return -FI_ENOSYS;
    auto* const q = new queue{};
    fill(*q, FI_CLASS_CQ, context, queue_calls);
    q->ops = &cq_calls;
    *out = q;
    return 0;
}

struct events : fid_eq {};

fi_ops events_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close<events, fid_eq>;
    return o;
}();

int open_events(fid_fabric*, fi_eq_attr*, fid_eq** out, void* context)
{
    auto* const e = new events{};
    fill(*e, FI_CLASS_EQ, context, events_calls);
    *out = e;
    return 0;
}

// Addresses.

int insert(fid_av* f, const void* addresses, std::size_t n, fi_addr_t* out, std::uint64_t, void*)
{
    for (std::size_t i = 0; i < n; ++i) {
        address a;
        std::memcpy(a.data(), static_cast<const std::byte*>(addresses) + i * address_bytes, address_bytes);
        out[i] = insert(static_cast<peers&>(*f), a[0]);
    }
    return static_cast<int>(n);
}
int remove(fid_av* f, fi_addr_t* some, std::size_t n, std::uint64_t)
{
    for (std::size_t i = 0; i < n; ++i) remove(static_cast<peers&>(*f), some[i]);
    return 0;
}
const char* print(fid_av*, const void* bytes, char* into, std::size_t* length)
{
    address a;
    std::memcpy(a.data(), bytes, address_bytes);
    const std::string text = efa_standin::print(a[0]);
    const std::size_t n = std::min(text.size() + 1, *length);
    std::memcpy(into, text.c_str(), n);
    *length = text.size() + 1;
    return into;
}

fi_ops_av av_calls = [] {
    auto o = ops<fi_ops_av>();
    o.insert = insert;
    o.remove = remove;
    o.straddr = print;
    return o;
}();
fi_ops peers_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close<peers, fid_av>;
    return o;
}();

int open_peers(fid_domain*, fi_av_attr*, fid_av** out, void* context)
{
    auto* const p = new peers{};
    fill(*p, FI_CLASS_AV, context, peers_calls);
    p->ops = &av_calls;
    *out = p;
    return 0;
}

// Endpoints.

endpoint& of(fid_ep* e) noexcept { return static_cast<endpoint&>(*e); }

ssize_t write(fid_ep* e, const fi_msg_rma* m, std::uint64_t)
{
    return post(of(e), {kind::write, m->context, static_cast<std::byte*>(m->msg_iov->iov_base), m->msg_iov->iov_len,
                        m->addr, m->rma_iov->addr, m->rma_iov->key});
}
ssize_t read(fid_ep* e, const fi_msg_rma* m, std::uint64_t)
{
    return post(of(e), {kind::read, m->context, static_cast<std::byte*>(m->msg_iov->iov_base), m->msg_iov->iov_len,
                        m->addr, m->rma_iov->addr, m->rma_iov->key});
}
ssize_t send(fid_ep* e, const fi_msg* m, std::uint64_t)
{
    return post(of(e), {kind::message, m->context, static_cast<std::byte*>(m->msg_iov->iov_base), m->msg_iov->iov_len,
                        m->addr, 0, 0});
}
ssize_t receive(fid_ep* e, const fi_msg* m, std::uint64_t)
{
    receive(of(e), {m->context, static_cast<std::byte*>(m->msg_iov->iov_base), m->msg_iov->iov_len});
    return 0;
}
int name(fid* f, void* into, std::size_t* length)
{
    const address a{ours<endpoint, fid_ep>(f).id};
    std::memcpy(into, a.data(), std::min(*length, address_bytes));
    const bool fits = *length >= address_bytes;
    *length = address_bytes;
    return fits ? 0 : -FI_ETOOSMALL;
}
int bind(fid* f, fid* to, std::uint64_t)
{
    endpoint& e = ours<endpoint, fid_ep>(f);
    if (to->fclass == FI_CLASS_CQ) e.done = &ours<queue, fid_cq>(to);
    if (to->fclass == FI_CLASS_AV) e.reaches = &ours<peers, fid_av>(to);
    return 0;
}
int control(fid* f, int command, void*)
{
    endpoint& e = ours<endpoint, fid_ep>(f);
    if (command != FI_ENABLE) return -FI_ENOSYS;
    if (!e.done || !e.reaches) return -FI_ENOCQ;
    enable(e);
    return 0;
}
int close_endpoint(fid* f)
{
    close(ours<endpoint, fid_ep>(f));
    return 0;
}

fi_ops endpoint_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close_endpoint;
    o.bind = bind;
    o.control = control;
    return o;
}();
fi_ops_cm cm_calls = [] {
    auto o = ops<fi_ops_cm>();
    o.getname = name;
    return o;
}();
fi_ops_msg msg_calls = [] {
    auto o = ops<fi_ops_msg>();
    o.recvmsg = receive;
    o.sendmsg = send;
    return o;
}();
fi_ops_rma rma_calls = [] {
    auto o = ops<fi_ops_rma>();
    o.readmsg = read;
    o.writemsg = write;
    return o;
}();

int open_endpoint(fid_domain* d, fi_info*, fid_ep** out, void* context)
{
    auto* const e = new endpoint{};
    fill(*e, FI_CLASS_EP, context, endpoint_calls);
    e->cm = &cm_calls;
    e->msg = &msg_calls;
    e->rma = &rma_calls;
    e->of = &static_cast<domain&>(*d);
    *out = e;
    return 0;
}

// Domains, fabrics, and what there is.

fi_ops_domain domain_calls = [] {
    auto o = ops<fi_ops_domain>();
    o.av_open = open_peers;
    o.cq_open = open_queue;
    o.endpoint = open_endpoint;
    return o;
}();
fi_ops domain_fid_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close<domain, fid_domain>;
    return o;
}();

int open_domain(fid_fabric* f, fi_info* i, fid_domain** out, void* context)
{
    auto* const d = new domain{};
    d->gpu_memory = i->caps & FI_HMEM;
    fill(*d, FI_CLASS_DOMAIN, context, domain_fid_calls);
    d->ops = &domain_calls;
    d->mr = &mr_calls;
    d->of = f;
    *out = d;
    return 0;
}

struct fabric : fid_fabric {};

fi_ops_fabric fabric_calls = [] {
    auto o = ops<fi_ops_fabric>();
    o.domain = open_domain;
    o.eq_open = open_events;
    return o;
}();
fi_ops fabric_fid_calls = [] {
    auto o = ops<fi_ops>();
    o.close = close<fabric, fid_fabric>;
    return o;
}();

int open_fabric(fi_fabric_attr*, fid_fabric** out, void* context)
{
    auto* const f = new fabric{};
    fill(*f, FI_CLASS_FABRIC, context, fabric_fid_calls);
    f->ops = &fabric_calls;
    *out = f;
    return 0;
}

constexpr std::uint64_t able =
    FI_MSG | FI_RMA | FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
constexpr int keys_and_addresses = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;

fi_info* describe(unsigned nic, bool gpu_memory)
{
    fi_info* const i = ::fi_allocinfo();
    if (!i) return nullptr;
    i->caps = gpu_memory ? able | FI_HMEM : able;
    i->addr_format = FI_ADDR_EFA;
    i->tx_attr->caps = i->rx_attr->caps = i->caps;
    i->tx_attr->size = i->rx_attr->size = posts;
    i->tx_attr->iov_limit = i->tx_attr->rma_iov_limit = i->rx_attr->iov_limit = 1;
    i->ep_attr->type = FI_EP_RDM;
    i->ep_attr->protocol = FI_PROTO_EFA;
    i->ep_attr->max_msg_size = std::size_t{1} << 30;
    i->domain_attr->name = ::strdup(("standin_" + std::to_string(nic) + "-rdm").c_str());
    i->domain_attr->threading = FI_THREAD_SAFE;
    i->domain_attr->control_progress = i->domain_attr->data_progress = FI_PROGRESS_MANUAL;
    i->domain_attr->resource_mgmt = FI_RM_ENABLED;
    i->domain_attr->mr_mode = gpu_memory ? keys_and_addresses | FI_MR_HMEM : keys_and_addresses;
    i->domain_attr->mr_key_size = 4;
    i->domain_attr->mr_iov_limit = 1;
    i->fabric_attr->name = ::strdup("efa");
    return i;
}

int get_info(std::uint32_t, const char* node, const char*, std::uint64_t, const fi_info* hints, fi_info** out)
{
    const bool gpu_memory = hints && hints->caps & FI_HMEM;
    if (gpu_memory && (!has_gpu_memory() || !(hints->domain_attr->mr_mode & FI_MR_HMEM))) return -FI_ENODATA;
    if (node || !hints || (hints->caps & ~(able | FI_HMEM)) || hints->ep_attr->type != FI_EP_RDM ||
        (hints->domain_attr->mr_mode & keys_and_addresses) != keys_and_addresses || hints->tx_attr->msg_order)
        return -FI_ENODATA;
    const char* const wanted = std::getenv("EFA_STANDIN_NICS");
    const unsigned nics = wanted ? static_cast<unsigned>(std::atoi(wanted)) : 4;
    fi_info** last = out;
    for (unsigned n = 0; n < nics; ++n) {
        if (!(*last = describe(n, gpu_memory))) return -FI_ENOMEM;
        last = &(*last)->next;
    }
    return nics == 0 ? -FI_ENODATA : 0;
}

} // namespace

} // namespace efa_standin

extern "C" [[gnu::visibility("default")]] fi_provider* fi_prov_ini()
{
    // The version decides which of two that have the same name is taken.
    static fi_provider self = [] {
        fi_provider p{};
        p.version = FI_VERSION(0x7fff, 0);
        p.fi_version = ::fi_version();
        p.name = "efa";
        p.getinfo = efa_standin::get_info;
        p.fabric = efa_standin::open_fabric;
        p.cleanup = [] {};
        return p;
    }();
    return &self;
}
