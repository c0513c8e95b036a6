// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <wye/libfabric.hpp>
#include <wye/wye.hpp>

#include "settings.hpp"
#include "words.hpp"

namespace doctor {

/// Something that a person must see to; ends what is under way.
struct trouble : std::runtime_error {
    trouble(std::string with, const std::string& why, std::vector<std::string> what_to_do)
        : std::runtime_error{why}, check{std::move(with)}, advice{std::move(what_to_do)}
    {
    }
    std::string check;
    std::vector<std::string> advice;
};

/// Runs it to its end; what it throws is thrown.
void run(wye::runtime&, wye::task<>);

/// An agent with memory and its own endpoint on each of these rails (all that there are, when none are named).
struct party {
    party(wye::runtime&, const settings&, const std::vector<std::string>& rails, std::string name, std::size_t bytes,
          wye::duration longest_gap);

    wye::arena memory; ///< goes last: peers may be writing to it
    wye::agent agent;
    wye::fabric& fabric;
    const wye::libfabric_facts facts;
};

/// A name that no other agent has.
std::string fresh_name(const std::string& role);

/// A party that is connected to a doctor that serves. Its memory is twice what it uses of the other's: the first half
/// is sent, the second is for what comes back.
struct line {
    line(wye::runtime&, const settings&, const std::vector<std::string>& rails);

    wye::task<> connect(std::vector<std::byte> metadata);
    std::span<std::byte> front(std::size_t at, std::size_t length) { return {us.memory.data() + at, length}; }
    std::span<std::byte> back(std::size_t at, std::size_t length) { return {us.memory.data() + half() + at, length}; }
    std::size_t half() const noexcept { return us.memory.size() / 2; }
    wye::slice sent(std::size_t at, std::size_t length) const { return mine.at(at, length); }
    wye::slice came(std::size_t at, std::size_t length) const { return mine.at(half() + at, length); }

    party us;
    wye::region mine;
    wye::peer there;
    wye::slice area; ///< over there, as much as both have
};

/// The one line by which a doctor is told what to do.
class talk {
public:
    explicit talk(line& l) noexcept : line_{l} {}

    /// Throws `trouble` when it is no doctor, or has another at present.
    wye::task<welcome> begin();
    /// For what is answered.
    wye::task<std::vector<std::byte>> ask(order);
    /// What it has checked by now, which `expected` are to be.
    wye::task<tally> checked(std::uint64_t expected);
    wye::task<> end();

    line& over() noexcept { return line_; }
    std::uint64_t next_seed() noexcept { return ++seed_ << 32; }
    /// How often the other one was told to check, by copies or orders.
    std::uint64_t told = 0;

private:
    line& line_;
    std::uint64_t seed_ = 0;
};

} // namespace doctor
