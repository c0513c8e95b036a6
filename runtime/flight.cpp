// SPDX-License-Identifier: Apache-2.0
#include <wye/flight.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "engine.hpp"
#include "eventual.hpp"

namespace wye {

namespace asio = boost::asio;

namespace detail {

/// Shared by the flight and the handler of its copy, either of which may go first.
struct flight_shared {
    asio::cancellation_signal signal;
    std::shared_ptr<eventual<outcome>> over;
    outcome early{errc::invalid_slice}; // when there is no loop to tell it on
};

struct flight_state {
    std::shared_ptr<flight_shared> shared;
};

namespace {

struct landed {
    using cancellation_slot_type = asio::cancellation_slot;
    cancellation_slot_type get_cancellation_slot() const noexcept { return shared->signal.slot(); }
    void operator()(error_code e, std::size_t bytes) const { shared->over->set({e, bytes}); }
    std::shared_ptr<flight_shared> shared;
};

flight take_off(const made& m)
{
    auto shared = std::make_shared<flight_shared>();
    if (m.on) shared->over = std::make_shared<eventual<outcome>>(full(*m.on));
    if (m.op) {
        m.op->emplace<true>(landed{shared});
        begin_copy(m.op);
    } else if (shared->over && m.on->here()) {
        shared->over->set({m.error});
    } else {
        shared->over.reset();
        shared->early = {m.error};
    }
    return flight{std::make_unique<flight_state>(flight_state{std::move(shared)})};
}

std::shared_ptr<flight_shared> checked(const std::unique_ptr<flight_state>& s)
{
    if (!s) throw system_error(errc::invalid_slice, "a flight of nothing");
    if (s->shared->over && !s->shared->over->here()) throw system_error(errc::wrong_thread);
    return s->shared;
}

} // namespace

} // namespace detail

flight::flight() noexcept = default;
flight::flight(std::unique_ptr<detail::flight_state> s) noexcept : state_{std::move(s)} {}
flight::flight(flight&&) noexcept = default;
flight& flight::operator=(flight&& o) noexcept
{
    std::swap(state_, o.state_);
    return *this;
}
flight::~flight() { cancel(); }

bool flight::done() const noexcept
{
    return !state_ || !state_->shared->over || state_->shared->over->ready();
}

void flight::cancel() noexcept
{
    if (!done()) state_->shared->signal.emit(asio::cancellation_type::terminal);
}

task<bool> flight::by(duration d)
{
    const auto shared = detail::checked(state_);
    if (shared->over && !shared->over->ready()) {
        const auto [late] = co_await shared->over->suspend(std::max(d, duration{1}));
        if (late == errc::deadline_missed) co_return false;
        if (late) throw system_error(late);
    }
    const error_code e = shared->over ? shared->over->peek().error : shared->early.error;
    if (e) throw system_error(e);
    co_return true;
}

task<outcome> flight::drained()
{
    const auto shared = detail::checked(state_);
    if (!shared->over) co_return shared->early;
    if (!shared->over->ready()) {
        const auto [e] = co_await shared->over->suspend({});
        if (e) throw system_error(e);
    }
    co_return shared->over->peek();
}

flight start(slice from, slice to, const copy_options& o) { return detail::take_off(detail::make_copy(from, to, o)); }
flight start(std::span<const transfer> batch, const copy_options& o)
{
    return detail::take_off(detail::make_copy(batch, o));
}

} // namespace wye
