// SPDX-License-Identifier: Apache-2.0
#include "nic.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include <rdma/fi_errno.h>

#include "efa_standin.hpp"

namespace efa_standin {

namespace {

/// Posted, and neither there nor dropped.
struct flight {
    operation what;
    std::uint64_t from = 0, to = 0;
    std::vector<std::byte> bytes; ///< of a write, which its sender may have back before it arrives
    bool told = false;            ///< who posted it believes it over
};

std::mutex lock;
std::map<std::uint64_t, endpoint*> all;
std::vector<flight> wire;
std::uint64_t last_id = 0;
bool errors_of_1_17 = false;
std::size_t gpu_memory_most = 0; ///< bytes of it in one piece that are taken
thread_local std::size_t registered = 0;
const bool moves = [] {
    const char* const value = std::getenv("EFA_STANDIN_MOVE");
    return !value || std::string_view{value} != "0";
}();

endpoint* find(std::uint64_t id) noexcept
{
    const auto it = all.find(id);
    return it == all.end() ? nullptr : it->second;
}

int error(int of_2_x) noexcept { return errors_of_1_17 ? FI_EIO : of_2_x; }

void complete(endpoint& e, const operation& o, int with)
{
    const std::uint64_t flags = o.what == kind::message ? FI_SEND | FI_MSG
                                : FI_RMA | (o.what == kind::write ? FI_WRITE : FI_READ);
    e.done->all.push_back({o.context, flags, 0, with});
}

void take_in(endpoint& to)
{
    while (!to.early.empty() && !to.receives.empty()) {
        const endpoint::buffer into = to.receives.front();
        const std::vector<std::byte> bytes = std::move(to.early.front());
        to.receives.pop_front();
        to.early.pop_front();
        const std::size_t n = std::min(bytes.size(), into.length);
        std::memcpy(into.bytes, bytes.data(), n);
        to.done->all.push_back({into.context, FI_RECV | FI_MSG, n, bytes.size() > n ? FI_ETRUNC : 0});
    }
}

/// Where it goes over there, if its key opens that.
std::byte* reach(const endpoint& to, const operation& o) noexcept
{
    const memory* const m = o.key < to.of->keys.size() ? to.of->keys[o.key] : nullptr;
    if (!m || !(m->access & (o.what == kind::write ? FI_REMOTE_WRITE : FI_REMOTE_READ))) return nullptr;
    const std::uint64_t offset = o.at - reinterpret_cast<std::uintptr_t>(m->base);
    return offset > m->length || o.length > m->length - offset ? nullptr : m->base + offset;
}

/// What became of it: 0 or an error. `here`: its bytes, or room for them.
int arrive(const operation& o, endpoint* to, std::byte* here)
{
    if (!to) return error(FI_ENOTCONN);
    if (o.what == kind::message) {
        to->early.emplace_back(here, here + o.length);
        take_in(*to);
        return 0;
    }
    std::byte* const there = reach(*to, o);
    if (!there) return error(FI_EINVAL);
    std::memcpy(o.what == kind::write ? there : here, o.what == kind::write ? here : there, o.length);
    return 0;
}

std::uint64_t named(const char* name) noexcept
{
    constexpr std::string_view scheme = "efa_standin://";
    const std::string_view all_of_it{name};
    return all_of_it.starts_with(scheme) ? std::strtoull(name + scheme.size(), nullptr, 10) : 0;
}

/// Who posted it hears of its end, if it is there and has not.
void tell(flight& f, int with)
{
    endpoint* const from = std::exchange(f.told, true) ? nullptr : find(f.from);
    if (!from) return;
    --from->on_the_wire;
    complete(*from, f.what, with);
}

} // namespace

std::string print(std::uint64_t id) { return "efa_standin://" + std::to_string(id); }

bool has_gpu_memory()
{
    const std::lock_guard hold{lock};
    return gpu_memory_most != 0;
}

bool takes(const fi_mr_attr& a, bool gpu_memory)
{
    const std::lock_guard hold{lock};
    return gpu_memory && a.iface == FI_HMEM_CUDA && a.mr_iov[0].iov_len <= gpu_memory_most;
}

/// The lowest that is free: no key is used up, and the one that has just ended is the next.
memory& enroll(domain& d, const fi_mr_attr& a)
{
    const std::lock_guard hold{lock};
    const auto free = std::find(d.keys.begin(), d.keys.end(), nullptr);
    const auto at = free == d.keys.end() ? d.keys.insert(free, nullptr) : free;
    memory& m = *(*at = new memory{});
    ++registered;
    m.of = &d;
    m.base = static_cast<std::byte*>(a.mr_iov[0].iov_base);
    m.length = a.mr_iov[0].iov_len;
    m.access = a.access;
    m.key = static_cast<std::uint64_t>(at - d.keys.begin());
    m.mem_desc = &m;
    return m;
}

void forget(memory& m) noexcept
{
    const std::lock_guard hold{lock};
    m.of->keys[m.key] = nullptr;
    delete &m;
}

void enable(endpoint& e)
{
    const std::lock_guard hold{lock};
    e.id = ++last_id;
    e.enabled = true;
    all[e.id] = &e;
}

/// What it had written may still arrive; where it was to read into is left alone.
void close(endpoint& e) noexcept
{
    const std::lock_guard hold{lock};
    all.erase(e.id);
    std::erase_if(wire, [&](const flight& f) { return f.from == e.id && f.what.what == kind::read; });
    delete &e;
}

ssize_t post(endpoint& e, const operation& o)
{
    const std::lock_guard hold{lock};
    if (e.on_the_wire + e.done->unread() >= posts) return -FI_EAGAIN;
    const bool bytes_move = o.what == kind::message;
    if (!moves && !bytes_move) {
        complete(e, o, 0);
        return 0;
    }
    if (!bytes_move) e.carried += o.length;
    const std::uint64_t to = o.to < e.reaches->known.size() ? e.reaches->known[o.to] : 0;
    if (to == 0) return -FI_EINVAL;
    if (!e.held || bytes_move) {
        complete(e, o, arrive(o, find(to), o.here));
        return 0;
    }
    flight& f = wire.emplace_back(flight{o, e.id, to, {}, false});
    if (o.what == kind::write) f.bytes.assign(o.here, o.here + o.length);
    ++e.on_the_wire;
    return 0;
}

void receive(endpoint& e, const endpoint::buffer& b)
{
    const std::lock_guard hold{lock};
    e.receives.push_back(b);
    take_in(e);
}

ssize_t reap(queue& q, fi_cq_msg_entry* into, std::size_t most) noexcept
{
    const std::lock_guard hold{lock};
    std::size_t n = 0;
    for (; n < most && q.unread() != 0 && q.all[q.next].error == 0; ++n, ++q.next)
        into[n] = {q.all[q.next].context, q.all[q.next].flags, q.all[q.next].length};
    if (n == 0) return q.unread() != 0 ? -FI_EAVAIL : -FI_EAGAIN;
    if (q.unread() == 0) {
        q.all.clear();
        q.next = 0;
    }
    return static_cast<ssize_t>(n);
}

ssize_t reap_error(queue& q, fi_cq_err_entry& into) noexcept
{
    const std::lock_guard hold{lock};
    if (q.unread() == 0 || q.all[q.next].error == 0) return -FI_EAGAIN;
    const completion& c = q.all[q.next++];
    into.op_context = c.context;
    into.flags = c.flags;
    into.len = 0;
    into.err = into.prov_errno = c.error;
    into.err_data_size = 0;
    return 1;
}

fi_addr_t insert(peers& p, std::uint64_t id)
{
    const std::lock_guard hold{lock};
    const auto free = std::find(p.known.begin(), p.known.end(), 0u);
    const auto at = free == p.known.end() ? p.known.insert(free, 0) : free;
    *at = id;
    return static_cast<fi_addr_t>(at - p.known.begin());
}

void remove(peers& p, fi_addr_t a) noexcept
{
    const std::lock_guard hold{lock};
    if (a < p.known.size()) p.known[a] = 0;
}

} // namespace efa_standin

using namespace efa_standin;

void efa_standin_hold(const char* name)
{
    const std::lock_guard hold{lock};
    if (endpoint* const e = find(named(name))) e->held = true;
}

std::size_t efa_standin_arrive(const char* name)
{
    const std::lock_guard hold{lock};
    const std::uint64_t from = named(name);
    if (endpoint* const e = find(from)) e->held = false;
    std::size_t in = 0;
    for (flight& f : wire) {
        if (f.from != from) continue;
        // What its reader has given up is nobody's any more.
        if (f.what.what == kind::read && f.told) continue;
        const int became = arrive(f.what, find(f.to), f.what.what == kind::write ? f.bytes.data() : f.what.here);
        in += became == 0;
        tell(f, became);
    }
    std::erase_if(wire, [&](const flight& f) { return f.from == from; });
    return in;
}

std::size_t efa_standin_give_up(const char* from, const char* to)
{
    const std::lock_guard hold{lock};
    std::size_t n = 0;
    for (flight& f : wire) {
        if (f.from != named(from) || f.to != named(to) || f.told) continue;
        tell(f, error(FI_ECONNABORTED));
        ++n;
    }
    return n;
}

std::size_t efa_standin_registered_here() { return registered; }

void efa_standin_reach_gpu_memory(std::size_t most)
{
    const std::lock_guard hold{lock};
    gpu_memory_most = most;
}

std::size_t efa_standin_carried(const char* name)
{
    const std::lock_guard hold{lock};
    const endpoint* const e = find(named(name));
    return e ? e->carried : 0;
}

std::size_t efa_standin_held(const char* name)
{
    const std::lock_guard hold{lock};
    return static_cast<std::size_t>(
        std::count_if(wire.begin(), wire.end(), [&](const flight& f) { return f.from == named(name); }));
}

void efa_standin_errors_of_1_17(bool yes)
{
    const std::lock_guard hold{lock};
    errors_of_1_17 = yes;
}
