// SPDX-License-Identifier: Apache-2.0
#include "timer_heap.hpp"

#include <algorithm>

namespace wye::detail {

void timer_heap::add(timer& t)
{
    heap_.push_back(&t);
    t.place = static_cast<std::uint32_t>(heap_.size() - 1);
    up(heap_.size() - 1);
}

void timer_heap::remove(timer& t) noexcept
{
    if (!t.armed()) return;
    const std::size_t at = t.place;
    timer* last = heap_.back();
    heap_.pop_back();
    t.place = timer::idle;
    if (last == &t) return;
    put(at, last);
    up(at);
    down(last->place);
}

void timer_heap::up(std::size_t at) noexcept
{
    timer* t = heap_[at];
    while (at != 0) {
        const std::size_t parent = (at - 1) / 4;
        if (heap_[parent]->when <= t->when) break;
        put(at, heap_[parent]);
        at = parent;
    }
    put(at, t);
}

void timer_heap::down(std::size_t at) noexcept
{
    timer* t = heap_[at];
    for (;;) {
        const std::size_t first = 4 * at + 1;
        if (first >= heap_.size()) break;
        const std::size_t end = std::min(first + 4, heap_.size());
        std::size_t least = first;
        for (std::size_t child = first + 1; child < end; ++child)
            if (heap_[child]->when < heap_[least]->when) least = child;
        if (t->when <= heap_[least]->when) break;
        put(at, heap_[least]);
        at = least;
    }
    put(at, t);
}

} // namespace wye::detail
