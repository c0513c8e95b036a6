// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <wye/fabric.hpp>

#include "universe.hpp"

namespace wye::sim::detail {

/// Memory of another host's agent, and the key to it.
struct remote final : segment {
    remote(wye::tier t, machine& m, std::uint64_t k) noexcept : segment{t}, there{m}, key{k} {}
    std::string_view describe() const noexcept override { return there.name; }

    machine& there;
    std::uint64_t key;
};

inline std::uint64_t ns(time_point t) noexcept { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

inline const remote* remote_of(const slice& s) noexcept
{
    return s.of->peer ? static_cast<const remote*>(s.of) : nullptr;
}

/// An agent's way to its host's rails: an endpoint on each.
class rails_driver final : public fabric {
public:
    explicit rails_driver(machine&);
    ~rails_driver() override;

    std::string_view name() const noexcept override { return "nic"; }
    wye::limits limits() const noexcept override { return rail_limits(0); }
    wye::limits rail_limits(std::uint32_t r) const noexcept override
    {
        wye::limits l = nic_.model.limits;
        l.latency = 2 * nic_.rails[r].model.latency;
        l.bytes_per_second = nic_.rails[r].model.bytes_per_second;
        return l;
    }
    std::uint32_t rails() const noexcept override { return static_cast<std::uint32_t>(nic_.rails.size()); }
    std::uint64_t rails_between(const slice& from, const slice& to) const noexcept override;
    std::uint64_t near_rails(const slice& from, const slice& to) const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const tier last = nic_.model.hmem ? tier::vram : tier::dram;
        const auto mine = [&](const slice& s) { return s.of->home ? s.of->home == this : s.tier() <= last; };
        return mine(from) && mine(to) && !remote_of(from) != !remote_of(to);
    }
    bool submit(chunk&) noexcept override;
    void flush() noexcept override { unflushed_ = false; }
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return pending_ != 0; }
    void enlist(segment& s, std::function<void(error_code)> done) override
    {
        enlisted_.insert(&s);
        done({});
    }
    void dismiss(segment& s) noexcept override;
    bool may_lose_rails() const noexcept override { return true; }
    void fence(std::uint32_t, std::function<void()> fenced) override;
    void open_rail(std::uint32_t, std::function<void(error_code)> opened) override;
    void open_path(std::uint32_t rail, std::uint32_t peer, std::function<void(error_code)> opened) override;

    // Others (fabric.cpp).
    std::vector<std::byte> address() override;
    bool attentive() const noexcept override { return listens_; }
    void grant(segment&, access, std::function<void(error_code, key)>) override;
    void withdraw(std::uint64_t id) noexcept override;
    void admit(std::span<const std::byte> address, std::function<void(error_code, std::uint32_t)>) override;
    void sever(std::uint32_t peer, std::function<void()>) override;
    std::unique_ptr<segment> import(std::uint32_t peer, wye::tier, std::int32_t device, std::uint64_t length,
                                    std::span<const std::byte> description) override;
    bool renew(segment&, std::span<const std::byte>, std::function<void()> drained) override;
    bool send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte>) noexcept override;
    /// Memory of another host, whose agent knows nothing of it.
    std::unique_ptr<segment> reach(machine& there, const slice& theirs);
    void stall(time_point until) noexcept { stalled_until_ = until; } ///< nobody polls it before
    void die() noexcept;    ///< as when its process is killed: nothing that is under way arrives
    void bury() noexcept;   ///< and what it still has ends, since somebody will look

private:
    struct loan {
        chunk* c;
        std::uint32_t rail;
        std::uint64_t bytes;
        std::uint64_t key = 0;   ///< by which it comes in over there
        std::uint32_t peer = 0;
        error_code error{};
        bool over = false;
    };
    /// Another agent, as it is known here.
    struct acquaintance {
        std::uint64_t endpoint = 0;
        machine* on = nullptr;
    };
    struct waiting_for_old_key {
        std::uint64_t key;
        std::function<void()> drained;
    };
    struct endpoint {
        bool open = true;
        std::uint64_t epoch = 0; ///< what was posted in an earlier one touches nothing
    };

    void inspect(const chunk&);
    void tempt(std::uint32_t rail);
    bool refuses(const rail&) noexcept;
    void let_go(const loan&) noexcept;
    time_point book(rail&, chunk&, double speed);
    void on_rail(const loan&, time_point, std::function<void()>);
    void land(std::uint64_t id);
    void arrive(std::uint64_t id);
    void break_off(std::uint64_t id);
    void turn_away(std::uint64_t id);
    void end(std::uint64_t id, error_code);
    void later(duration, std::function<void()>);
    void answer(std::function<void()> f)
    {
        answers_.push_back(std::move(f));
    }
    hazard* strikes(fault_kind k) const noexcept { return machine_.in.strikes(k, nic_.self); }
    static duration some(hazard& h) noexcept
    {
        return duration{static_cast<duration::rep>(h.random.below(static_cast<std::uint64_t>(h.fault.extent.count())))};
    }
    void complain(const char* what) const { machine_.in.complain("nic: " + std::string{what}); }

    const door* door_of(const loan&) const noexcept;
    time_point attended_at(std::uint64_t door_key) const noexcept;
    std::byte* place_of(const loan&, const slice&) const noexcept;
    void deliver(const std::vector<std::byte>& message);
    void see_renewed();

    machine& machine_;
    nic& nic_;
    const std::uint64_t id_; ///< of its endpoints, in the world
    std::vector<endpoint> endpoints_;
    bool listens_ = false, dead_ = false;
    time_point stalled_until_{};
    std::vector<acquaintance> known_; ///< by number, from 1
    std::deque<std::vector<std::byte>> inbox_;
    std::vector<waiting_for_old_key> renewed_;
    std::map<std::uint64_t, loan> loans_; // in the order in which they came
    std::vector<std::uint64_t> over_;
    std::vector<std::function<void()>> answers_;
    std::size_t pending_ = 0; // fences and openings
    std::set<const segment*> enlisted_;
    std::uint64_t last_id_ = 0;
    bool unflushed_ = false;
    // Events may come after the driver has gone.
    std::shared_ptr<rails_driver*> self_{std::make_shared<rails_driver*>(this)};

    struct gone {
        std::shared_ptr<rails_driver*> self;
        ~gone() { *self = nullptr; }
    } gone_{self_};
};

/// Throws when its host has no rails.
rails_driver& nic_of(agent&);

} // namespace wye::sim::detail
