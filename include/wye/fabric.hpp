// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <wye/driver.hpp>

namespace wye {

/// A driver that reaches other agents: one-sided reads and writes over its rails, and small messages beside them.
///
/// It knows addresses and keys; names, secrets, epochs and notifications are the runtime's. A chunk ends when its bytes
/// have arrived at their target, not when they have left. `driver`'s rules hold; what the calls below give back through
/// callbacks comes at once or from `poll`.
class fabric : public driver {
public:
    /// What a peer needs to reach this agent: opaque bytes, at most 4 KiB. From now on messages may come.
    virtual std::vector<std::byte> address() = 0;

    /// What lets a peer in.
    struct key {
        std::uint64_t id = 0;               ///< for `withdraw`
        std::vector<std::byte> description; ///< what the peer needs; opaque, at most 4 KiB
    };
    /// Lets those who have the key read the segment, or read and write it.
    virtual void grant(segment&, access, std::function<void(error_code, key)>) = 0;
    /// When this returns, nothing that comes in by that key touches memory any more. Whoever may still be writing by it is
    /// to be cut off next: where memory is written by the processor, what is half received is not stopped by the key.
    virtual void withdraw(std::uint64_t id) noexcept = 0;
    /// When this returns, nothing that the peer has posted so far touches memory here any more; what it posts from now on
    /// does, by keys that are good. What is under way between the two may end in `errc::path_lost` at either side.
    virtual void cut_off(std::uint32_t /*peer*/) noexcept {}

    /// Makes an agent known by its address. Gives it a number, `segment::peer` of what it has; not 0.
    virtual void admit(std::span<const std::byte> address, std::function<void(error_code, std::uint32_t peer)>) = 0;
    /// It is gone, or we are done with it. Chunks to and from it end, if need be in an error and by fencing what they
    /// were posted through; when `severed` is called, nothing that was posted to it touches memory here, and the number
    /// may be given to another.
    virtual void sever(std::uint32_t peer, std::function<void()> severed) = 0;

    /// A segment that stands for a peer's memory, by what its `grant` described. Null when that makes no sense.
    virtual std::unique_ptr<segment> import(std::uint32_t peer, wye::tier, std::int32_t device, std::uint64_t length,
                                            std::span<const std::byte> description) = 0;
    /// Another key to the same memory, for chunks submitted from now on. `drained` is called when none is left that was
    /// submitted before. False when the description makes no sense.
    virtual bool renew(segment& imported, std::span<const std::byte> description, std::function<void()> drained) = 0;

    /// Finds out whether that rail carries anything to that peer, after a chunk has ended in `errc::path_lost` or was
    /// missed. Asked again later if not; meanwhile nothing is submitted to that rail for it.
    virtual void open_path(std::uint32_t /*rail*/, std::uint32_t /*peer*/, std::function<void(error_code)> opened)
    {
        opened({});
    }

    /// Sends at most 8 KiB, which it copies. The message may be lost, doubled or overtaken. `attempt` counts how often
    /// these bytes were sent: another attempt takes another rail, where there is one. False: not now.
    virtual bool send(std::uint32_t peer, std::uint32_t attempt, std::span<const std::byte> message) noexcept = 0;

protected:
    /// From `poll`: a message came. From whom is for the runtime to find out.
    void received(std::span<const std::byte> message) noexcept;
    /// From `poll`: nothing leads to that peer any more, as far as this fabric goes. Not needed where silence is all that
    /// can be seen. It is severed next.
    void gone(std::uint32_t peer) noexcept;
};

} // namespace wye
