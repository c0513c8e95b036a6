// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <wye/driver.hpp>
#include <wye/fabric.hpp>

#include "far.hpp"
#include "wire.hpp"

namespace wye::detail {

class engine;
class peers;
struct link;

/// Errands that one peer has at once. What more there is waits here.
inline constexpr std::size_t most_errands = 32;

/// As it goes into a reply: what kind of error, and its number there.
void put_error(wire::reply&, const error_code&) noexcept;
/// What it says; input.
error_code error_of(const wire::reply&) noexcept;

/// What one peer is asked to do, and what of our memory it may reach for that.
struct errand_book {
    /// Memory of ours that the peer has the key to. One for each direction.
    struct loan {
        enum class state : std::uint8_t { asking, said, there, gone };
        segment* what = nullptr;
        wye::access access{};
        std::uint32_t number = 0;
        state at = state::asking;
        std::uint64_t key = 0;
        fifo<chunk> waiting;    ///< for the peer to know of it
    };
    struct asked {
        chunk* c = nullptr;     ///< null: free
        std::uint64_t number = 0;
    };

    std::vector<loan> loans;
    fifo<chunk> waiting[priority_count];
    std::array<asked, most_errands> out{};
    std::size_t chunks = 0;     ///< of all that it has
    bool active = false;        ///< looked after in each pass
    std::size_t free = most_errands;
    std::uint64_t last_errand = 0;
    std::uint32_t last_loan = 0;
};

/// Carries between our DRAM and what peers serve: a chunk becomes an errand of the peer's, which moves the bytes by itself,
/// from our memory or into it, and says when that is over. A chunk ends when the peer has said so, or when the peer is lost
/// and locked out of the memory.
class errands final : public driver {
public:
    errands(engine& e, peers& p) noexcept : engine_{e}, peers_{p} {}

    std::string_view name() const noexcept override { return "served"; }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    bool submit(chunk&) noexcept override;
    void flush() noexcept override;
    std::size_t poll(turn) noexcept override;
    int wait_handle() const noexcept override;
    bool arm() noexcept override { return over_.empty(); }

    void replied(link&, const wire::reply&);
    void gone(segment&) noexcept;    ///< memory of ours
    void lock_out(link&) noexcept;   ///< it is lost, or not needed any more: its keys end
    void forget(const link&) noexcept;

private:
    struct ended {
        chunk* c;
        error_code error;
        std::size_t bytes;
    };

    static errand_book& book(link&);
    void work(link&);
    void give_up(link&);
    void send(link&, chunk&);
    errand_book::loan* loan_for(link&, const chunk&);
    void lend(link&, segment&, access);
    void granted(fabric&, std::uint64_t token, std::uint32_t number, error_code, const fabric::key&);
    void told(std::uint64_t token, std::uint32_t number);
    void end(link&, chunk&, error_code, std::size_t bytes = 0);
    void end_all(link&, fifo<chunk>&, error_code);
    bool stopped(const chunk&) const noexcept;
    void drop_stopped(link&);

    engine& engine_;
    peers& peers_;
    std::vector<link*> books_;  ///< links that have one
    std::vector<link*> active_; ///< of those, with chunks
    std::vector<ended> over_, ending_;
};

} // namespace wye::detail
