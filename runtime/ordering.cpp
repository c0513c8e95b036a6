// SPDX-License-Identifier: Apache-2.0
// Copies that come after what a GPU does for others, and streams that come after copies.

#include <algorithm>
#include <utility>

#include "engine.hpp"

namespace wye::detail {

namespace {

const segment* on_gpu(const extent& x) noexcept
{
    if (x.from->tier == tier::vram) return x.from;
    return x.to->tier == tier::vram ? x.to : nullptr;
}

/// What would wait on the device: all of it, where the driver that orders is the first to have it.
device_order::waiting waiting_of(const operation& op, const device_order* by, std::int32_t device) noexcept
{
    device_order::waiting w{true, 0, 0};
    for (std::uint32_t i = 0; i < op.count; ++i) {
        const extent& x = op.extents[i];
        if (x.at == phase::over) continue;
        const segment* const s = on_gpu(x);
        driver& first = *x.route->first->of->by;
        w.on_device = w.on_device && s && s->device == device && first.order() == by;
        w.bytes += x.length;
        w.chunks += 1 + x.length / x.route->first->limits.chunk_bytes;
    }
    return w;
}

} // namespace

/// Takes the points in the order of the device; whether it may go on now. If not, it has ended, or waits.
bool engine::ordered(operation& op) noexcept
{
    ordering& o = *op.ordered;
    if (!enter(op, o)) return false;
    error_code why;
    if (o.mark == 0 || o.by->passed(o.mark, o.waiting, why)) {
        if (why) stop(op, why);
        return !why;
    }
    o.waits = true;
    waiting_.push_back(&op);
    loop_.nudge();
    return false;
}

bool engine::enter(operation& op, ordering& o) noexcept
{
    for (const auto& d : drivers_)
        if ((o.by = d->order())) break;
    if (!o.by) {
        stop(op, errc::not_supported);
        return false;
    }
    std::int32_t device = 0;
    const segment* s = nullptr;
    for (std::uint32_t i = 0; i < op.count && !s; ++i)
        if (op.extents[i].at != phase::over) s = on_gpu(op.extents[i]);
    if (s) device = s->device;
    error_code why;
    if (o.after.at != gpu_order::point::none) {
        o.mark = o.by->mark(o.after, device, why);
        o.waiting = waiting_of(op, o.by, device);
    }
    if (!why && o.before.asked) o.held = o.by->hold(o.before, device, why);
    if (why) stop(op, why);
    return !why;
}

/// Those whose point has come.
std::size_t engine::go_on_in_order() noexcept
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < waiting_.size();) {
        operation& op = *waiting_[i];
        error_code why;
        if (!op.ordered->by->passed(op.ordered->mark, op.ordered->waiting, why)) {
            ++i;
            continue;
        }
        ++n;
        op.ordered->waits = false;
        waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
        if (why) stop(op, why);
        else go(op);
    }
    return n;
}

/// It is over: the stream goes on, and learns how it ended.
void engine::leave_order(operation& op) noexcept
{
    ordering& o = *std::exchange(op.ordered, nullptr);
    if (o.waits) std::erase(waiting_, &op);
    if (o.mark != 0) o.by->forget(o.mark);
    if (o.held != 0) o.by->let_go(o.held, !op.error.failed());
    else if (o.before.status) *o.before.status = static_cast<std::uint32_t>(gpu_status::failed);
    delete &o;
}

} // namespace wye::detail
