// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "universe.hpp"

namespace wye::sim::detail {

/// A driver of one simulated device: takes chunks, moves their bytes in some pieces while it has them, and ends them
/// when their time has come, as far as the world's faults let it. What is particular to a tier is its subclass's.
class device_driver : public driver {
public:
    device_driver(machine& m, device& d) noexcept : machine_{m}, device_{d} {}
    ~device_driver() override;

    std::string_view name() const noexcept override { return device_.name; }
    wye::limits limits() const noexcept override { return device_.model.limits; }
    bool move_at_once(const slice& from, const slice& to) noexcept override;
    bool submit(chunk&) noexcept override;
    void flush() noexcept override { unflushed_ = false; }
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return answers_pending_ != 0; }
    void enlist(segment&, std::function<void(error_code)> done) override;
    void dismiss(segment&) noexcept override;

protected:
    /// A chunk on loan, and what will become of it.
    struct loan {
        chunk* c = nullptr;
        std::uint64_t goal = 0;  ///< bytes that it will say have arrived
        std::uint64_t moved = 0;
        error_code error;
        time_point ends{};
        bytes gathered{};        ///< an object that is put in one move
    };

    /// How many bytes of what the chunk asks for there are.
    virtual std::uint64_t available(const chunk& c, error_code&) const { return c.from.length; }
    /// Where bytes from `at` on are, or will be; the target is asked first, since making room may move things.
    virtual std::byte* target(loan& l, std::uint64_t at, std::uint64_t n);
    virtual const std::byte* source(const loan& l, std::uint64_t at) const { return l.c->from.data() + at; }
    /// What is particular to this tier about how a chunk goes wrong.
    virtual void tempt(loan&) noexcept {}
    /// The end of a chunk that went well: what follows from its step.
    virtual error_code conclude(loan&) { return {}; }
    /// The end of one that did not.
    virtual void give_up(loan&) {}
    virtual error_code io_error(int number) const noexcept { return {number, boost::system::generic_category()}; }
    virtual bool stores() const noexcept { return false; }
    virtual bool must_be_whole(const chunk&) const noexcept { return false; }
    /// The channels that may carry it: first and count.
    virtual std::pair<std::size_t, std::size_t> channels(const chunk&) const noexcept
    {
        return {0, device_.free_at.size()};
    }

    /// Calls it from `poll`, once the device has thought about it.
    void answer(std::function<void()>);
    void complain(const char* what) const { machine_.in.complain(device_.name + ": " + what); }
    hazard* strikes(fault_kind k) const noexcept { return machine_.in.strikes(k, device_); }
    /// A part of what the fault's extent allows.
    static duration some(hazard& h) noexcept
    {
        return duration{static_cast<duration::rep>(h.random.below(static_cast<std::uint64_t>(h.fault.extent.count())))};
    }

    machine& machine_;
    device& device_;

private:
    void inspect(const chunk&);
    bool knows(const slice& s) const { return !s.of || !s.of->base || enlisted_.contains(s.of); }
    bool refuses() noexcept;
    void go_wrong(loan&) noexcept;
    time_point take_channel(const chunk&) noexcept;
    void schedule(std::uint64_t id, time_point begins);
    void advance(std::uint64_t id, std::uint64_t upto);
    void move(loan&, std::uint64_t upto);
    void spoil(loan&);
    void complete(std::uint64_t id);
    void end(loan);

    std::map<std::uint64_t, loan> loans_; // in the order in which they came
    std::vector<std::uint64_t> over_;
    std::vector<std::function<void()>> answers_;
    std::size_t answers_pending_ = 0;
    std::set<const segment*> enlisted_, refused_;
    std::uint64_t last_id_ = 0;
    std::size_t held_bytes_ = 0;
    bool unflushed_ = false;
};

} // namespace wye::sim::detail
