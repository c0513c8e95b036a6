// SPDX-License-Identifier: Apache-2.0
// Operations from `copy` to completion: checked, lined up, stopped, settled.

#include <algorithm>
#include <memory>

#include <boost/asio/error.hpp>

#include <wye/progress.hpp>

#include "engine.hpp"
#include "ledger.hpp"

namespace wye::detail {

namespace {

bool keeps_sums(tier t) noexcept { return t == tier::file || t == tier::block; }

template <class T>
T* allocate(loop& l, std::size_t n)
{
    T* first = static_cast<T*>(l.memory().allocate(n * sizeof(T)));
    for (std::size_t i = 0; i < n; ++i) new (first + i) T{};
    return first;
}

template <class T>
void give_back(loop& l, T* first, std::size_t n) noexcept
{
    std::destroy_n(first, n);
    l.memory().deallocate(first, n * sizeof(T));
}

void release(pending* p) noexcept
{
    auto* op = static_cast<operation*>(p);
    loop& l = *op->on;
    full(l).operation_finished();
    if (op->express) return full(l).keep(*op);
    delete op->ordered; // of one that was never begun
    if (op->checks) give_back(l, op->checks, op->count);
    if (op->legs && op->legs != &op->only) give_back(l, op->legs, op->leg_count);
    if (op->extents != &op->one) give_back(l, op->extents, op->count);
    op->~operation();
    l.memory().deallocate(op, sizeof(operation));
}

} // namespace

operation::operation(wye::detail::loop& l) noexcept : pending{l, &release}
{
    cancel = [](pending* p) noexcept {
        auto* op = static_cast<operation*>(p);
        if (!op->over) op->by->stop(*op, boost::asio::error::operation_aborted);
    };
    fire = [](timer* t) noexcept {
        auto* op = static_cast<operation*>(t);
        op->by->stop(*op, errc::deadline_missed);
    };
}

/// The extents are for the caller to construct.
operation* engine::make(std::size_t extents, const copy_options& o)
{
    auto* op = static_cast<operation*>(loop_.kept());
    if (op) op->renew();
    else op = new (loop_.memory().allocate(sizeof(operation))) operation{loop_};
    loop_.operation_started();
    op->by = this;
    op->count = static_cast<std::uint32_t>(extents);
    op->extents = extents <= 1 ? &op->one
                               : static_cast<extent*>(loop_.memory().allocate(extents * sizeof(extent)));
    if (o.verify) op->checks = allocate<check>(loop_, extents);
    op->priority = o.priority;
    op->verify = o.verify;
    op->status = o.status.size() >= extents ? o.status.data() : nullptr;
    op->progress = o.progress;
    if (!o.notify.empty()) op->notify = new note{{std::string{o.notify}, {o.payload.begin(), o.payload.end()}}, {}};
    if (o.after.at != gpu_order::point::none || o.before.asked) op->ordered = new ordering{o.after, o.before};
    op->when = o.deadline.count() > 0 ? loop_.now() + o.deadline : steady::time_point{};
    return op;
}

/// Whether this can begin at all; resolves the route, and says what a check will expect.
[[gnu::noinline]] errc engine::check_extent(operation& op, extent& x) noexcept
{
    if (!x.from || !x.to) return errc::invalid_slice;
    if (x.from->engine != this || x.to->engine != this)
        return x.from->engine && x.to->engine ? errc::other_runtime : errc::invalid_slice;
    if (x.from->via || x.to->via || x.from->served || x.to->served)
        if (const errc e = out_of_reach(x); e != errc{}) return e;
    if (x.to->access == access::read_only) return errc::read_only;
    if (x.length == slice::whole) {
        if (x.from->tier != tier::object || x.to->tier != tier::object) return errc::invalid_slice;
    } else if (!within(x)) {
        return errc::out_of_range;
    }
    x.route = route_between(*x.from, *x.to);
    if (x.route && x.route->either) x.route = choose(op, x);
    if (!x.route) return errc::no_route;
    if (x.to_offset != 0 && is_object(*x.to) && !x.joined()) return errc::not_supported; // they are replaced whole

    if (op.verify && keeps_sums(x.from->tier) && !x.from->via && x.length != 0) {
        check& c = op.checks[&x - op.extents];
        const auto sum = x.from->sums ? x.from->sums->find(x.from_offset, x.length) : std::nullopt;
        if (!sum) return errc::unverified;
        c.expected = *sum;
        c.known = true;
    }
    return {};
}

/// Checks every extent. One that lies between the same segments as the one before it, which is how pages come,
/// needs only its bounds looked at.
void engine::check_all(operation& op) noexcept
{
    const extent* like = nullptr; // the latest between segments that nothing needs to be seen to about
    std::uint64_t from_length = 0, to_length = 0;
    op.alike = true;
    for (std::uint32_t i = 0; i < op.count; ++i) {
        extent& x = op.extents[i];
        if (like && x.from == like->from && x.to == like->to && within(x, from_length, to_length) &&
            x.length != slice::whole && !x.failed) {
            x.route = like->route;
            if (op.status) op.status[x.index] = {};
            continue;
        }
        const errc e = x.failed ? errc::length_mismatch : check_extent(op, x);
        if (op.status) op.status[x.index] = e == errc{} ? error_code{} : make_error_code(e);
        like = e == errc{} && !op.verify && !is_object(*x.from) && !is_object(*x.to) && !x.to->sums &&
                       !route_between(*x.from, *x.to)->either
                   ? &x
                   : nullptr;
        op.alike = op.alike && like && i == 0;
        if (like) {
            from_length = x.from->length;
            to_length = x.to->length;
        }
        if (e == errc{}) continue;
        if (!op.error) op.error = e;
        x.failed = true;
        x.at = phase::over;
        --op.left;
    }
}

/// What was known of the target holds no more: it is about to be overwritten.
[[gnu::noinline]] void engine::forget_sums(extent& x) noexcept
{
    if (x.at != phase::over && x.to->sums) x.to->sums->forget(x.to_offset, x.length);
}

/// From here on the segments may not go: one count for each run of extents between the same two.
void engine::hold(operation& op) noexcept
{
    const extent* before = nullptr;
    for (std::uint32_t i = 0; i < op.count; ++i) {
        extent& x = op.extents[i];
        if (x.at == phase::over || (before && before->from == x.from && before->to == x.to)) continue;
        before = &x;
        x.held = true;
        ++x.from->in_flight;
        ++x.to->in_flight;
        x.route->pair->busy.begin(loop_);
        if (op.alike) return;
    }
}

/// What goes for one goes for all. None of the segments is an object, so none waits to be freed.
void engine::let_go_alike(operation& op) noexcept
{
    const extent& x = *op.extents;
    pair_meter& meter = *x.route->pair;
    meter.busy.end();
    meter.operations += op.count;
    --x.from->in_flight;
    --x.to->in_flight;
}

[[gnu::noinline]] void engine::let_go(operation& op) noexcept
{
    for (std::uint32_t i = 0; i < op.count; ++i) {
        extent& x = op.extents[i];
        if (!x.route) continue;
        pair_meter& meter = *x.route->pair;
        if (x.held) {
            meter.busy.end();
            for (segment* s : {x.from, x.to})
                if (--s->in_flight == 0 && s->released) delete s;
        }
        ++meter.operations;
        meter.errors += x.failed;
    }
}

/// Makes the operation's legs: extents that begin at the same line queue together.
void engine::line_up(operation& op) noexcept
{
    const extent* const x = op.extents;
    const route* const r = x->route;
    const auto alone = [&](const extent& e) { return must_open_source(e) || must_open_target(e); };
    bool uniform = op.alike || op.count == 1;
    if (!uniform) {
        uniform = true;
        for (std::uint32_t i = 0; uniform && i < op.count; ++i)
            uniform = x[i].at != phase::over && x[i].route == r && !alone(x[i]);
    }
    if (!uniform) return line_up_apart(op);
    op.legs = &op.only;
    op.leg_count = 1;
    op.only.op = &op;
    op.only.end = op.count;
    op.only.simple = r->simple && !op.verify;
    queue(op.only);
}

/// The same for extents of several kinds. An object that has to be opened queues alone, so that it holds nobody up.
void engine::line_up_apart(operation& op) noexcept
{
    const auto alone = [&](const extent& x) { return must_open_source(x) || must_open_target(x); };
    const auto way_of = [&](const extent& x) { return x.route->first; };
    extent* const x = op.extents;
    const auto rank = [&](const extent& e) { return e.at == phase::over ? 2 : alone(e) ? 1 : 0; };
    const auto order = [&](const extent& a, const extent& b) {
        if (rank(a) != rank(b)) return rank(a) < rank(b);
        if (rank(a) == 0 && way_of(a) != way_of(b)) return way_of(a)->index < way_of(b)->index;
        return a.index < b.index;
    };
    std::sort(x, x + op.count, order);
    if (op.checks) { // they lie beside the extents
        check* sorted = allocate<check>(loop_, op.count);
        for (std::uint32_t i = 0; i < op.count; ++i) sorted[i] = op.checks[x[i].index];
        give_back(loop_, op.checks, op.count);
        op.checks = sorted;
    }
    const auto starts = [&](std::uint32_t i) {
        return rank(x[i]) != 2 && (i == 0 || rank(x[i]) == 1 || way_of(x[i]) != way_of(x[i - 1]));
    };
    for (std::uint32_t i = 0; i < op.count; ++i) op.leg_count += starts(i);
    if (op.leg_count == 0) return;
    op.legs = allocate<leg>(loop_, op.leg_count);
    leg* l = op.legs - 1;
    for (std::uint32_t i = 0; i < op.count && rank(x[i]) != 2; ++i) {
        if (starts(i)) {
            ++l;
            l->op = &op;
            l->cursor = i;
        }
        l->end = i + 1;
    }
    for (std::uint32_t i = 0; i < op.leg_count; ++i) queue(op.legs[i]);
}

[[gnu::noinline]] void engine::queue(leg& l) noexcept
{
    const operation& op = *l.op;
    if (op.stopping || l.cursor == l.end) return;
    op.extents[l.cursor].route->first->wait(l, static_cast<std::size_t>(op.priority));
}

void engine::begin(operation& op) noexcept
{
    ++active_;
    ++begun_;
    operations_.push_back(op);
    op.left = op.count;
    check_all(op);
    if (op.error && !op.status) { // nothing has moved, and nothing will
        op.stopping = true;
        op.left = 0;
    }
    if (op.left == 0) {
        if (op.notify) address(op);
        return finish(op);
    }
    for (std::uint32_t i = 0; !op.alike && i < op.count; ++i) forget_sums(op.extents[i]);

    const extent* first = op.extents;
    while (first->at == phase::over) ++first;
    if (op.progress) {
        std::uint64_t bytes = 0;
        for (std::uint32_t i = 0; i < op.count; ++i)
            if (op.extents[i].at != phase::over && op.extents[i].length != slice::whole) bytes += op.extents[i].length;
        op.progress->begin(bytes);
    }
    if (op.count > 1 || sampled(begun_, first->length)) op.began = loop_.stamp();
    if (op.when != steady::time_point{}) loop_.timers().add(op);
    hold(op);
    if (!op.ordered || ordered(op)) go(op);
}

/// Its pieces may be cut.
void engine::go(operation& op) noexcept
{
    if (op.notify) {
        if (put(op)) return;
        address(op);
    }
    line_up(op);
    loop_.nudge();
}

/// No more pieces. What is posted drains; the rest is settled now, and the operation with it if nothing is out.
void engine::stop(operation& op, error_code e) noexcept
{
    if (op.over || op.stopping) return;
    op.stopping = true;
    op.express = false;
    if (!op.error) op.error = e;
    if (e.category() == wye_category()) op.why = static_cast<errc>(e.value());
    for (std::uint32_t i = 0; i < op.leg_count; ++i) leave_queue(op.legs[i]);
    ++op.left; // so that it is not finished, and freed, under this function
    sweep(op);
    for (std::uint32_t i = 0; i < op.count; ++i) {
        extent& x = op.extents[i];
        if (x.at == phase::over) continue;
        const bool to_commit = x.opened && x.opened->target_open && !x.opened->joined; // which would be posting, too
        if (x.at < phase::moving || (x.at == phase::moving && (x.cut != x.length || to_commit))) x.failed = true;
        settle(op, x);
    }
    if (--op.left == 0) finish(op);
}

/// Takes pieces that no driver has out of the queues, all or those to and from a peer. Sessions must end all the same, but
/// none in a commit.
void engine::sweep(operation& op, const link* peer) noexcept
{
    const auto from = [&](fifo<piece>& queue) {
        fifo<piece> kept, dropped;
        while (piece* p = queue.pop()) {
            const bool concerned = p->op == &op && (!peer || touches(*p->of, *peer));
            if (concerned && p->step == step::commit) {
                p->step = step::abandon;
                p->of->failed = true;
            }
            (concerned && p->stage != stage::session ? dropped : kept).push(*p);
        }
        queue = kept;
        while (piece* p = dropped.pop()) spare_posting(*p);
    };
    for (auto& d : ports_) {
        for (lane& l : d->lanes) {
            from(l.resumed);
            if (l.out != 0 || !l.refused) continue;
            l.refused = false; // what was refused may be gone, and then no reap will come
            if (room(l, urgent)) d->full.set(l.rail, false);
        }
        for (auto& w : d->lines) {
            for (auto& queue : w->ready) from(queue);
            from(w->parked);
        }
    }
    from(summing_);
}

void engine::fail(operation& op, extent& x, error_code e) noexcept
{
    x.failed = true;
    if (op.status) {
        if (!op.status[x.index]) op.status[x.index] = e;
        if (!op.error) op.error = e;
    } else {
        stop(op, e);
    }
}

/// Moves an extent on when none of its pieces is out: to its closing, or to its end.
[[gnu::noinline]] void engine::settle(operation& op, extent& x) noexcept
{
    if (x.out != 0 || x.at == phase::over) return;
    const bool all_moved = x.at > phase::moving || (x.at == phase::moving && x.cut == x.length);
    if (!x.failed && !all_moved) return;
    if (!x.failed && !x.judged) {
        x.judged = true;
        if (const error_code bad = verdict(op, x)) {
            ++x.out; // failing may stop the operation, which settles its extents: not this one, yet
            fail(op, x, bad);
            --x.out;
        }
    }
    if (x.opened && x.opened->target_open && !x.opened->joined) {
        x.opened->target_open = false;
        x.at = phase::closing_target;
        return close_session(op, x, x.failed ? step::abandon : step::commit, false);
    }
    if (x.opened && x.opened->source_open && !x.opened->joined) {
        x.opened->source_open = false;
        x.at = phase::closing_source;
        return close_session(op, x, step::abandon, true);
    }
    error_code e;
    if (x.failed) e = op.status && op.status[x.index] ? op.status[x.index] : stop_error(op);
    close(op, x, e);
    if (op.left == 0) finish(op);
}

/// The end of an extent.
void engine::close(operation& op, extent& x, error_code e) noexcept
{
    x.at = phase::over;
    if (op.status && e) op.status[x.index] = e;
    if (!e && op.verify && keeps_sums(x.to->tier) && !x.to->via) {
        if (!x.to->sums) x.to->sums = std::make_unique<ledger>();
        x.to->sums->record(x.to_offset, x.length, op.checks[&x - op.extents].sum);
    }
    if (x.opened) {
        loop_.memory().deallocate(x.opened, sizeof(sessions));
        x.opened = nullptr;
    }
    --op.left;
}

/// In the books of the pair of tiers that its first transfer was between.
void engine::took(operation& op, duration time) noexcept
{
    const extent* x = op.extents;
    while (!x->route) ++x;
    x->route->pair->latency.add(time);
    if (x == op.extents && x->on_trial) judge(op, time);
}

[[gnu::noinline]] void engine::finish(operation& op) noexcept
{
    op.over = true;
    op.hook::unlink();
    for (std::uint32_t i = 0; i < op.leg_count; ++i) leave_queue(op.legs[i]);
    if (op.armed()) loop_.timers().remove(op);
    if (op.began) took(op, duration{static_cast<duration::rep>(loop_.stamp() - op.began)});
    if (op.alike && !op.error.failed()) let_go_alike(op);
    else let_go(op);
    if (op.error.failed()) {
        cancelled_ += op.error == boost::asio::error::operation_aborted;
        missed_ += op.error == errc::deadline_missed;
    }
    if (op.ordered) leave_order(op);
    if (op.notify && tell(op)) return;
    conclude(op);
}

void engine::conclude(operation& op) noexcept
{
    --active_;
    if (op.served) peers_.served(op);
    else op.complete();
}

/// Those of its transfers are lost that have part in the peer; all, where nobody asks for the `status` of each.
void engine::abandon(operation& op, const link& l, errc why) noexcept
{
    if (!op.status) return stop(op, why);
    ++op.left; // as in `stop`
    const auto each = [&](auto&& what) {
        for (std::uint32_t i = 0; i < op.count; ++i)
            if (extent& x = op.extents[i]; x.at != phase::over && touches(x, l)) what(x);
    };
    each([&](extent& x) { fail(op, x, why); });
    sweep(op, &l);
    each([&](extent& x) { settle(op, x); });
    if (--op.left == 0) finish(op);
}

/// Copies from or to what can be reached no more.
void engine::abandon(link& l, errc why) noexcept
{
    const auto concerns = [&](const operation& op) {
        return std::any_of(op.extents, op.extents + op.count,
                           [&](const extent& x) { return x.at != phase::over && touches(x, l); });
    };
    // Stopping one may finish it, and so unlink it.
    for (auto at = operations_.begin(); at != operations_.end();) {
        operation& op = *at++;
        if (concerns(op)) abandon(op, l, why);
    }
    unpark(l); // legs that have more to do than that
}

} // namespace wye::detail
