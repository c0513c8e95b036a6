// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <wye/driver.hpp>

namespace wye::host {

/// Copies chunks between addresses, a slice at a time, urgent ones first: what the host driver and the VRAM
/// stand-in have in common. Where the two sides of a chunk overlap it behaves as memmove does.
class copy_queue {
public:
    /// Only queues; `chunk::scratch[0]` counts the bytes copied so far.
    void push(chunk& c) noexcept
    {
        c.scratch[0] = 0;
        (c.urgent ? urgent_ : normal_).push(c);
    }

    /// Copies until the turn is over, or so much without one that other sources are not kept waiting. At
    /// least one slice, so that turns that are always over by now still get there. Returns chunks ended, and
    /// one more for a chunk left half done.
    std::size_t poll(turn) noexcept;

private:
    class fifo {
    public:
        chunk* front() const noexcept { return head_; }
        void push(chunk& c) noexcept
        {
            c.next = nullptr;
            (head_ ? tail_->next : head_) = &c;
            tail_ = &c;
        }
        void pop() noexcept { head_ = head_->next; }

    private:
        chunk* head_ = nullptr;
        chunk* tail_ = nullptr;
    };

    fifo urgent_, normal_;
};

/// What copying with the processor takes and costs.
limits copy_limits() noexcept;

} // namespace wye::host
