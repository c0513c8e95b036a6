// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "api.hpp"

namespace wye::cuf {

/// The primary contexts of the devices that memory was registered of, kept as long as this.
class contexts {
public:
    explicit contexts(const api* a) noexcept : api_{a} {}
    contexts(const contexts&) = delete;
    contexts& operator=(const contexts&) = delete;
    ~contexts();

    /// Null when the device cannot be had. On the runtime's thread; the first use of a device takes a moment.
    context open(int ordinal);
    context find(int ordinal) const noexcept;

private:
    struct held {
        int device;
        context of;
    };

    const api* const api_;
    std::map<int, held> held_; // by ordinal
};

/// That context is the thread's current one in here, and nothing that is done disturbs a graph that a stream is being captured
/// into. Both are as they were when it goes.
class scope {
public:
    scope(const api& a, context c) noexcept : api_{a}, pushed_{c && a.context_push(c) == 0} { a.capture_mode(&mode_); }
    scope(const scope&) = delete;
    ~scope()
    {
        api_.capture_mode(&mode_);
        context popped;
        if (pushed_) api_.context_pop(&popped);
    }
    bool entered() const noexcept { return pushed_; }

private:
    const api& api_;
    int mode_ = 2; // relaxed
    bool pushed_;
};

} // namespace wye::cuf
