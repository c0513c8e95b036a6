// SPDX-License-Identifier: Apache-2.0
// Sessions of objects whose steps belong to several operations: a peer opens one, moves its parts, and ends it, each when
// it asks for that.

#include "engine.hpp"

namespace wye::detail {

/// One step, and nothing else. The object is the caller's to keep until the operation is over.
void engine::begin_step(operation& op, session_step& s, segment& object) noexcept
{
    ++active_;
    ++begun_;
    operations_.push_back(op);
    op.left = 1;
    op.alike = false;
    extent& x = *new (&op.one) extent;
    x.from = x.to = &object;
    x.at = phase::moving;
    x.opened = new (loop_.memory().allocate(sizeof(sessions))) sessions{};
    x.opened->step = &s;

    piece* const p = make_piece(op, x);
    p->stage = stage::session;
    p->step = s.what;
    (s.of_source ? p->from : p->to) = {&object, 0, s.total};
    p->total = s.total;
    p->session = s.session;
    p->has_checksum = s.has_checksum;
    p->checksum = s.checksum;
    port& by = *ports_[object.home->id()];
    line& w = by.many() ? by.line_of(by.every_rail(), by.every_rail(), lines_++) : *by.lines.front();
    w.wait(*p, static_cast<std::size_t>(op.priority));
    loop_.nudge();
}

void engine::step_ended(piece& p, error_code e) noexcept
{
    operation& op = *p.op;
    extent& x = *p.of;
    session_step& s = *x.opened->step;
    s.session = p.session;
    s.total = p.total;
    s.checksum = p.checksum;
    s.has_checksum = p.has_checksum;
    s.taken = !e && p.step == s.what; // a commit that was stopped has become an abandon
    free(p);
    if (e && !op.error) op.error = e;
    close(op, x, op.error);
    if (op.left == 0) finish(op);
}

/// Its one extent is a part of an object that is open.
void engine::join(operation& op, const session_step& s) noexcept
{
    auto* const o = new (loop_.memory().allocate(sizeof(sessions))) sessions{};
    (s.of_source ? o->source : o->target) = s.session;
    (s.of_source ? o->source_open : o->target_open) = true;
    o->joined = true;
    o->total = s.total;
    op.one.opened = o;
}

} // namespace wye::detail
