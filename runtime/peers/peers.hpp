// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <wye/agent.hpp>
#include <wye/fabric.hpp>
#include <wye/task.hpp>

#include "link.hpp"

namespace wye::detail {

class engine;

/// One key for each fabric, in the order in which they were added: the same in each run.
struct added_before {
    bool operator()(const fabric* a, const fabric* b) const noexcept { return a->id() < b->id(); }
};
using fabric_keys = std::map<fabric*, fabric::key, added_before>;

/// The other agents: connections, what each side has published, and what is said between them. Whatever the fabrics are:
/// it is the same over libfabric and in the simulator.
class peers final : private timer {
public:
    peers(engine&, const peer_options&);
    ~peers();
    peers(const peers&) = delete;

    void add(fabric&);
    /// Whether anybody may say anything: then fabrics are polled.
    bool listening() const noexcept { return listening_; }
    /// Says what there is to say, and looks after those who leave. After the fabrics were polled.
    std::size_t poll();
    /// All that was said until now.
    std::size_t send_all();
    /// A message came (peers.cpp).
    void take(fabric&, wire::view);
    /// That fabric reaches that peer no more (handshake.cpp).
    void gone(fabric&, std::uint32_t number) noexcept;
    /// The agent goes: everybody is told, nobody is waited for. Fabrics are still polled while `severing`.
    void hush() noexcept;
    void shut() noexcept;
    bool severing() const noexcept;

    // What is published here (published.cpp).
    task<> publish(std::string name, segment&, access);
    task<> unpublish(std::string name);
    task<> revoke(std::string name, std::string peer);
    wire::bytes metadata(std::span<const std::string_view> names, bool all);
    void gone(segment&) noexcept; ///< it is deregistered

    // Connections (handshake.cpp, peers.cpp).
    task<peer> connect(wire::bytes metadata);
    void let_go(link&) noexcept; ///< a handle
    link* find(std::uint64_t token) const noexcept; ///< null when it has gone
    void poke(link&); ///< asks for a sign of life, each time over another rail
    /// To this peer, told when it has it.
    void notify(link&, wire::notify, stream::told);
    void notify(std::uint64_t token, wire::notify, stream::told); ///< to the link that has it, if it is still there
    task<> notify(link&, std::string key, std::vector<std::byte> payload);
    /// Bytes and their notification in one message (puts.cpp). False: they are too many, or it would have to wait.
    bool put(link&, const wire::put&, stream::told);

    // What is served (errands.cpp, serving.cpp).
    driver* asked() const noexcept; ///< what asks peers' agents; null where nothing does
    std::unique_ptr<segment> object(link&, std::string_view bucket, std::string_view key);
    void served(operation& op) noexcept { serving_.ended(op); }
    void stop_serving() noexcept { serving_.close(); }
    void recall() noexcept; ///< the agent goes: whoever was asked for something is not waited for, but locked out
    bool serves() const noexcept { return serving_.busy(); } ///< somebody, right now

    std::uint64_t garbage() const noexcept { return garbage_; } ///< messages that made no sense

private:
    friend struct wye::detail::link;
    friend class wye::detail::errands;
    friend class wye::detail::serving;

    struct published {
        segment* what = nullptr; ///< not null
        wye::access access{};
        std::uint64_t epoch = 1, edition = 1;
        fabric_keys keys;
        std::vector<wire::incarnation> barred; ///< by `revoke`
        std::uint64_t keyless_until = 0;       ///< when fabrics without a key are asked for one; 0 when all have theirs
    };
    /// Keys that end when nobody has anything under way by them.
    struct retired {
        std::string name;
        std::uint64_t epoch = 0, edition = 0; ///< what came after
        std::uint64_t was = 0;                ///< epoch of what they are to
        segment* what = nullptr;
        wye::access access{};
        std::vector<std::pair<fabric*, std::uint64_t>> keys;
        std::vector<link*> waiting;
        std::uint64_t limit = 0;
        std::function<void()> over;
        bool closes = false; ///< who does not let go is locked out
        bool late = false;   ///< its time is up: who has not let go may do nothing more
    };

    /// Where a record came.
    struct place {
        std::uint64_t frame = 0;
        std::uint16_t record = 0;
    };

    void made_no_sense() noexcept { ++garbage_; }

    // peers.cpp
    std::uint64_t now() const noexcept;
    std::uint64_t draw();
    wire::nonce fresh_nonce();
    const wire::incarnation& life();
    void listen();
    link& add_link(fabric&);
    bool anybody_open(const std::string& name) const noexcept;
    bool other_way(const link&) const noexcept;
    void mark(link&) noexcept;
    void say(link&, const wire::record&, stream::told = {});
    void say_apart(link&, std::uint64_t token, const wire::record&);
    std::size_t flush(link&);
    static bool may_say(const link&, const std::optional<wire::record>& first) noexcept;
    void take(link&, place, const wire::record&);
    void part(link&) noexcept;
    void ends(link&);
    void lose(link&, error_code);
    void sever(link&);
    std::size_t free_ended() noexcept;
    void wake_at(std::uint64_t) noexcept;
    void begin_ticking() noexcept;
    bool expects(const link&) const noexcept;
    void tick(link&);
    void look() noexcept;

    // handshake.cpp
    void admit(link&, wire::view address);
    void repeat(link&);
    void call(link&);
    void say_challenge(link&);
    void answer_hello(fabric&, const wire::hello&);
    void challenged(link&, const wire::challenge&);
    void answered(link&, const wire::answer&);
    void welcome(link&);
    link* at_hand(const wire::incarnation&) const noexcept;
    void hold(link&);
    link& set_out(wire::metadata);
    std::vector<way> ways_to(wire::metadata&) const;
    bool next_way(link&);
    task<error_code> ready(link&);
    void refused(link&, const wire::refusal&);
    void opened(link&);
    void settled(link&, const std::string& name);
    handshake oath(const link&, bool calling) const noexcept;
    wire::digest proof(const link&, side, bool calling) const;

    // reached.cpp
    void offer(link&, std::vector<wire::publication>);
    void ask(link&, const std::vector<wire::publication>&);
    void current(link&, const wire::current&);
    std::unique_ptr<segment> import(link&, const wire::publication&);
    void update(link&, const wire::publication&);
    void change(link&, reached&, const wire::publication&);
    std::unique_ptr<segment> stand_in(link&, const wire::publication&);
    void turn_away_objects(link&, const std::string* name, standing) noexcept;
    void strand(link&) noexcept;
    std::size_t see_drains(link&);

    // puts.cpp
    void take(link&, place, const wire::put&);
    errc land(const link&, const wire::put&) noexcept;
    errc open_to(const link&, std::uint64_t epoch, bool writes, const segment*&) const noexcept;

    // published.cpp
    void interested(link&, const wire::interest&);
    void drained(link&, const wire::drained&);
    void leaves(link&, bool lost);
    void close_way(link&, const std::string& name, published&, std::function<void()> closed);
    void change_key(fabric&, const std::string& name, published&, std::uint64_t but, std::function<void()> over);
    std::uint64_t give_keys(std::uint64_t now); ///< when it is next due; 0 for never
    void each_retired(const std::function<bool(retired&)>& over);
    wire::publication describe(const std::string& name, const published&, const fabric* by) const;
    void tell_holders(const std::string& name, retired&, const link* but);
    static bool served_by(const fabric&, const published&) noexcept;
    static void end_keys(const fabric_keys&) noexcept;
    static retired retire_from(const std::string& name, const published&, std::uint64_t epoch, std::uint64_t edition);
    void retire(retired);
    void cut_off(const link&) noexcept;
    void end(retired&);
    void end_overdue(std::uint64_t now);
    task<fabric_keys> grant(segment&, wye::access);
    task<> until_over(retired);

    engine& engine_;
    const peer_options options_;
    std::vector<fabric*> fabrics_;
    bool listening_ = false;
    wire::incarnation life_;
    std::unordered_map<std::uint64_t, std::unique_ptr<link>> links_; // by token
    std::vector<link*> dirty_, sending_, draining_, ending_;
    std::map<std::string, published, std::less<>> published_;
    std::unordered_map<std::uint64_t, decltype(published_)::iterator> by_epoch_;
    std::vector<retired> retired_;
    std::uint64_t last_epoch_ = 0;
    bool ticking_ = false;
    std::uint64_t next_tick_ = 0;
    std::uint64_t garbage_ = 0;
    serving serving_;
    errands* errands_ = nullptr; ///< null: there was no room for one more driver, and what is served is not reached
    bool shut_ = false;
};

} // namespace wye::detail
