// SPDX-License-Identifier: Apache-2.0
#include "raw_fabric.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/uio.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "statistics.hpp"

namespace perf {

namespace {

void must(int result, const char* what)
{
    if (result < 0) throw std::runtime_error{std::string{what} + ": " + ::fi_strerror(-result)};
}

fi_info* find_info(const char* provider, const char* from)
{
    fi_info* const h = ::fi_allocinfo();
    h->caps = FI_MSG | FI_RMA;
    h->mode = FI_CONTEXT | FI_CONTEXT2;
    h->ep_attr->type = FI_EP_RDM;
    h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_VIRT_ADDR;
    h->domain_attr->threading = FI_THREAD_DOMAIN;
    h->fabric_attr->prov_name = ::strdup(provider);
    fi_info* found = nullptr;
    const int result = ::fi_getinfo(FI_VERSION(1, 17), from, nullptr, from ? FI_SOURCE : 0, h, &found);
    ::fi_freeinfo(h);
    must(result, "fi_getinfo");
    return found;
}

/// One end.
struct side {
    side(std::size_t bytes, const char* provider, const char* from) : info{find_info(provider, from)}, memory(bytes)
    {
        must(::fi_fabric(info->fabric_attr, &fabric, nullptr), "fi_fabric");
        must(::fi_domain(fabric, info, &domain, nullptr), "fi_domain");
        fi_cq_attr queue_attr{};
        queue_attr.format = FI_CQ_FORMAT_MSG;
        must(::fi_cq_open(domain, &queue_attr, &queue, nullptr), "fi_cq_open");
        fi_av_attr av_attr{};
        must(::fi_av_open(domain, &av_attr, &peers, nullptr), "fi_av_open");
        must(::fi_endpoint(domain, info, &endpoint, nullptr), "fi_endpoint");
        must(::fi_ep_bind(endpoint, &queue->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
        must(::fi_ep_bind(endpoint, &peers->fid, 0), "fi_ep_bind");
        must(::fi_enable(endpoint), "fi_enable");
        const iovec all{memory.data(), bytes};
        fi_mr_attr mr_attr{};
        mr_attr.mr_iov = &all;
        mr_attr.iov_count = 1;
        mr_attr.access = FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
        mr_attr.requested_key = 1;
        must(::fi_mr_regattr(domain, &mr_attr, 0, &mr), "fi_mr_regattr");
    }
    ~side()
    {
        for (fid* const f : {&endpoint->fid, &mr->fid, &peers->fid, &queue->fid, &domain->fid, &fabric->fid})
            ::fi_close(f);
        ::fi_freeinfo(info);
    }
    fi_addr_t know(const side& other)
    {
        char name[64];
        std::size_t n = sizeof name;
        must(::fi_getname(&other.endpoint->fid, name, &n), "fi_getname");
        fi_addr_t a = FI_ADDR_UNSPEC;
        if (::fi_av_insert(peers, name, 1, &a, 0, nullptr) != 1) throw std::runtime_error{"fi_av_insert"};
        return a;
    }

    fi_info* info;
    std::vector<std::byte> memory;
    fid_fabric* fabric = nullptr;
    fid_domain* domain = nullptr;
    fid_cq* queue = nullptr;
    fid_av* peers = nullptr;
    fid_ep* endpoint = nullptr;
    fid_mr* mr = nullptr;
};

} // namespace

struct raw_fabric::parts {
    parts(std::size_t bytes, const char* provider, const char* at)
        : from{bytes, provider, at}, to{bytes, provider, at}, there{from.know(to)}
    {
    }

    bool post(std::size_t at, std::size_t bytes, fi_context2& c, bool told)
    {
        const iovec here{from.memory.data() + at, bytes};
        void* desc = ::fi_mr_desc(from.mr);
        const bool absolute = to.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
        const std::uint64_t base = absolute ? reinterpret_cast<std::uintptr_t>(to.memory.data()) : 0;
        const fi_rma_iov target{base + at, bytes, ::fi_mr_key(to.mr)};
        const fi_msg_rma m{&here, &desc, 1, there, &target, 1, &c, at};
        const std::uint64_t immediate = told ? FI_REMOTE_CQ_DATA : 0;
        const ssize_t result = ::fi_writemsg(from.endpoint, &m, FI_DELIVERY_COMPLETE | FI_COMPLETION | immediate);
        if (result == -FI_EAGAIN) return false;
        must(static_cast<int>(result), "fi_writemsg");
        return true;
    }

    side from, to;
    fi_addr_t there;
};

raw_fabric::raw_fabric(std::size_t bytes, const char* provider, const char* at)
    : parts_{std::make_unique<parts>(bytes, provider, at)}
{
}
raw_fabric::~raw_fabric() = default;

double raw_fabric::write(std::size_t bytes, unsigned window, std::size_t operations, bool told)
{
    std::vector<fi_context2> contexts(window);
    std::vector<unsigned> free;
    for (unsigned i = 0; i < window; ++i) free.push_back(i);
    fi_cq_msg_entry done[16];
    const auto begin = clock::now();
    for (std::size_t posted = 0, over = 0, heard = 0; over < operations || (told && heard < operations);) {
        while (posted < operations && !free.empty()) {
            if (!parts_->post(free.back() * bytes, bytes, contexts[free.back()], told)) break;
            free.pop_back();
            ++posted;
        }
        const ssize_t n = ::fi_cq_read(parts_->from.queue, done, 16);
        if (n < 0 && n != -FI_EAGAIN) throw std::runtime_error{"fi_cq_read: an operation failed"};
        for (ssize_t i = 0; i < n; ++i)
            free.push_back(static_cast<unsigned>(static_cast<fi_context2*>(done[i].op_context) - contexts.data()));
        if (n > 0) over += static_cast<std::size_t>(n);
        const ssize_t there = ::fi_cq_read(parts_->to.queue, done, 16); // which is what moves its end
        if (there > 0) heard += static_cast<std::size_t>(there);
    }
    return seconds_since(begin);
}

} // namespace perf
