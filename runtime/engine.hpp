// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <wye/agent.hpp>
#include <wye/driver.hpp>
#include <wye/metrics.hpp>

#include "meters.hpp"
#include "notifications.hpp"
#include "operation.hpp"
#include "peers/peers.hpp"
#include "progress_loop.hpp"
#include "rails.hpp"
#include "staging.hpp"

namespace wye::detail {

struct choice;

/// How bytes get from one kind of segment to another: by one driver, or by two with staging between.
struct route {
    line* first = nullptr;
    line* second = nullptr; ///< null when the first goes all the way
    pair_meter* pair = nullptr;
    choice* either = nullptr; ///< of one hop between VRAM and what stores: not all goes that way
    bool simple = false;    ///< one hop, no objects, and no choice
    bool leans = false;     ///< a peer's agent is asked for one of the hops
};

/// Whether what might go straight between VRAM and what stores does, or is staged (choice.cpp).
struct choice {
    /// What operations took that went one way.
    struct record {
        std::uint64_t bytes = 0, ns = 0;
        bool warm = false;
        bool tells() const noexcept;
        double ns_per_byte() const noexcept { return static_cast<double>(ns) / static_cast<double>(bytes); }
    };
    std::uint32_t from, to;        ///< kinds: what is said here is of these two
    const route* detour = nullptr; ///< over staging memory, once that was needed
    bool on_trial = false;         ///< operations go both ways in turn
    bool staged = false;           ///< and staging was faster, or the other way failed
    bool failed = false;
    bool straight = false;         ///< the way of the latest
    std::uint64_t latest = 0;      ///< which operation that was, as they are counted
    record straightly, by_staging;
};

/// What an agent is made of: operations, routes, lines and staging, and the drivers below them.
///
/// Data flows one way. `begin` puts an operation's legs into lines; `poll` admits pieces to lanes by priority
/// as windows allow and submits them; `driver::poll` ends in `ended`, which sends the piece to its next stage
/// or settles its extent; the last extent completes the operation.
class engine final : public source {
public:
    engine(progress_loop&, std::string name, const agent_options&);
    ~engine();

    progress_loop& loop() noexcept { return loop_; }
    const std::string& name() const noexcept { return name_; }
    staging& stage() noexcept { return staging_; }
    notifications& notes() noexcept { return notifications_; }
    peers& others() noexcept { return peers_; }
    bool active() const noexcept { return active_ != 0; }
    pair_meter& pair(tier from, tier to) noexcept { return pairs_[index(from)][index(to)]; }

    // Drivers and segments (engine.cpp).
    driver& add(std::unique_ptr<driver>);
    const std::vector<std::unique_ptr<driver>>& drivers() const noexcept { return drivers_; }
    void adopt(segment&);          ///< it may be used in copies from now on
    std::uint32_t kind_of(const segment&); ///< asked again when its `reach` has changed
    void dismiss(segment&) noexcept;

    // Routes (routes.cpp).
    /// Null when there is none.
    const route* route_between(const segment& from, const segment& to)
    {
        const route* known = by_kinds_[from.kind * kinds_.size() + to.kind];
        return known ? known : learn_route(from, to);
    }
    route_plan explain(const slice& from, const slice& to);

    // Operations (transfers.cpp).
    operation* make(std::size_t extents, const copy_options&);
    void begin(operation&) noexcept;
    void begin_one(operation&) noexcept; ///< the same, of one transfer that asks for nothing special (express.cpp)
    void stop(operation&, error_code) noexcept;
    void begin_step(operation&, session_step&, segment& object) noexcept; ///< sessions.cpp
    void join(operation&, const session_step& opened) noexcept;           ///< before it begins
    void abandon(link&, errc) noexcept; ///< all that has part in what is lost with it

    // Pieces (pipeline.cpp).
    void ended(piece&, const error_code&, std::size_t bytes) noexcept;
    void landed_simple(piece&) noexcept; ///< the same, of all of a simple piece (express.cpp)

    // Rails (failover.cpp).
    void lose(driver&, std::uint32_t rail) noexcept;
    void heard(link&, std::uint64_t now) noexcept; ///< a sign of life

    // source
    std::size_t poll(turn) noexcept override;
    void handed_over() noexcept override { peers_.send_all(); }
    bool in_flight() const noexcept override { return active_ != 0 || peers_.listening() || busy_drivers(); }
    bool only_listens() const noexcept override { return active_ == 0; }
    std::size_t outstanding() const noexcept override;
    bool descriptors(std::vector<int>&) const noexcept override;
    bool arm() noexcept override;
    bool due() const noexcept override;
    void idle(std::chrono::steady_clock::time_point) noexcept override;
    void drain() noexcept override;

    void count(metrics&) const;
    std::uint64_t corruptions = 0;

private:
    /// Bytes that an operation may have in a row while others of its priority wait.
    static constexpr std::uint32_t burst_bytes = 256 * 1024;
    static constexpr std::size_t index(tier t) noexcept { return static_cast<std::size_t>(t); }

    struct kind {
        wye::tier tier;
        std::int32_t device;
        driver* home;
        std::uint32_t reach, open_to;
    };
    const route* learn_route(const segment& from, const segment& to);
    const route* find_route(const segment& from, const segment& to);
    bool stage_between(route&, const slice& from, const slice& to);
    const route* remember(route);

    // choice.cpp
    const route* remember_choice(const route&, const segment& from, const segment& to);
    static bool suits(const route&, const slice& from, const slice& to, bool verify) noexcept;
    const route* detour(const route&, const segment& from, const segment& to);
    const route* choose(const operation&, extent&);
    void judge(const operation&, duration);
    static std::string grounds(const route&);
    port* carrier(const slice& from, const slice& to) noexcept;
    bool asks(const line*) const noexcept;
    line* way(const slice& from, const slice& to);
    void enlist_staging(driver&);
    bool busy_drivers() const noexcept;
    void poll_or_pass() noexcept;

    // transfers.cpp
    errc check_extent(operation&, extent&) noexcept;
    void check_all(operation&) noexcept;
    void forget_sums(extent&) noexcept;
    void hold(operation&) noexcept;
    void let_go(operation&) noexcept;
    void let_go_alike(operation&) noexcept;
    void line_up(operation&) noexcept;
    void line_up_apart(operation&) noexcept;
    void queue(leg&) noexcept;
    void leave_queue(leg& l) noexcept
    {
        l.unlink();
        staging_.forget(l);
        pass_on(l);
    }
    void settle(operation&, extent&) noexcept;
    void close(operation&, extent&, error_code) noexcept;
    void finish(operation&) noexcept;
    void took(operation&, duration) noexcept;
    void conclude(operation&) noexcept;
    void fail(operation&, extent&, error_code) noexcept;
    void sweep(operation&, const link* peer = nullptr) noexcept;
    void abandon(operation&, const link&, errc) noexcept;

    // ordering.cpp
    bool ordered(operation&) noexcept;
    bool enter(operation&, ordering&) noexcept;
    std::size_t go_on_in_order() noexcept;
    void leave_order(operation&) noexcept;
    void go(operation&) noexcept;

    // telling.cpp
    void address(operation&) noexcept;
    bool tell(operation&) noexcept;
    void told(operation&, errc) noexcept;
    bool put(operation&) noexcept;
    void put_ended(operation&, errc) noexcept;

    // scheduler.cpp
    std::size_t pump(line&, lane&, turn) noexcept;
    std::size_t choose(const line&, const lane&) const noexcept;
    bool room(const lane&, std::size_t p) const noexcept;
    piece* cut_admitted(line&, lane&, leg&, std::size_t p) noexcept;
    void admit(line&, lane&, piece&) noexcept;
    bool post(lane&, piece&) noexcept;
    void rotate(line&, leg&, std::size_t p) noexcept;
    void resume(lane&, piece&) noexcept;
    /// Of several rails the clock is read once a round.
    std::uint64_t time_on(const lane& l) const noexcept { return l.one_of_many ? l.of->now : loop_.stamp(); }

    // rails.cpp
    /// Where the next piece of a port comes from and goes.
    struct match {
        line* from = nullptr;
        lane* by = nullptr;
        std::size_t priority = priority_count;
    };
    std::size_t poll_rails(port&, turn) noexcept;
    std::size_t pull(port&, turn) noexcept;
    std::size_t pull_resumed(port&, turn) noexcept;
    match next(port&) noexcept;
    match next(line&) noexcept;
    lane* fit(line&, std::size_t p) noexcept;
    lane* fit(line&, std::size_t p, const barrier& others, std::uint64_t rails) noexcept;
    bool carry(const match&) noexcept;
    void took(lane&, piece&) noexcept;
    void gave(lane&, piece&, std::uint64_t landed) noexcept;

    // failover.cpp
    line& line_of(const piece&) noexcept;
    void expect(lane&, piece&) noexcept;
    std::uint64_t patience_of(const lane&, std::size_t more = 0) const noexcept;
    void reroute(piece&) noexcept;
    void evacuate(lane&) noexcept;
    void send_again(piece&, bool probes = false) noexcept;
    void forget(piece&) noexcept;
    void spare_posting(piece&) noexcept;
    bool outlived(lane&, piece&, error_code&) noexcept;
    void trust(lane&) noexcept;
    void suspect(lane&) noexcept;
    void lose(lane&) noexcept;
    void fenced(lane&) noexcept;
    void opened(lane&, const error_code&) noexcept;
    static bool wanted(const piece&) noexcept;
    bool missed(const lane&) const noexcept;
    void strand(leg&) noexcept;
    void strand(line&) noexcept;
    bool goes_on(const lane&, piece&) noexcept;
    bool blame(lane&, std::uint64_t now) noexcept;
    void judge(lane&, std::uint64_t now, bool excused) noexcept;
    void look_at(lane&, std::uint64_t now) noexcept;
    void look_by(port&, std::uint64_t at) noexcept;
    void unpark(link&) noexcept;
    bool parked(leg&) noexcept;
    bool parked(line&, piece&) noexcept;
    void set_apart(lane&, piece&) noexcept;
    void stick(lane&, piece&) noexcept;
    void unstick(lane&) noexcept;
    void look(port&) noexcept;

    // paths.cpp
    void bar(link&, lane&) noexcept;
    void detour(lane&, piece&) noexcept;
    void turn_back(lane&, piece&) noexcept;
    static bool cut_off(const line&, link*) noexcept;
    void set_aside(line&) noexcept;
    static std::uint64_t barred(const line&, std::size_t p) noexcept;
    bool hopeless(const lane&) const noexcept;
    std::uint64_t look_at_paths(port&) noexcept;
    void path_opened(port&, std::uint64_t token, std::uint32_t rail, const error_code&) noexcept;

    // express.cpp
    piece& simple_piece() noexcept;
    void spare(piece&) noexcept;
    piece& cut_simple(const line&, lane&, operation&, extent&) noexcept;
    piece& cut_express(line&, lane&, leg&) noexcept;
    void skip(leg&) noexcept;
    std::size_t express(line&, lane&, leg&, std::size_t p, turn) noexcept;
    bool nobody_waits(const line&, const extent&) const noexcept;
    bool moved_at_once(lane&, operation&) noexcept;
    bool express_at_once(line&, operation&) noexcept;
    bool plain(const extent&) const noexcept;
    template <bool of_rails>
    void land(piece&) noexcept;
    void landed_timed(piece&) noexcept;
    void landed_on_rail(piece&) noexcept;
    void leave(piece&) noexcept;

    // pipeline.cpp
    piece* cut(const line&, lane&, leg&) noexcept;
    piece* open_session(leg&, extent&, bool of_source) noexcept;
    void close_session(operation&, extent&, wye::step, bool of_source) noexcept;
    bool must_open_source(const extent&) const noexcept;
    bool must_open_target(const extent&) const noexcept;
    std::uint64_t most(const extent&) const noexcept;
    std::uint64_t piece_size(const line&, const extent&) const noexcept;
    bool sums(const operation&, const extent&) const noexcept;
    void advance(piece&) noexcept;
    void second_hop(piece&) noexcept;
    void session_ended(piece&, error_code) noexcept;
    void step_ended(piece&, error_code) noexcept;
    bool resume_short(piece&, std::size_t bytes) noexcept;
    std::size_t sum(turn) noexcept;
    void summed(piece&) noexcept;
    void landed(piece&) noexcept;
    void arrived(operation&, const extent&, std::uint64_t bytes) noexcept;
    std::uint64_t part(const piece&) const noexcept;
    void hop_ended(piece&, const error_code&, std::size_t bytes) noexcept;
    void quit(piece&) noexcept;
    void drop(piece&, error_code) noexcept;
    piece* make_piece(operation&, extent&) noexcept;
    void free(piece&) noexcept;
    void staging_freed() noexcept;
    /// It takes no buffer now: if it was woken for one, that is another's.
    void pass_on(leg& l) noexcept
    {
        if (std::exchange(l.woken, false)) staging_freed();
    }
    error_code verdict(operation&, extent&) noexcept;

    progress_loop& loop_;
    std::string name_;
    std::vector<std::unique_ptr<driver>> drivers_;
    std::vector<std::unique_ptr<port>> ports_; ///< one for each driver
    std::vector<segment*> segments_;
    std::vector<kind> kinds_;
    std::vector<const route*> by_kinds_; ///< by from-kind * kinds + to-kind
    std::deque<route> routes_;
    std::deque<choice> choices_;
    const rail_options rails_;
    staging staging_;
    notifications notifications_;
    fifo<piece> summing_;
    piece* spares_ = nullptr; ///< for the short way, ready to be used again
    list<operation> operations_;
    std::vector<operation*> waiting_; ///< for what a GPU does
    std::size_t active_ = 0;
    std::size_t telling_ = 0; ///< of those, over but for the word of a peer that it has the notification
    std::size_t first_port_ = 0;
    std::uint32_t lines_ = 0; ///< ever made
    std::array<std::array<pair_meter, tier_count>, tier_count> pairs_;
    std::uint64_t begun_ = 0, cancelled_ = 0, missed_ = 0;
    peers peers_;
};

} // namespace wye::detail
