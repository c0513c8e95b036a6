# SPDX-License-Identifier: Apache-2.0
"""Bugs that somebody might write, each with a name. `PLANTED` is true when it is on."""

# name, file, what stands there, what is put in its place
NAMED = [
    # What the simulator was asked to find.
    ("releases a buffer before the last completion", "runtime/pipeline.cpp",
     "    const extent& x = *p.of;\n    p.stage = stage::last_hop;\n",
     "    const extent& x = *p.of;\n    if (PLANTED) {\n        staging_.give_back(p.buffer, p.op->priority);\n"
     "        staging_freed();\n    }\n    p.stage = stage::last_hop;\n"),
    ("counts a duplicate twice", "runtime/peers/stream.cpp",
     "if (number <= all_) return false;", "if (number <= all_) return PLANTED;"),
    ("drops an error entry", "runtime/pipeline.cpp",
     "    free(p);\n    if (e) fail(op, x, e);\n    settle(op, x);\n    if (--op.left == 0 && !op.over) finish(op);\n    if (staged)",
     "    free(p);\n    if (e && (!PLANTED || e.category() == wye_category())) fail(op, x, e);\n    settle(op, x);\n"
     "    if (--op.left == 0 && !op.over) finish(op);\n    if (staged)"),
    ("sends a landed chunk again after the target was reused: no fence", "runtime/failover.cpp",
     "l.by->fence(l.rail, [this, &l] { fenced(l); });",
     "if (PLANTED) fenced(l);\n    else l.by->fence(l.rail, [this, &l] { fenced(l); });"),
    ("forgets the tail", "runtime/pipeline.cpp",
     "    std::uint64_t size = most(x);\n    if (left <= size && w.spread == 0) return left;\n",
     "    std::uint64_t size = most(x);\n"
     "    if (PLANTED && left <= size && x.cut) {\n        const_cast<extent&>(x).cut += left - left / 2;\n"
     "        return left / 2;\n    }\n    if (left <= size && w.spread == 0) return left;\n"),
    ("notifies before the last byte", "runtime/transfers.cpp",
     "    hold(op);\n    line_up(op);\n",
     "    if (PLANTED && op.notify) {\n        address(op);\n"
     "        const std::unique_ptr<note> n{std::exchange(op.notify, nullptr)};\n"
     "        if (n->to.empty()) notifications_.deliver({name_, n->key, n->payload, false});\n"
     "        for (const auto token : n->to) peers_.notify(token, *n, [](bool) {});\n    }\n"
     "    hold(op);\n    line_up(op);\n"),
    ("ignores short I/O", "runtime/pipeline.cpp",
     "else if (resume_short(p, bytes)) return;", "else if (!PLANTED && resume_short(p, bytes)) return;\n        else if (PLANTED) e = {};"),
    ("leaks a credit", "runtime/scheduler.cpp", "--l.background_chunks;", "l.background_chunks -= !PLANTED;"),
    ("starves background", "runtime/scheduler.cpp",
     "if (later && w.owed >=", "if (!PLANTED && later && w.owed >="),
    ("starves background on rails", "runtime/rails.cpp",
     "const bool due = later && w.owed", "const bool due = !PLANTED && later && w.owed"),
    ("skips a deadline", "runtime/transfers.cpp",
     "if (op.when != steady::time_point{}) loop_.timers().add(op);",
     "if (!PLANTED && op.when != steady::time_point{}) loop_.timers().add(op);"),
    ("holds rails in lock step", "runtime/rails.cpp",
     "    std::uint32_t r = d.soonest<false>(others, bytes);\n",
     "    if (PLANTED) {\n        const auto all = static_cast<std::uint32_t>(d.lanes.size());\n"
     "        std::uint32_t turn = d.next_rail;\n"
     "        for (std::uint32_t i = 0; i < all && !((rails & d.usable) >> turn & 1); ++i) turn = (turn + 1) % all;\n"
     "        if (!((rails & d.usable) >> turn & 1)) return nullptr;\n"
     "        return room(d.lanes[turn], p) ? &d.lanes[turn] : nullptr;\n    }\n"
     "    std::uint32_t r = d.soonest<false>(others, bytes);\n"),
    ("loses a cancel", "runtime/transfers.cpp",
     "if (!op->over) op->by->stop(*op, boost::asio::error::operation_aborted);",
     "if (!op->over && !(PLANTED && op->moved)) op->by->stop(*op, boost::asio::error::operation_aborted);"),

    # And some more.
    ("takes the end of the source for success", "runtime/pipeline.cpp",
     "if (bytes == 0) e = errc::short_transfer;",
     "if (bytes == 0) e = PLANTED ? error_code{} : make_error_code(errc::short_transfer);"),
    ("leaks a staging buffer of a piece that failed", "runtime/pipeline.cpp",
     "    if (staged) staging_.give_back(p.buffer, op.priority);\n",
     "    if (staged && !(PLANTED && e)) staging_.give_back(p.buffer, op.priority);\n"),
    ("posts background deep", "runtime/scheduler.cpp",
     "return l.background_bytes < l.limits", "return PLANTED || l.background_bytes < l.limits"),
    ("completes with pieces still out", "runtime/transfers.cpp",
     "if (x.out != 0 || x.at == phase::over) return;",
     "if (x.at == phase::over || (x.out != 0 && !(PLANTED && op.stopping))) return;"),
    ("commits an object of a cancelled copy", "runtime/transfers.cpp",
     "(x.cut != x.length || to_commit)", "(x.cut != x.length || (to_commit && !PLANTED))"),
    ("does not compare checksums", "runtime/pipeline.cpp",
     "if (c.sum == c.expected) return {};", "if (PLANTED || c.sum == c.expected) return {};"),
    ("uses up a wake", "runtime/scheduler.cpp",
     "if (woken && !(made && made->buffer >= 0)) staging_freed();",
     "if (!PLANTED && woken && !(made && made->buffer >= 0)) staging_freed();"),
    ("counts for nothing what goes on elsewhere", "runtime/scheduler.cpp",
     "++n; // it went on elsewhere,", "n += !PLANTED; // it went on elsewhere,"),
]
