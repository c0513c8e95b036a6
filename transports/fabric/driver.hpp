// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <wye/libfabric.hpp>

#include "contact.hpp"
#include "nearness.hpp"
#include "off_loop.hpp"
#include "provider.hpp"
#include "rail.hpp"

namespace wye::ofi {

/// A descriptor of ours.
class descriptor {
public:
    explicit descriptor(int fd = -1) noexcept : fd_{fd} {}
    descriptor(descriptor&& o) noexcept : fd_{std::exchange(o.fd_, -1)} {}
    descriptor& operator=(descriptor&& o) noexcept
    {
        std::swap(fd_, o.fd_);
        return *this;
    }
    ~descriptor();
    int get() const noexcept { return fd_; }

private:
    int fd_;
};

/// libfabric under `wye::fabric`. docs/decisions/0015-fencing-writes.md says what it does about writes that are late.
class libfabric_driver final : public fabric {
public:
    explicit libfabric_driver(const libfabric_options&);
    ~libfabric_driver() override;

    std::string_view name() const noexcept override { return "fabric"; }
    wye::limits limits() const noexcept override { return rail_limits(0); }
    wye::limits rail_limits(std::uint32_t) const noexcept override;
    std::uint32_t rails() const noexcept override { return static_cast<std::uint32_t>(rails_.size()); }
    std::uint64_t rails_between(const slice& from, const slice& to) const noexcept override;
    std::uint64_t near_rails(const slice& from, const slice& to) const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    bool submit(chunk&) noexcept override;
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override;
    bool attentive() const noexcept override { return listens_; }
    int wait_handle() const noexcept override { return sleeps_ ? epoll_.get() : -1; }
    bool arm() noexcept override;
    bool may_lose_rails() const noexcept override { return true; }
    void fence(std::uint32_t rail, std::function<void()> fenced) override;
    void open_rail(std::uint32_t rail, std::function<void(error_code)> opened) override;
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
    void open_path(std::uint32_t rail, std::uint32_t peer, std::function<void(error_code)> opened) override;
    bool send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte> message) noexcept override;

    libfabric_facts facts() const;

private:
    /// Registered here, once for each rail.
    struct enlisted {
        std::vector<handle<fid_mr>> mrs; ///< by rail; null where it is not
    };
    /// How memory of ours goes.
    struct sort {
        std::uint64_t rails, near; ///< bits of those that it is registered with; and of those near it
        bool operator==(const sort&) const = default;
    };
    struct granted {
        segment* what = nullptr;
        wire::description described;
        std::vector<handle<fid_mr>> mrs;
        std::uint64_t changing = 0; ///< bits of rails where another key is being made
    };
    struct number {
        contact* of = nullptr; ///< null: free
        std::uint32_t out = 0; ///< chunks on loan
        bool severed = false;
    };
    struct ended {
        chunk* c;
        error_code error;
        std::size_t bytes;
    };
    struct arrival {
        std::uint32_t rail;
        std::uint32_t endpoint; ///< that it came to
        slot* in;
    };
    /// What is asked of a rail as a whole.
    struct station {
        std::function<void()> fenced;            ///< set while it is being fenced
        bool only_just = false;                  ///< what is out has been posted since: a look would be for nothing
        bool closing = false;                    ///< on the helper thread
        std::function<void(error_code)> opened;  ///< set while it is being tried
        steady::time_point opening_ends{};
    };
    struct admission {
        std::uint32_t number;
        steady::time_point ends;
        std::function<void(error_code, std::uint32_t)> admitted;
    };
    struct severing {
        std::uint32_t number;
        std::function<void()> severed;
    };
    struct renewed {
        std::shared_ptr<key_set> old;
        std::function<void()> drained;
    };
    /// What became of a read that a peer asked for, and is to hear of.
    struct verdict {
        contact* to;
        wire::served::one about;
    };
    using mrs = std::vector<handle<fid_mr>>;

    // driver.cpp: chunks and completions.
    void open_rails(std::vector<provider::rail>, const libfabric_options&, bool partly);
    void make_descriptors();
    bool watch(bool) noexcept;
    void reopen(std::uint32_t rail);
    std::optional<error_code> unfit(const chunk&) const noexcept;
    ssize_t post(path&, chunk&) noexcept;
    void wait_in(path&, chunk&) noexcept;
    void end(chunk&, error_code, std::size_t bytes) noexcept;
    std::size_t reap(std::uint32_t rail, turn) noexcept;
    void reap_all(std::uint32_t rail) noexcept;
    void completed(std::uint32_t rail, const rail::completion&) noexcept;
    std::size_t push_on() noexcept;
    bool push_on(path&, steady::time_point now) noexcept;
    std::size_t deliver() noexcept;
    std::size_t look(steady::time_point now) noexcept;
    void look_by(steady::time_point t) noexcept { due_ = std::min(due_, t); }
    void answer(std::function<void()> f) { answers_.push_back(std::move(f)); }
    void work(std::function<void()> slow, std::function<void()> finished);

    // reach.cpp: memory, peers and messages.
    std::uint64_t rights_of(access) const noexcept;
    void enroll(segment&, std::uint64_t on, std::uint64_t remote, std::function<void(error_code, mrs)>);
    std::uint32_t sort_of(sort);
    std::uint64_t every_rail() const noexcept { return ~std::uint64_t{0} >> (64 - rails_.size()); }
    void ungrant(granted&) noexcept;
    contact* find(std::uint64_t id) noexcept;
    contact& meet(wire::address);
    void part(contact&) noexcept;
    std::uint32_t number_for(contact&);
    std::size_t see_admissions(steady::time_point now) noexcept;
    std::size_t see_drained() noexcept;
    std::size_t hear(turn) noexcept;
    bool send_over(path&, const entry&, std::byte kind, std::span<const std::byte>) noexcept;
    bool send_over(path& p, std::byte kind, std::span<const std::byte> m) noexcept
    {
        return send_over(p, p.to->of(p), kind, m);
    }

    // serving.cpp: reads that are written by who has the bytes.
    ssize_t ask(path&, chunk&) noexcept;
    bool send_asks(path&, steady::time_point now) noexcept;
    chunk& answered(slot&) noexcept;
    void end_asks(path&) noexcept;
    void take(contact&, const wire::served&) noexcept;
    void take(contact&, const wire::wants&);
    bool serve(entry&, turn);
    std::optional<wire::served::one> write_wanted(entry&, const wire::wants::want&) noexcept;
    void failed_to_serve(entry&, std::uint64_t number) noexcept;
    void stop_serving(std::uint64_t token) noexcept;
    std::size_t serve_all(turn);

    // fencing.cpp: what breaks, and what is still under way then.
    void refused(path&, chunk&, int error) noexcept;
    void failed(path&, chunk&, std::uint64_t by_key, int error) noexcept;
    void urge(path&) noexcept;
    bool asked_about(const path&) const noexcept;
    void proved(path&) noexcept;
    void broke(path&) noexcept;
    void close_entry(contact&, entry&, bool known_again) noexcept;
    void endpoint_closed(std::uint32_t rail) noexcept;
    void begin_ping(path&) noexcept;
    std::size_t see_fences() noexcept;
    std::size_t see_severed() noexcept;

    // letters.cpp: what drivers say to each other of that.
    bool say(contact&, std::uint32_t attempt, std::uint32_t not_over, const wire::letter&) noexcept;
    wire::letter letter_to(const contact&) const;
    void heard(wire::view letter) noexcept;
    void take(contact&, const wire::ping&);
    std::optional<wire::bar> next_bar(path&, steady::time_point now) noexcept;
    void look_at_bars(steady::time_point now) noexcept;
    void open_to_ask() noexcept;
    std::optional<wire::barred> take(contact&, const wire::bar&);
    void rekey(granted&, std::uint32_t rail, std::function<void()> changed);
    bool answer_bar(contact&, const wire::bar&, wire::letter& with);
    void answer_to(contact&, const wire::letter&) noexcept;
    void take(contact&, const wire::barred&);
    void barred(path&, error_code) noexcept;

    template <class Act>
    void each_path(Act act)
    {
        for (auto& k : contacts_)
            for (path& p : k->paths) act(p);
    }

    const libfabric_options options_;
    std::string provider_;
    bool closes_paths_ = false, asks_for_reads_ = false, emulated_writes_ = false, gpu_memory_ = false, sleeps_ = false, listens_ = false;
    std::uint64_t id_here_ = 0, door_ = 0;
    std::vector<std::unique_ptr<rail>> rails_;
    nearness near_;
    std::vector<sort> sorts_;           // what `segment::reach` counts, from 1
    std::vector<station> stations_;
    descriptor epoll_, timer_;
    steady::time_point due_ = steady::time_point::max();
    bool timer_set_ = false;
    bool watched_ = false;         ///< queues wake who sleeps on `epoll_`
    std::uint32_t busy_polls_ = 0; ///< since it last slept
    std::chrono::milliseconds lull_{}; ///< since something other than the timer woke the loop

    std::map<const segment*, std::unique_ptr<enlisted>> enlisted_;
    std::map<std::uint64_t, granted> granted_; // by id
    std::unordered_map<std::uint64_t, granted*> by_token_;
    std::uint64_t last_grant_ = 0, last_bar_ = 0, last_ask_ = 0;
    std::vector<std::unique_ptr<contact>> contacts_, fading_;
    std::vector<number> numbers_;       // from 1
    std::vector<admission> admissions_;
    std::vector<severing> severings_;
    std::vector<renewed> renewed_;
    std::vector<path*> eager_;          // that have something to post, or to find out
    bool fresh_ = false;                // they have since they were tried
    std::vector<entry*> hungry_;        // that want something written
    std::vector<verdict> verdicts_;
    std::vector<ended> over_;
    std::deque<arrival> arrived_;
    std::vector<std::function<void()>> answers_;
    std::uint64_t lost_rails_ = 0;      // to be told
    std::uint64_t strays_ = 0;          // completions of nothing that was posted
    std::uint32_t first_ = 0;           // whose turn it is to be polled first
    std::unique_ptr<off_loop> off_loop_;
};

} // namespace wye::ofi
