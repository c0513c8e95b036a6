// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>

#include <wye/copy.hpp>
#include <wye/sim.hpp>

namespace wye::sweep {

using bytes = std::vector<std::byte>;

struct operation;

/// One transfer of an operation, and what is known of it.
struct plan {
    operation* op = nullptr;
    slice from, to;              ///< whose segments, where they are objects, may be gone when the operation ends
    tier from_tier{}, to_tier{};
    std::uint64_t length = 0;
    bytes expected;              ///< what the target holds if all goes well
    std::optional<errc> doomed;  ///< it cannot go well
    std::string key;             ///< of the object that is its target
    std::shared_ptr<const sim::stored_object> before; ///< that object
    bytes* area = nullptr;       ///< what its target is part of, unless that is an object
    bool rotten = false;         ///< what is stored is not what was written

    std::uint64_t landed = 0;    ///< bytes, as devices told
    std::uint64_t posted = 0;    ///< bytes that its first hop was given, each once
    std::size_t in_flight = 0;   ///< chunks
    std::uint64_t flips_read = 0, flips_written = 0;
    bool starved = false;
    std::vector<error_code> errors; ///< that its chunks ended in
};

struct operation {
    std::size_t tenant = 0; ///< whose it is
    std::deque<plan> plans;
    std::vector<transfer> batch;
    std::vector<error_code> status;
    copy_options options;
    std::string notify;
    boost::asio::cancellation_signal signal;
    duration due = duration::max(), ended_at{};
    std::optional<duration> cancelled;
    bool orphaned = false; ///< its agent goes
    int ends = 0, told = 0;
};

/// Knows what every byte must be and when it may change, watches devices and operations, and says what is against
/// the contracts (docs/overview.md).
class oracle final : public sim::observer {
public:
    oracle(sim::world& w, const sim::host_options& h) : world_{w}, host_{h} {}

    // What the workload tells.
    void began(operation&);
    void cancelled(operation&);
    void ended(operation&, const error_code&, std::size_t bytes);
    void told(operation&, bool aborted);
    void jumped() noexcept { jumped_at_ = world_.now(); }
    /// While an agent is made to end, time passes and nobody else is polled.
    void blocked(bool on) noexcept
    {
        blocked_ = on;
        jumped();
    }

    bool fine() const noexcept { return failure_.empty(); }
    const std::string& failure() const noexcept { return failure_; }
    void fail(const std::string& what);
    void expect(bool so, const char* what)
    {
        if (!so) fail(what);
    }

    // What devices tell.
    void submitted(std::string_view device, const chunk&) override;
    void moved(std::string_view device, const chunk&, std::uint64_t at, std::uint64_t n) override;
    void flipped(std::string_view device, const chunk&, std::uint64_t at) override;
    void ended(std::string_view device, const chunk&, const error_code&, std::size_t n) override;

    /// Target content as it is now, against what it must be; false when it differs by more than was flipped.
    bool arrived(const plan&) const;

private:
    /// The order in which priorities have their turn at one device.
    struct line {
        std::set<const plan*> waiting[priority_count]; ///< of one hop, begun, not all given to the device
        std::uint64_t passed_over[priority_count]{};   ///< bytes of others that went since, with none of it in flight
        std::size_t in_flight[priority_count]{};
        std::uint64_t background_bytes = 0;
    };
    struct segment_place {
        const segment* of;
        std::uint64_t offset;
        friend auto operator<=>(const segment_place&, const segment_place&) = default;
    };

    static std::size_t index(priority p) noexcept { return static_cast<std::size_t>(p); }
    plan* plan_at(const slice&) const;
    plan* plan_of(const chunk&) const;
    bool is_staging(const slice& s) const { return s.of && s.of->base && !known_.contains(s.of); }
    bool final_hop(const chunk& c) const { return c.to.of && !is_staging(c.to); }
    bool fair(const operation&, const plan&, const error_code&) const;
    void judge(operation&, const error_code&, std::size_t n);
    void judge_time(const operation&, const error_code&);
    void judge_object(const plan&);
    void check_turn(std::string_view device, const chunk&, const plan&);
    void check_staging(const chunk&);
    bool excused() const noexcept { return blocked_ || jumped_at_ == world_.now(); }
    bool late(const operation&) const;
    std::string_view lane_of(const plan&) const;
    line& line_of(std::string_view device, const plan& p)
    {
        return lines_[std::string{device} + std::to_string(p.op->tenant)];
    }
    void left(const plan&);
    void left(operation&);
    const wye::limits& limits_of(std::string_view device) const;

    sim::world& world_;
    const sim::host_options& host_;
    std::map<segment_place, plan*> places_;
    std::map<std::string, plan*, std::less<>> objects_;
    std::set<const segment*> known_; ///< memory of the workload: any other is staging
    std::map<std::string, line> lines_;
    std::map<segment_place, std::uint64_t> staging_in_use_; ///< until when
    duration jumped_at_{-1};
    bool blocked_ = false;
    std::string failure_;
};

} // namespace wye::sweep
