// SPDX-License-Identifier: Apache-2.0
#include "rail.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <string_view>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <rdma/fi_cm.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "errors.hpp"

namespace wye::ofi {

namespace {

constexpr std::size_t sends = 64, receives = 64;
constexpr std::size_t most_spent = 4096; // keys that are remembered
constexpr std::uint64_t local_access = FI_SEND | FI_RECV | FI_READ | FI_WRITE;

/// Keys that others cannot guess, where they are ours to choose; they must differ within a domain.
std::uint64_t draw_key(const fi_info& i)
{
    // One is kept: making it asks the processor what it can do, which a hypervisor answers in 20 us, and reads draw a key each.
    thread_local std::random_device random;
    const std::uint64_t key = std::uint64_t{random()} << 32 | random();
    const std::size_t bits = 8 * std::min<std::size_t>(i.domain_attr->mr_key_size, 8);
    return bits < 64 ? key & ((std::uint64_t{1} << bits) - 1) : key;
}

bool has_port(const fi_info& i) noexcept
{
    return i.src_addr && (i.addr_format == FI_SOCKADDR_IN || i.addr_format == FI_SOCKADDR_IN6);
}

/// Whichever is free.
void forget_port(fi_info& i) noexcept
{
    if (i.addr_format == FI_SOCKADDR_IN) static_cast<sockaddr_in*>(i.src_addr)->sin_port = 0;
    else static_cast<sockaddr_in6*>(i.src_addr)->sin6_port = 0;
}

} // namespace

rail::rail(provider::rail r, std::size_t most_posts, bool descriptor)
    : name_{std::move(r.name)}, info_{std::move(r.what)}
{
    fid_fabric* f = nullptr;
    must(::fi_fabric(info_->fabric_attr, &f, nullptr), "fi_fabric");
    fabric_.reset(f);
    fid_domain* d = nullptr;
    must(::fi_domain(f, info_.get(), &d, nullptr), "fi_domain");
    domain_.reset(d);

    // Without one efa aborts the process when an error has nobody whom it could be told to.
    fi_eq_attr events{};
    events.wait_obj = FI_WAIT_NONE;
    fid_eq* e = nullptr;
    must(::fi_eq_open(f, &events, &e, nullptr), "fi_eq_open");
    events_.reset(e);

    make_slots(std::min(most_posts, std::max<std::size_t>(info_->tx_attr->size, 2 * sends) - sends));
    open_queue(descriptor);
    fi_av_attr known{};
    known.type = FI_AV_UNSPEC;
    fid_av* a = nullptr;
    must(::fi_av_open(d, &known, &a, nullptr), "fi_av_open");
    peers_.reset(a);
    buffers_mr_ = enroll({buffers_.data(), buffers_.size()}, 0);
    open();
}

void rail::make_slots(std::size_t posts)
{
    slots_ = std::vector<slot>(posts + sends + receives);
    buffers_.resize((sends + receives) * message_bytes);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        slot& s = slots_[i];
        if (i < posts) {
            s.next = std::exchange(free_chunks_, &s);
            continue;
        }
        s.bytes = buffers_.data() + (i - posts) * message_bytes;
        if (i < posts + sends) s.next = std::exchange(free_sends_, &s);
        else s.what = slot::use::receive;
    }
    spare_sends_ = sends;
}

void rail::open_queue(bool descriptor)
{
    fi_cq_attr attr{};
    attr.size = slots_.size();
    attr.format = FI_CQ_FORMAT_MSG;
    attr.wait_obj = descriptor ? FI_WAIT_FD : FI_WAIT_NONE;
    fid_cq* q = nullptr;
    must(::fi_cq_open(domain_.get(), &attr, &q, nullptr), "fi_cq_open");
    handle<fid_cq> fresh{q};
    if (descriptor) must(::fi_control(&q->fid, FI_GETWAIT, &descriptor_), "FI_GETWAIT");
    queue_ = std::move(fresh);
}

/// ofi_rxm (to 2.6 at least) leaves what it waited for on behalf of an endpoint in the queue's list when that is closed, and
/// fi_trywait(3) looks at it: freed memory. So each endpoint has a queue of its own there.
bool rail::wears_out_queues() const noexcept
{
    return descriptor_ >= 0 && std::string_view{info_->fabric_attr->prov_name}.ends_with(";ofi_rxm");
}

handle<fid_ep> rail::make_endpoint()
{
    fid_ep* ep = nullptr;
    must(::fi_endpoint(domain_.get(), info_.get(), &ep, nullptr), "fi_endpoint");
    handle<fid_ep> fresh{ep};
    must(::fi_ep_bind(ep, &events_->fid, 0), "fi_ep_bind to its event queue");
    must(::fi_ep_bind(ep, &queue_->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind to its completion queue");
    must(::fi_ep_bind(ep, &peers_->fid, 0), "fi_ep_bind to its address vector");
    must(::fi_enable(ep), "fi_enable");
    return fresh;
}

/// Opened again it has the port that it had, so that nobody need hear of it; another where that is taken: by a process
/// that was begun meanwhile, for what listens is not closed on exec.
void rail::open()
{
    if (opened_ != 0 && wears_out_queues()) open_queue(true);
    handle<fid_ep> fresh;
    try {
        fresh = make_endpoint();
    } catch (const system_error& e) {
        if (e.code() != boost::system::errc::address_in_use || !has_port(*info_) || address_.empty()) throw;
        forget_port(*info_);
        fresh = make_endpoint();
    }
    address_.resize(wire::most_rail_address);
    std::size_t n = address_.size();
    must(::fi_getname(&fresh->fid, address_.data(), &n), "fi_getname");
    address_.resize(n);
    if (has_port(*info_) && info_->src_addrlen == n) std::memcpy(info_->src_addr, address_.data(), n);

    endpoint_ = std::move(fresh);
    ++opened_;
    for (slot& s : slots_)
        if (s.what == slot::use::receive) receive(s);
}

std::vector<slot*> rail::unaccounted()
{
    std::vector<slot*> lost;
    for (slot& s : slots_) {
        if (s.what == slot::use::chunk || s.what == slot::use::serving) {
            s.what = slot::use::none;
            lost.push_back(&s);
        }
        if (s.what == slot::use::send) give_back(s);
    }
    in_flight_ = 0;
    return lost;
}

std::string rail::printable_address() const
{
    char text[128] = {};
    std::size_t n = sizeof text;
    ::fi_av_straddr(peers_.get(), address_.data(), text, &n);
    return {text, ::strnlen(text, sizeof text)};
}

bool rail::may_sleep() noexcept
{
    if (!endpoint_) return true; // nothing comes
    fid* const all[] = {&queue_->fid};
    return ::fi_trywait(fabric_.get(), const_cast<fid**>(all), 1) == 0;
}

std::optional<fi_addr_t> rail::know(wire::view address) noexcept
{
    // Its length is the provider's to say; a shorter one would be read past its end.
    if (address.size() != address_.size()) return std::nullopt;
    fi_addr_t a = FI_ADDR_UNSPEC;
    if (::fi_av_insert(peers_.get(), address.data(), 1, &a, 0, nullptr) != 1) return std::nullopt;
    return a;
}

void rail::forget(fi_addr_t a) noexcept { ::fi_av_remove(peers_.get(), &a, 1, 0); }

/// A provider that chooses keys itself may choose first what has just become free. Such keys are held, to nothing that
/// others may do, until it has come up with another.
handle<fid_mr> rail::enroll(const stretch& m, std::uint64_t remote) const
{
    if (remote == 0 || !(info_->domain_attr->mr_mode & FI_MR_PROV_KEY)) return enroll_once(m, remote);
    stretch little = m;
    little.length = 1;
    std::vector<handle<fid_mr>> held;
    for (;;) {
        do held.push_back(enroll_once(little, 0));
        while (is_spent(*held.back(), m));
        held.pop_back(); // the one to have, for who asks next
        handle<fid_mr> mr = enroll_once(m, remote);
        if (!is_spent(*mr, m)) return mr;
    }
}

bool rail::is_spent(const fid_mr& mr, const stretch& m) const
{
    const std::lock_guard lock{spent_mutex_};
    return std::any_of(spent_.begin(), spent_.end(), [&](const spent& s) {
        return s.key == mr.key && s.base < m.end() && m.base < s.end;
    });
}

void rail::end_key(handle<fid_mr> mr, const stretch& m) noexcept
{
    if (!mr) return;
    const std::lock_guard lock{spent_mutex_};
    if (info_->domain_attr->mr_mode & FI_MR_PROV_KEY) spent_.push_back({mr->key, m.base, m.end()});
    if (spent_.size() > most_spent) spent_.pop_front();
    mr.reset();
}

handle<fid_mr> rail::enroll_once(const stretch& m, std::uint64_t remote) const
{
    const iovec where{m.base, m.length};
    fi_mr_attr attr{};
    attr.mr_iov = &where;
    attr.iov_count = 1;
    attr.access = local_access | remote;
    if (m.gpu >= 0) {
        attr.iface = FI_HMEM_CUDA;
        attr.device.cuda = m.gpu;
    }
    for (int attempt = 0;; ++attempt) {
        attr.requested_key = draw_key(*info_);
        fid_mr* mr = nullptr;
        const int result = ::fi_mr_regattr(domain_.get(), &attr, 0, &mr);
        if (result == -FI_ENOKEY && attempt < 8) continue; // somebody has that one
        must(result, "fi_mr_regattr");
        return handle<fid_mr>{mr};
    }
}

std::uint64_t rail::base_of(const std::byte* memory) const noexcept
{
    return info_->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? reinterpret_cast<std::uintptr_t>(memory) : 0;
}

slot* rail::take(slot::use what) noexcept
{
    slot*& head = what == slot::use::send ? free_sends_ : free_chunks_;
    slot* const s = head;
    if (!s) return nullptr;
    head = s->next;
    spare_sends_ -= what == slot::use::send;
    s->what = what;
    ++in_flight_;
    return s;
}

void rail::give_back(slot& s) noexcept
{
    slot*& head = s.what == slot::use::send ? free_sends_ : free_chunks_;
    spare_sends_ += s.what == slot::use::send;
    if (in_flight_ != 0) --in_flight_;
    s.open.reset();
    s.number = 0;
    s.what = slot::use::none;
    s.by = nullptr;
    s.c = nullptr;
    s.next = std::exchange(head, &s);
}

std::vector<slot*> rail::in_use(slot::use what) noexcept
{
    std::vector<slot*> all;
    for (slot& s : slots_)
        if (s.what == what) all.push_back(&s);
    return all;
}

ssize_t rail::write(slot& s, slice from, fid_mr& local, fi_addr_t to, std::uint64_t at, bool confirmed) noexcept
{
    const iovec here{from.data(), from.length};
    void* desc = ::fi_mr_desc(&local);
    const fi_rma_iov there{at, from.length, s.key};
    const fi_msg_rma m{&here, &desc, 1, to, &there, 1, &s.context, 0};
    // Without immediate data: in rxm a write that carries some and is half received when its sender dies takes the
    // receiver along.
    return ::fi_writemsg(endpoint_.get(), &m, confirmed ? FI_DELIVERY_COMPLETE | FI_COMPLETION : FI_COMPLETION);
}

ssize_t rail::read(slot& s, slice to, fid_mr& local, fi_addr_t from, std::uint64_t at) noexcept
{
    const iovec here{to.data(), to.length};
    void* desc = ::fi_mr_desc(&local);
    const fi_rma_iov there{at, to.length, s.key};
    const fi_msg_rma m{&here, &desc, 1, from, &there, 1, &s.context, 0};
    return ::fi_readmsg(endpoint_.get(), &m, FI_COMPLETION);
}

ssize_t rail::send(slot& s, std::size_t length, fi_addr_t to) noexcept
{
    const iovec here{s.bytes, length};
    void* desc = ::fi_mr_desc(buffers_mr_.get());
    const fi_msg m{&here, &desc, 1, to, &s.context, 0};
    return ::fi_sendmsg(endpoint_.get(), &m, FI_COMPLETION);
}

void rail::receive(slot& s) noexcept
{
    const iovec here{s.bytes, message_bytes};
    void* desc = ::fi_mr_desc(buffers_mr_.get());
    const fi_msg m{&here, &desc, 1, FI_ADDR_UNSPEC, &s.context, 0};
    // One that cannot be posted is a buffer less; messages may be lost.
    ::fi_recvmsg(endpoint_.get(), &m, FI_COMPLETION);
}

slot* rail::slot_of(void* context) noexcept
{
    const auto first = reinterpret_cast<std::uintptr_t>(slots_.data());
    const auto at = reinterpret_cast<std::uintptr_t>(context);
    if (at < first || at >= first + slots_.size() * sizeof(slot) || (at - first) % sizeof(slot) != 0) return nullptr;
    slot& s = slots_[(at - first) / sizeof(slot)];
    return s.what == slot::use::none ? nullptr : &s;
}

int rail::reap_error(completion& c) noexcept
{
    char detail[128];
    fi_cq_err_entry e{};
    e.err_data = detail;
    e.err_data_size = sizeof detail;
    const ssize_t n = ::fi_cq_readerr(queue_.get(), &e, 0);
    if (n == -FI_EAGAIN) return 0;
    if (n < 0) return static_cast<int>(n);
    c = {slot_of(e.op_context), e.err == 0 ? FI_EIO : e.err, 0};
    return 1;
}

int rail::reap(std::span<completion> all) noexcept
{
    std::array<fi_cq_msg_entry, 16> entries;
    const ssize_t n = ::fi_cq_read(queue_.get(), entries.data(), std::min(all.size(), entries.size()));
    if (n == -FI_EAGAIN) return 0;
    if (n == -FI_EAVAIL) return reap_error(all[0]);
    if (n < 0) return static_cast<int>(n);
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
        all[i] = {slot_of(entries[i].op_context), 0, entries[i].len};
    return static_cast<int>(n);
}

} // namespace wye::ofi
