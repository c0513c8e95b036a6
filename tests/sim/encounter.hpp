// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>

#include "play.hpp"
#include "resident.hpp"

namespace wye::sweep {

/// One transfer of a deal.
struct part {
    slice from, to;
    std::uint64_t length = 0;
    const std::byte* expected = nullptr; ///< the source's bytes, which nobody changes
    stretch* into = nullptr;                ///< its target, unless that is an object
    std::uint64_t at = 0;                ///< there
    stretch* out_of = nullptr;              ///< a peer's memory that it reads
    std::string key;                     ///< of the object that is its target
    acquaintance* with = nullptr;        ///< the other side
    std::vector<errc> doomed;            ///< it can end in one of these alone
    bool closed = false, right = false;  ///< its target is its owner's again; whether its bytes had all come by then
    bool served = false;                 ///< its target is, by its owner
    bool barred = false;                 ///< it was sent away before it began
};

/// A copy that a peer has part in.
struct deal {
    /// Who is told of its end.
    struct listener {
        resident* who = nullptr;
        int told = 0;
        bool aborted = false;
        bool named = false; ///< it waits for that agent's alone
        bool deaf = false; ///< it was told that the other side is lost
    };
    resident* by = nullptr;
    std::deque<part> parts;
    std::vector<transfer> batch;
    std::vector<error_code> status;
    std::deque<object> objects; ///< until it has begun
    copy_options options;
    std::string notify;
    bytes payload;
    boost::asio::cancellation_signal signal;
    duration begun{}, due = duration::max();
    std::optional<duration> cancelled;
    std::deque<listener> tells;
    int ends = 0;
    bool orphaned = false; ///< its agent was killed: it never ends
    error_code error;
};

/// One seed's hosts and agents, what they do with each other, and what becomes of it: the oracle is here, too. What every
/// byte must be is known from its source, which nobody changes, and from its owner's scribbling.
class encounter {
public:
    explicit encounter(const meeting&);
    ~encounter();
    verdict run();

private:
    // encounter.cpp: what happens when.
    void go();
    void thousand(); // thousand.cpp
    void shares();   // shares.cpp
    bool over();
    void hangs(bool for_ever);
    void schedule();
    duration sometime();
    void account();
    void fail(const std::string& what);
    void expect(bool so, const std::string& what)
    {
        if (!so) fail(what);
    }
    resident& some_agent();
    static task<> acquainted(encounter&, resident& who, resident& with, acquaintance*& found);
    static task<> meets(encounter&, resident& who, resident& with);
    void run_on(resident& who, task<> work, const char* what);

    // deals.cpp
    static task<> deals(encounter&, resident& who, resident& with);
    void begin(deal&);
    template <class Over>
    void begin_prepared(deal&, Over);
    void choose_options(deal&);
    bool choose(deal&, resident& with);
    bool choose_pages(deal&, resident& with);
    bool write(deal&, part&, acquaintance&, std::uint64_t length);
    bool read(deal&, part&, acquaintance&, std::uint64_t length);
    std::optional<slice> published(deal&, part&, acquaintance&, std::size_t name, stretch*& found);
    bool choose_source(deal&, part&, std::uint64_t length);
    bool choose_target(deal&, part&);
    static bool doom(part&, const slice& all);
    std::uint64_t some_length();
    void cancel(deal&);
    static task<> says(encounter&, resident& who, resident& with);

    // witness.cpp: what is against the contracts.
    void ended(deal&, error_code, std::size_t n);
    void judge(const deal&, const error_code&, std::size_t n);
    void judge_time(const deal&);
    void judge_telling(const deal&, const error_code&, std::size_t n);
    bool fair(const deal&, const part&, const error_code&) const;
    bool excused(const resident&, const resident&) const;
    bool arrived(const part&) const;
    static bool may_be_late(const deal&, const error_code&);
    bool right(const part& p) const { return p.closed ? p.right : arrived(p); }
    void close(part&);
    static task<> hears(encounter&, deal&, deal::listener&, duration deadline);
    void told(deal&, deal::listener&, const notification&);
    void deaf(deal&, deal::listener&);
    std::string describe(const deal&, const part&) const;

    // lives.cpp: what happens to agents.
    void befall(const mishap&);
    void later(duration, std::function<void()>);
    void judge_withdrawal(const resident&, duration begun);
    static task<> renews(encounter&, resident& who, resident& with, std::size_t name);
    static task<> again(encounter&, resident&, std::size_t name);
    void crash(resident&);
    void leave(resident&);
    void reborn(resident& old);
    static task<> comes(encounter&, resident&);
    void stall(resident&, duration, bool too_long);
    void outage(const mishap&);
    void disconnect(resident& who, resident& with);
    void destroy(resident&, std::size_t name);
    static task<> anew(encounter&, resident&, std::size_t name);
    static task<> unpublishes(encounter&, resident&, std::size_t name, duration pause);
    static task<> revokes(encounter&, resident&, std::size_t name, resident& whom);
    static task<> offers(encounter&, resident&, std::size_t name);
    void withdrawn(stretch&, const resident* from = nullptr);
    void orphan(resident&);

    const meeting& scene_;
    dice dice_;
    std::deque<resident> residents_;
    std::vector<resident*> present_;       ///< by number: the latest of that name
    std::deque<deal> deals_;
    std::vector<std::function<void()>> to_do_; ///< what takes time, and so does not happen inside an event
    std::size_t to_start_ = 0, live_ = 0, pending_ = 0;
    bool closing_ = false;
    std::string failure_;
    verdict verdict_;
    std::vector<sim::host> hosts_;
    std::shared_ptr<void> scene_memory_;   ///< of worlds without residents
    std::optional<sim::world> world_;      ///< goes first
};

} // namespace wye::sweep
