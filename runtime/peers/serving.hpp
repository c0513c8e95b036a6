// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wye/driver.hpp>
#include <wye/peer.hpp>

#include "operation.hpp"
#include "wire.hpp"

namespace wye::detail {

class engine;
class peers;
struct link;

/// What stands for a bucket as something published.
class bucket_root final : public segment {
public:
    explicit bucket_root(object_store& s) : segment{wye::tier::object}, store{s} { length = unbounded; }
    object_store& store;
};

/// An object that a peer has open, to read or to replace it.
struct open_object {
    std::uint64_t number = 0, epoch = 0;
    std::unique_ptr<segment> object;
    session_step opened;
    std::uint32_t uses = 0;        ///< parts under way
    std::uint64_t landed = 0;      ///< bytes of parts
    bool doomed = false;           ///< nobody may go on with it
    std::vector<std::shared_ptr<void>> held; ///< until it has been given up
};

/// One thing that a peer asked for.
struct errand_here {
    link* of = nullptr;
    wire::errand what;
    std::string key;               ///< what `what.key` is of
    std::unique_ptr<segment> object; ///< below a bucket
    open_object* part_of = nullptr;
    bool counted = false;          ///< among its uses
    std::unique_ptr<open_object> ends;
    session_step step;
    operation* op = nullptr;       ///< while it runs
    wire::reply reply;
    bool unasked = false;          ///< nobody waits for a reply
    std::vector<std::shared_ptr<void>> held; ///< until it is over
};

/// What one peer has asked for, and what of its memory may be reached for that.
struct service_book {
    struct loan {
        std::uint32_t number = 0;
        std::unique_ptr<segment> what;
        bool over = false;
    };
    std::vector<loan> loans;
    std::deque<std::unique_ptr<errand_here>> waiting[priority_count];
    std::vector<std::unique_ptr<errand_here>> running;
    std::vector<std::unique_ptr<open_object>> objects;
    std::uint64_t last_object = 0;

    std::size_t count() const noexcept;
    bool in_use() const noexcept;
};

/// Does what peers ask for with what is published here and no fabric reaches: each errand is a copy like any other, on this
/// agent's engine, between that and the peer's memory. How many run at once is bounded; further ones wait.
class serving {
public:
    serving(engine&, peers&, const peer_options&);
    ~serving();

    void take(link&, const wire::lend&);
    void take(link&, const wire::unlend&);
    void take(link&, const wire::errand&);
    /// Replies to what is over, and begins what may begin now.
    std::size_t poll();
    /// An errand's copy is over (engine).
    void ended(operation&) noexcept;
    /// Ends what those do who may not, or not any more. `over` is called when nothing of theirs touches anything.
    void expel(std::function<void()> over);
    /// The agent goes: nothing more begins.
    void close() noexcept;
    bool busy() const noexcept;
    void strand(link&) noexcept;       ///< it is lost
    void forget(const link&) noexcept;

private:
    service_book& book(link&);
    std::unique_ptr<errand_here> next();
    std::unique_ptr<errand_here> next(std::size_t priority);
    bool room(const link&) const noexcept;
    void start(std::unique_ptr<errand_here>);
    errc begin(errand_here&);
    errc begin_move(errand_here&, segment& place);
    errc begin_step(errand_here&, segment& place);
    errc locate(errand_here&, segment*& place);
    errc expect(const errand_here&, const segment& place, std::uint32_t& sum) const;
    operation& make(errand_here&, const slice& from, const slice& to, bool verify);
    static void mine(operation&, errand_here&) noexcept;
    void run_step(errand_here&, segment& object);
    void conclude(errand_here&);
    void refuse(link&, const wire::errand&, errc);
    void give_up_idle(link&);
    void clean(service_book&);

    engine& engine_;
    peers& peers_;
    const std::uint32_t most_, most_each_;
    std::vector<link*> books_;
    std::vector<errand_here*> finished_;
    std::size_t running_ = 0, waiting_ = 0;
    std::size_t next_book_ = 0;
    std::uint32_t owed_ = 0;           ///< begun since background had its turn
    bool closed_ = false;
    std::unique_ptr<segment> nothing_; ///< of no length, where there is nothing to move
};

} // namespace wye::detail
