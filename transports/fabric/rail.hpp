// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <wye/driver.hpp>

#include "handles.hpp"
#include "provider.hpp"
#include "wire.hpp"

namespace wye::ofi {

struct path;
struct entry;

/// Memory to be registered. Comparing addresses it makes no difference where it is: CUDA's are this process's, too.
struct stretch {
    std::byte* base = nullptr;
    std::size_t length = 0;
    int gpu = -1; ///< whose memory it is; -1: DRAM

    stretch(std::byte* b, std::size_t n) noexcept : base{b}, length{n} {}
    explicit stretch(const segment& s) noexcept
        : base{s.base}, length{s.length}, gpu{s.tier == tier::vram ? s.device : -1}
    {
    }
    const std::byte* end() const noexcept { return base + length; }
};

/// An operation that was posted. Its address is what the completion brings back, so it stays where it is, and is used
/// again only once its completion has come: no id wraps, and no late completion meets another's operation.
struct slot {
    /// asked: a read that its owner is to write, of which the provider knows nothing. serving: what we write for one.
    enum class use : std::uint8_t { none, chunk, asked, serving, send, receive };

    fi_context2 context{};        ///< the provider's; first
    use what = use::none;
    std::uint32_t length = 0;     ///< bytes that were received
    slot* next = nullptr;         ///< of those that are free
    path* by = nullptr;           ///< what it was sent over
    chunk* c = nullptr;
    std::uint64_t key = 0;        ///< by which it goes in over there
    std::uint64_t number = 0;     ///< asked: 0 until it has been sent. serving: the peer's
    handle<fid_mr> open;          ///< asked: where the owner writes
    std::uint64_t token = 0;      ///< serving: of the grant that it is read by
    entry* to = nullptr;          ///< serving
    std::byte* bytes = nullptr;   ///< of a message
};

/// One NIC: fabric, domain, completion queue, address vector, and an endpoint that is closed to fence it and opened
/// anew.
class rail {
public:
    static constexpr std::size_t message_bytes = 1 + wire::most_message;

    /// Throws system_error. `descriptor`: its queue must have one to sleep on.
    rail(provider::rail, std::size_t most_posts, bool descriptor);

    /// The endpoint; where the provider has ports, at the address that it had before if nobody else has that now. The queue
    /// may be another then, and its descriptor. Throws system_error.
    void open();
    bool is_open() const noexcept { return endpoint_ != nullptr; }
    /// Which of the endpoints that it had; each has all that receives from its beginning.
    std::uint32_t endpoint() const noexcept { return opened_; }
    /// For who closes it; what was posted is flushed into the queue then.
    handle<fid_ep> detach() noexcept { return std::move(endpoint_); }
    /// Once it is closed and the queue is empty: what was posted for chunks, and nobody has said how it ended. Their
    /// slots are not used again. Those of messages are.
    std::vector<slot*> unaccounted();

    const std::string& name() const noexcept { return name_; }
    const fi_info& what() const noexcept { return *info_; }
    const wire::bytes& address() const noexcept { return address_; }
    std::string printable_address() const;
    int descriptor() const noexcept { return descriptor_; }
    /// Before sleeping on the descriptor (fi_trywait(3)).
    bool may_sleep() noexcept;

    /// A peer's rail.
    std::optional<fi_addr_t> know(wire::view address) noexcept;
    void forget(fi_addr_t) noexcept;

    /// For access from here (`remote` 0), or from others, too. Throws system_error. May be called on a helper thread.
    handle<fid_mr> enroll(const stretch&, std::uint64_t remote) const;
    /// What others had to that memory. They get no such key to any of it again: something that is late may come by it.
    void end_key(handle<fid_mr>, const stretch&) noexcept;
    /// Where memory begins for who writes to it.
    std::uint64_t base_of(const std::byte* memory) const noexcept;

    slot* take(slot::use) noexcept; ///< null: all are in use
    void give_back(slot&) noexcept;
    std::size_t spare_sends() const noexcept { return spare_sends_; }
    std::vector<slot*> in_use(slot::use) noexcept;
    std::size_t index_of(const slot& s) const noexcept { return static_cast<std::size_t>(&s - slots_.data()); }
    slot* at(std::size_t index) noexcept { return index < slots_.size() ? &slots_[index] : nullptr; }
    /// 0, or a negative error; -FI_EAGAIN: not now.
    /// Ends when it has been delivered, or, if not `confirmed`, when it has left.
    ssize_t write(slot&, slice from, fid_mr& local, fi_addr_t to, std::uint64_t at, bool confirmed) noexcept;
    ssize_t read(slot&, slice to, fid_mr& local, fi_addr_t from, std::uint64_t at) noexcept;
    ssize_t send(slot&, std::size_t length, fi_addr_t to) noexcept;
    void receive(slot&) noexcept;
    std::size_t in_flight() const noexcept { return in_flight_; } ///< chunks and messages out

    struct completion {
        slot* what = nullptr; ///< null: an error of nothing that was posted here
        int error = 0;        ///< positive
        std::size_t length = 0;
    };
    /// What has completed; how many. Negative: the queue itself is broken.
    int reap(std::span<completion>) noexcept;

private:
    struct spent {
        std::uint64_t key;
        const std::byte *base, *end; ///< of what it was a key to
    };
    handle<fid_mr> enroll_once(const stretch&, std::uint64_t remote) const;
    bool is_spent(const fid_mr&, const stretch&) const;
    slot* slot_of(void* context) noexcept;
    int reap_error(completion&) noexcept;
    void open_queue(bool descriptor);
    bool wears_out_queues() const noexcept;
    handle<fid_ep> make_endpoint();
    void make_slots(std::size_t posts);

    std::string name_;
    info info_;
    handle<fid_fabric> fabric_;
    handle<fid_domain> domain_;
    handle<fid_eq> events_;
    handle<fid_cq> queue_;
    handle<fid_av> peers_;
    std::vector<std::byte> buffers_;
    handle<fid_mr> buffers_mr_;
    handle<fid_ep> endpoint_;
    std::uint32_t opened_ = 0;
    wire::bytes address_;
    int descriptor_ = -1;
    std::vector<slot> slots_; // chunks, then sends, then receives; never resized
    slot* free_chunks_ = nullptr;
    slot* free_sends_ = nullptr;
    std::size_t in_flight_ = 0, spare_sends_ = 0;
    mutable std::mutex spent_mutex_; // the helper enrolls, too
    std::deque<spent> spent_;
};

} // namespace wye::ofi
