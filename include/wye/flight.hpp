// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <wye/copy.hpp>
#include <wye/task.hpp>

namespace wye {

namespace detail {
struct flight_state;
}

/// What became of a transfer.
struct outcome {
    error_code error;
    std::size_t bytes = 0; ///< that landed
};

/// A transfer under way whose caller need not wait for it: it answers on time while the flight keeps the lease
/// on both slices. Move-only; on the runtime's thread.
///
/// A flight that goes while its transfer runs cancels it and lets go; the regions still may not go before it
/// has drained.
class flight {
public:
    flight() noexcept;
    explicit flight(std::unique_ptr<detail::flight_state> s) noexcept;
    flight(flight&&) noexcept;
    flight& operator=(flight&&) noexcept;
    ~flight();

    /// True once the transfer has succeeded; false if it is still under way after `d`. A failed transfer throws
    /// its error. One waiter at a time.
    task<bool> by(duration d);
    /// When no hardware touches either slice any more. Does not throw for the transfer's error.
    task<outcome> drained();
    bool done() const noexcept;
    /// Stops what is not yet posted; `drained` says when the rest is over.
    void cancel() noexcept;

private:
    std::unique_ptr<detail::flight_state> state_;
};

/// Begins a copy and returns at once.
flight start(slice from, slice to, const copy_options& = {});
flight start(std::span<const transfer> batch, const copy_options& = {});

} // namespace wye
