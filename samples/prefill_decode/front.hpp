// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/types.h>

#include <wye/runtime.hpp>
#include <wye/task.hpp>

#include "door.hpp"
#include "line.hpp"
#include "requests.hpp"
#include "settings.hpp"

namespace pd {

/// What one rank has done.
struct rank_report {
    std::string name;
    std::uint64_t bytes = 0;    ///< that it copied
    std::uint64_t peak_rss = 0;
};

/// Starts a process for each rank, has them meet, gives them requests, and sees them off. None of them outlives it. With a
/// directory, other engines come and go meanwhile: guests, whose processes are others' (join.hpp).
class front {
public:
    /// Makes the processes. Call it while this one is small: they are copies of it.
    explicit front(const settings&);
    front(const front&) = delete;
    front& operator=(const front&) = delete;
    ~front();

    /// Until all requests are served, or Ctrl-C; calls `begun` before the first. Throws std::runtime_error with one line
    /// when a rank fails.
    void run(std::function<void()> begun);
    outcome result() const { return requests_.result(); }
    const std::vector<rank_report>& ranks() const noexcept { return reports_; }

private:
    enum class phase { starting, meeting, serving, ending };
    struct member {
        place at;
        ::pid_t id = 0;          ///< 0: a guest's, or it has been waited for
        int socket = -1;         ///< before there is a line
        std::unique_ptr<pd::line> line; ///< none once it has gone
        std::string hint;        ///< for who wants to find it
        bool ready = false;
        bool said_bye = false, killed = false;
        std::set<std::uint32_t> met; ///< engines of the other role that it can copy to or from
    };
    /// An engine that has joined, and who brought it.
    struct guest {
        place at;
        std::unique_ptr<pd::line> line;
        std::chrono::steady_clock::time_point since; ///< it comes, or goes
        enum class state { coming, serving, leaving, going, gone } is = state::coming;
        bool began = false;      ///< its first request
        std::string why;         ///< of one that does not go in order
    };

    void make(place);
    wye::task<> open();
    wye::task<> close();
    wye::task<> listen(member&);
    void heard(member&, const message&);
    void failed(member&, const std::string& why);
    void gone(member&);
    bool over() const noexcept; ///< nobody is left
    void ready();
    void introduce(member&);
    bool all_met() const noexcept;
    void go_on();
    void kill(std::uint32_t engine);
    void end();
    void say(role, std::uint32_t engine, const message&);
    void await_signal();
    void watch();

    // guests.cpp
    wye::task<> receive();
    wye::task<> welcome(int socket);
    wye::task<> listen(guest&);
    void take_in(const message&, std::unique_ptr<pd::line>);
    void take_rank(const message&, std::unique_ptr<pd::line>);
    guest* guest_at(place) noexcept;
    bool is_known(const guest&) const noexcept;
    void see_to_guests();
    void send_off(guest&);
    void lose(guest&, const std::string& why);
    guest* lost_by(const member&, const message&) noexcept;
    void hang_up(const guest&) noexcept;
    void see_off(guest&);
    void rank_gone(guest&, const member&);
    void forget(const guest&);
    void turn_away();

    const settings& settings_;
    wye::runtime runtime_; ///< all lines are on it
    std::list<member> members_;
    std::list<guest> guests_;
    boost::asio::signal_set signals_{runtime_.io()};
    boost::asio::steady_timer watch_{runtime_.io()};
    requests requests_;
    std::optional<door> door_;   ///< with a directory
    phase phase_ = phase::starting;
    bool interrupted_ = false;
    std::function<void()> begun_;
    std::chrono::steady_clock::time_point last_word_;
    std::vector<rank_report> reports_;
};

} // namespace pd
