// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sys/uio.h>

#include <wye/same_host.hpp>

#include "box.hpp"
#include "contact.hpp"
#include "keeper.hpp"
#include "mappings.hpp"
#include "wire.hpp"

namespace wye::nearby {

using steady = std::chrono::steady_clock;

/// `wye::fabric` among the processes of one machine. docs/decisions/0020-same-host.md says why each side writes its own
/// memory only.
class nearby_driver final : public fabric {
public:
    explicit nearby_driver(const same_host_options&);
    ~nearby_driver() override;

    std::string_view name() const noexcept override { return "same_host"; }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    bool move_at_once(const slice& from, const slice& to) noexcept override;
    bool submit(chunk&) noexcept override;
    void flush() noexcept override;
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override;
    bool attentive() const noexcept override { return listens_; }
    int wait_handle() const noexcept override { return epoll_.get(); }
    bool arm() noexcept override;
    void enlist(segment&, std::function<void(error_code)> done) override;
    void dismiss(segment&) noexcept override;

    std::vector<std::byte> address() override;
    void grant(segment&, access, std::function<void(error_code, key)>) override;
    void withdraw(std::uint64_t id) noexcept override;
    void cut_off(std::uint32_t peer) noexcept override;
    void admit(std::span<const std::byte> address, std::function<void(error_code, std::uint32_t)>) override;
    void sever(std::uint32_t peer, std::function<void()>) override;
    std::unique_ptr<segment> import(std::uint32_t peer, wye::tier, std::int32_t device, std::uint64_t length,
                                    std::span<const std::byte> description) override;
    bool renew(segment&, std::span<const std::byte> description, std::function<void()> drained) override;
    bool send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte> message) noexcept override;

private:
    struct granted {
        segment* what = nullptr; ///< null: free
        description is;
    };
    /// Bytes that a peer wants written here, from where they lie in its memory.
    struct wanted {
        std::uint64_t token, offset, source, length, done;
    };
    /// The same from memory of its GPUs. A device takes it, and others meanwhile.
    struct wanted_of_gpu {
        std::uint64_t token, offset, source, length;
        export_name what;
        status outcome; ///< 0: not yet
    };
    /// A slot of ours, as we see it.
    struct inbound {
        bool known = false;     ///< its claim was read
        claim by;
        pid_t pid = 0;
        contact* of = nullptr;  ///< null: not admitted
        std::uint64_t head = 0;
        std::uint64_t asked = 0, pulled = 0; ///< counts of what it wants
        std::vector<wanted> pulls;           ///< by count
        std::uint64_t gpu_asked = 0, gpu_begun = 0, gpu_pulled = 0;
        std::vector<wanted_of_gpu> gpu_pulls;
    };
    /// A copy that a device of ours is at: a read of ours, or what a peer wants written here.
    struct moving : gpu_copy {
        contact* of = nullptr;  ///< null: none
        mapping* by = nullptr;
        chunk* c = nullptr;     ///< null: a peer's
        std::uint32_t slot = 0; ///< of that
        std::uint64_t count = 0, token = 0;
    };
    /// Which of our GPUs read memory of a peer's GPU, and write there. Bits by ordinal.
    struct gpu_sort {
        std::uint32_t reads, writes;
        friend bool operator==(const gpu_sort&, const gpu_sort&) = default;
    };
    struct ended {
        chunk* c;
        error_code error;
    };
    struct renewed {
        std::shared_ptr<nearby::key> old;
        std::function<void()> drained;
    };
    /// Whom its own process has yet to declare to Yama, or us.
    struct admission {
        std::unique_ptr<contact> who;
        directions at;
        steady::time_point ends;
        std::function<void(error_code, std::uint32_t)> admitted;
    };

    // driver.cpp: chunks, and what is posted.
    contact* reached(std::uint32_t peer) const noexcept;
    std::optional<error_code> unfit(const chunk&) const noexcept;
    void end(chunk&, error_code) noexcept;
    static void finish(chunk&, error_code) noexcept;
    bool post(contact&, chunk&) noexcept;
    bool post_put(contact&, chunk&) noexcept;
    bool post_pull(contact&, chunk&) noexcept;
    record* ask(contact&, request_line&, answer_line, chunk&) noexcept;
    std::size_t reap(contact&) noexcept;
    std::size_t reap(contact&, request_line&, answer_line) noexcept;
    std::size_t push_on(contact&) noexcept;
    std::size_t deliver() noexcept;
    std::size_t look(turn) noexcept;
    bool lingers() noexcept;
    bool anything_new() const noexcept;
    void wake_up() noexcept;
    void answer(std::function<void()> f) { answers_.push_back(std::move(f)); }

    // reads.cpp
    std::size_t read(contact&, std::size_t& budget, turn) noexcept;
    void took(contact&, std::size_t got, std::size_t asked) noexcept;
    static bool good(const contact&, const nearby::key&) noexcept;
    static error_code why_not(const contact&) noexcept;

    // inbound.cpp: what others say and write.
    std::size_t hear(turn) noexcept;
    bool hear(std::uint32_t slot, turn, std::size_t& heard) noexcept;
    bool know(std::uint32_t slot) noexcept;
    void forget(std::uint32_t slot) noexcept;
    void shut(std::uint32_t slot) noexcept;
    bool take(std::uint32_t slot, const record&, record& there) noexcept;
    status put(const inbound&, const record&, const std::byte* bytes) noexcept;
    const granted* writable(tier, std::uint64_t token, std::uint64_t offset, std::uint64_t length, status&) const noexcept;
    std::byte* place(std::uint64_t token, std::uint64_t offset, std::uint64_t length, status&) const noexcept;
    std::size_t pull(turn, std::size_t& budget) noexcept;
    std::size_t pull_some(std::uint32_t slot) noexcept;
    void pulled(std::uint32_t slot, status) noexcept;
    void sweep() noexcept;

    // gpu.cpp: the same between GPUs.
    enum ability : std::uint32_t { copied_to = 1, opened = 2 }; // of memory of ours; see `able`
    std::uint32_t able(std::uint32_t what) const noexcept { return what << 2 * id(); }
    void show(segment&) noexcept;
    void hide(segment&) noexcept;
    void try_gpus(contact&) noexcept;
    std::uint32_t reach_of(contact&, std::int32_t device) noexcept;
    bool carries_between_gpus(const slice& from, const slice& to) const noexcept;
    bool post_gpu_pull(contact&, chunk&) noexcept;
    std::size_t begin_reads(contact&) noexcept;
    std::size_t begin_pulls() noexcept;
    bool begin_pull(std::uint32_t slot) noexcept;
    bool begin(const moving&, export_name, std::uint64_t at, status&) noexcept;
    std::size_t see_moved(bool in_poll) noexcept;
    void moved(const moving&, bool in_poll) noexcept;
    void gpu_pulled(std::uint32_t slot) noexcept;
    void drop_gpu_pulls(std::uint32_t slot) noexcept;
    void settle(const std::function<bool(const moving&)>& any) noexcept;
    void let_go_of_gpus() noexcept;

    // reach.cpp: who others are.
    std::unique_ptr<contact> meet(const directions&, error_code&);
    error_code prove(const contact&, const directions&) const noexcept;
    error_code claim_slot(contact&, const directions&) noexcept;
    std::uint32_t admitted(std::unique_ptr<contact>, const directions&);
    void refuse(identity) noexcept;
    std::size_t see_admissions() noexcept;
    bool declare(pid_t) noexcept;
    std::size_t see_lost() noexcept;
    std::size_t see_gone() noexcept;
    std::size_t see_drained() noexcept;
    void end_all(contact&, std::uint32_t number) noexcept;
    void watch(int fd, bool) noexcept;

    const same_host_options options_;
    const host_identity host_;
    const identity id_, door_, nonce_;
    box mine_;
    descriptor box_fd_, knocks_, knocker_, bell_, epoll_;
    std::unique_ptr<keeper> keeper_;
    bool listens_ = false;

    std::vector<granted> granted_;            // by number
    std::vector<std::uint32_t> free_grants_;
    std::vector<std::unique_ptr<contact>> contacts_, gone_;
    std::vector<contact*> numbers_;           // from 1, never given twice
    std::vector<inbound> inbound_;            // by slot
    std::array<std::uint64_t, most_slots / 64> pending_{}; // bits of slots to look at
    std::vector<std::uint32_t> pulling_;      // slots, whose turn comes first
    std::vector<std::uint32_t> gpu_pulling_;  // the same
    std::vector<admission> admissions_;
    std::vector<renewed> renewed_;
    std::vector<ended> over_;
    std::vector<std::function<void()>> answers_;
    std::vector<std::byte> letter_;
    gpu_sharing* const gpus_;                 // null: there are none
    exports exports_;
    std::uint32_t with_memory_ = 0;           // bits of our GPUs
    std::vector<gpu_sort> sorts_;             // by `segment::reach` - 1
    std::deque<moving> moving_;
    gpu_copy* idle_ = nullptr;                // of those
    std::size_t moving_now_ = 0;
    pid_t declared_ = 0;                      // to Yama
    bool armed_ = false, suspects_ = false;
    bool has_others_ = false;                // somebody of another process is admitted
    std::size_t slice_ = 0;                   // at most, by one call in this poll
    std::uint32_t polls_ = 0, idle_polls_ = 0;
    steady::time_point quiet_since_{};        // while others owe us something
};

} // namespace wye::nearby
