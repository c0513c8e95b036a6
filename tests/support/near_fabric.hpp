// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <wye/error.hpp>
#include <wye/fabric.hpp>

/// Agents of one process and one runtime that reach each other by memcpy: for tests of what is above a fabric, on a real
/// runtime with real sockets.
namespace wye::testing {

class near_fabric;

/// What the fabrics of one test share. It must outlive them.
struct neighbourhood {
    struct door {
        const segment* what = nullptr;
        bool writable = false;
    };
    std::map<std::uint64_t, near_fabric*> homes;
    std::map<std::uint64_t, door> doors;
    std::uint64_t last = 0;
};

class near_fabric final : public fabric {
public:
    explicit near_fabric(neighbourhood& n) : in_{n}, id_{++n.last} { n.homes[id_] = this; }
    ~near_fabric() override { in_.homes.erase(id_); }

    error_code refuses;             ///< what `admit` answers, if anything
    bool deaf = false;              ///< what is sent to it comes to nothing
    std::uint64_t moved = 0;        ///< chunks
    void lose(std::uint32_t peer) { lost_.push_back(peer); } ///< it says so when it is polled

    std::string_view name() const noexcept override { return "near"; }
    wye::limits limits() const noexcept override
    {
        wye::limits l;
        l.latency = std::chrono::nanoseconds{100}; // nearer than any other
        return l;
    }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        return from.tier() <= tier::vram && to.tier() <= tier::vram && (from.of->home == this) != (to.of->home == this);
    }
    bool submit(chunk& c) noexcept override
    {
        queue_.push_back(&c);
        return true;
    }
    std::size_t poll(turn) noexcept override
    {
        const std::size_t before = queue_.size() + inbox_.size() + answers_.size() + lost_.size();
        for (auto chunks = std::exchange(queue_, {}); chunk* c : chunks) move(*c);
        for (const auto& message : std::exchange(inbox_, {})) received(message);
        for (const auto& answer : std::exchange(answers_, {})) answer();
        for (const std::uint32_t peer : std::exchange(lost_, {})) gone(peer);
        return before;
    }
    bool busy() const noexcept override { return !answers_.empty() || !inbox_.empty() || !lost_.empty(); }
    bool attentive() const noexcept override { return true; }
    void dismiss(segment& s) noexcept override
    {
        std::erase_if(in_.doors, [&](const auto& d) { return d.second.what == &s; });
    }

    std::vector<std::byte> address() override { return bytes_of(id_); }
    void grant(segment& s, access a, std::function<void(error_code, key)> done) override
    {
        const std::uint64_t id = ++in_.last;
        in_.doors[id] = {&s, a == access::read_write};
        answers_.push_back([done = std::move(done), id] { done({}, {id, bytes_of(id)}); });
    }
    void withdraw(std::uint64_t id) noexcept override { in_.doors.erase(id); }
    void admit(std::span<const std::byte> address, std::function<void(error_code, std::uint32_t)> done) override
    {
        if (refuses) return answers_.push_back([done = std::move(done), e = refuses] { done(e, 0); });
        const std::uint64_t id = number_in(address).value_or(0);
        known_.push_back(id);
        const auto number = static_cast<std::uint32_t>(known_.size());
        answers_.push_back([done = std::move(done), number, id] {
            if (id == 0) done(errc::bad_metadata, 0);
            else done({}, number);
        });
    }
    void sever(std::uint32_t peer, std::function<void()> severed) override
    {
        known_.at(peer - 1) = 0;
        answers_.push_back(std::move(severed));
    }
    std::unique_ptr<segment> import(std::uint32_t peer, wye::tier t, std::int32_t device, std::uint64_t length,
                                    std::span<const std::byte> description) override
    {
        const auto id = number_in(description);
        if (!id || peer == 0 || peer > known_.size()) return nullptr;
        auto s = std::make_unique<remote>(t);
        s->key = *id;
        s->device = device;
        s->length = length;
        s->reach = 1;
        return s;
    }
    bool renew(segment& s, std::span<const std::byte> description, std::function<void()> drained) override
    {
        const auto id = number_in(description);
        if (!id) return false;
        static_cast<remote&>(s).key = *id;
        answers_.push_back(std::move(drained)); // after what was queued before, as `poll` has it
        return true;
    }
    bool send(std::uint32_t peer, std::uint32_t, std::span<const std::byte> message) noexcept override
    {
        const auto to = in_.homes.find(known_.at(peer - 1));
        if (to != in_.homes.end() && !to->second->deaf) to->second->inbox_.emplace_back(message.begin(), message.end());
        return true;
    }

private:
    struct remote final : segment {
        using segment::segment;
        std::uint64_t key = 0;
    };

    static std::vector<std::byte> bytes_of(std::uint64_t n)
    {
        const auto all = std::as_bytes(std::span{&n, 1});
        return {all.begin(), all.end()};
    }
    static std::optional<std::uint64_t> number_in(std::span<const std::byte> b)
    {
        std::uint64_t n = 0;
        if (b.size() != sizeof n) return std::nullopt;
        std::memcpy(&n, b.data(), sizeof n);
        return n;
    }
    /// Where it is in this process; null when the key lets nobody in, there, or for that.
    std::byte* place_of(const slice& s, bool write) const
    {
        if (s.of->home != this) return s.data();
        const auto d = in_.doors.find(static_cast<const remote*>(s.of)->key);
        if (d == in_.doors.end() || (write && !d->second.writable)) return nullptr;
        const segment& there = *d->second.what;
        if (s.offset > there.length || s.length > there.length - s.offset) return nullptr;
        return there.base + s.offset;
    }
    void move(chunk& c) noexcept
    {
        const std::byte* const from = place_of(c.from, false);
        std::byte* const to = place_of(c.to, true);
        if (!from || !to) return c.done(errc::peer_lost, 0);
        std::memmove(to, from, c.from.length);
        ++moved;
        c.done();
    }

    neighbourhood& in_;
    const std::uint64_t id_;
    std::vector<std::uint64_t> known_; // by number, from 1
    std::deque<chunk*> queue_;
    std::deque<std::vector<std::byte>> inbox_;
    std::vector<std::function<void()>> answers_;
    std::vector<std::uint32_t> lost_;
};

} // namespace wye::testing
