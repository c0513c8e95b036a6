// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

/// What the calls of provider.cpp do: memory, endpoints, and what is under way between them. Everything here is guarded
/// by one lock, which each call takes.
namespace efa_standin {

constexpr std::size_t posts = 256;       ///< of one endpoint, that have no completion yet
constexpr std::size_t address_bytes = 32; ///< as efa's

using address = std::array<std::uint64_t, address_bytes / 8>; ///< the first of them is all there is

struct domain;

struct memory : fid_mr {
    domain* of = nullptr;
    std::byte* base = nullptr;
    std::size_t length = 0;
    std::uint64_t access = 0;
};

struct domain : fid_domain {
    fid_fabric* of = nullptr;
    bool gpu_memory = false;
    std::vector<memory*> keys; ///< by key; null: free
};

struct completion {
    void* context = nullptr;
    std::uint64_t flags = 0;
    std::size_t length = 0;
    int error = 0;
};

struct queue : fid_cq {
    std::vector<completion> all;
    std::size_t next = 0; ///< of them to be read

    std::size_t unread() const noexcept { return all.size() - next; }
};

struct peers : fid_av {
    std::vector<std::uint64_t> known; ///< 0: free
};

struct endpoint : fid_ep {
    struct buffer {
        void* context;
        std::byte* bytes;
        std::size_t length;
    };
    domain* of = nullptr;
    queue* done = nullptr;
    peers* reaches = nullptr;
    std::uint64_t id = 0;
    bool enabled = false, held = false;
    std::size_t on_the_wire = 0;
    std::size_t carried = 0; ///< bytes that were posted to be written or read
    std::deque<buffer> receives;
    std::deque<std::vector<std::byte>> early; ///< messages that came before there was a buffer
};

enum class kind : std::uint8_t { write, read, message };

struct operation {
    kind what;
    void* context;
    std::byte* here;
    std::size_t length;
    fi_addr_t to;
    std::uint64_t at, key; ///< over there
};

/// Whether its NICs reach GPUs' memory, and that memory of one.
bool has_gpu_memory();
bool takes(const fi_mr_attr&, bool gpu_memory);
memory& enroll(domain&, const fi_mr_attr&);
void forget(memory&) noexcept;

void enable(endpoint&);
void close(endpoint&) noexcept;
/// 0, or a negative error.
ssize_t post(endpoint&, const operation&);
void receive(endpoint&, const endpoint::buffer&);

/// As fi_cq_read(3) and fi_cq_readerr(3).
ssize_t reap(queue&, fi_cq_msg_entry*, std::size_t most) noexcept;
ssize_t reap_error(queue&, fi_cq_err_entry&) noexcept;

fi_addr_t insert(peers&, std::uint64_t id);
void remove(peers&, fi_addr_t) noexcept;

std::string print(std::uint64_t id);

} // namespace efa_standin
