// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <utility>

#include <wye/detail/pending.hpp>
#include <wye/error.hpp>
#include <wye/options.hpp>
#include <wye/prepared.hpp>
#include <wye/segment.hpp>
#include <wye/units.hpp>

namespace wye::detail {

/// An operation made but not begun, or why there is none; and the loop it belongs to, if that much is known.
struct made {
    pending* op = nullptr;
    detail::loop* on = nullptr;
    error_code error;
};

made make_copy(const slice& from, const slice& to, const copy_options&);
made make_copy(std::span<const transfer>, const copy_options&);
made make_copy(const selection& from, const selection& to, const copy_options&);
void begin_copy(pending*) noexcept;

made make_sleep(loop&, duration);
void begin_sleep(pending*) noexcept;

template <bool Counted, class Handler>
void launch(const made& m, void (*begin)(pending*) noexcept, Handler&& h)
{
    if (!m.op) return fail_later<Counted>(m.on, std::forward<Handler>(h), m.error);
    m.op->emplace<Counted>(std::forward<Handler>(h));
    begin(m.op);
}

// Initiations. Their call operators are for rvalues only, so that a deferred copy kept in a variable, whose
// views may be gone by then, is not awaited by accident.

struct initiate_copy {
    slice from, to;
    copy_options options;
    template <class Handler>
    void operator()(Handler&& h) &&
    {
        launch<true>(make_copy(from, to, options), &begin_copy, std::forward<Handler>(h));
    }
};

/// Without options, which is shorter to carry about.
struct initiate_plain_copy {
    slice from, to;
    template <class Handler>
    void operator()(Handler&& h) &&
    {
        launch<true>(make_copy(from, to, copy_options{}), &begin_copy, std::forward<Handler>(h));
    }
};

struct initiate_batch {
    std::span<const transfer> batch;
    copy_options options;
    template <class Handler>
    void operator()(Handler&& h) &&
    {
        launch<true>(make_copy(batch, options), &begin_copy, std::forward<Handler>(h));
    }
};

struct initiate_selection {
    selection from, to;
    copy_options options;
    template <class Handler>
    void operator()(Handler&& h) &&
    {
        launch<true>(make_copy(from, to, options), &begin_copy, std::forward<Handler>(h));
    }
};

struct initiate_sleep {
    loop& on;
    duration time;
    template <class Handler>
    void operator()(Handler&& h) &&
    {
        launch<false>(make_sleep(on, time), &begin_sleep, std::forward<Handler>(h));
    }
};

} // namespace wye::detail
