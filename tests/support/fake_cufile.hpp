// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "api.hpp"

namespace wye::testing {

/// cuFile as a table of functions over real files, and over host memory that plays a GPU's. Calls block as those of the library
/// do; a test holds them, shortens them and makes them fail. Any thread; one at a time.
class fake_cufile {
public:
    /// What a read or write comes to, instead of being done.
    struct outcome {
        ssize_t returned;
        int number; ///< errno
    };

    // What it is like. Before a driver is made.
    unsigned major = 2, minor = 25;
    bool allow_compatible = true, force_compatible = false; ///< as cufile.json has it
    bool settable = true;                                   ///< not when somebody has opened it before
    std::map<std::string, int> failing;                     ///< these calls fail, with these numbers
    std::string refused;                                    ///< files of this name are

    // How it does what it is asked for.
    std::size_t most = std::numeric_limits<std::size_t>::max(); ///< bytes moved in one call
    std::deque<outcome> outcomes;                               ///< of the next ones
    std::chrono::microseconds takes{0};                         ///< each
    bool only_says_so = false;                                  ///< moves nothing, and takes no time for it

    // What it saw.
    std::atomic<unsigned> calls{0};    ///< reads and writes
    std::atomic<unsigned> inside{0};   ///< of which are under way
    std::atomic<unsigned> most_inside{0};
    std::atomic<bool> contexts_were_right{true}; ///< every call that needs a context had one, and the relaxed mode
    std::atomic<unsigned> by_address{0};         ///< calls on memory that was not registered
    std::atomic<int> contexts{0};                ///< retained, and not released

    static fake_cufile& self()
    {
        static fake_cufile one;
        return one;
    }
    static const cuf::api& table()
    {
        static const cuf::api t = make();
        return t;
    }
    /// Of an old version, which has no settings.
    static const cuf::api& old_table()
    {
        static const cuf::api t = [] {
            cuf::api old = make();
            old.set_parameter = nullptr;
            old.get_parameter = nullptr;
            return old;
        }();
        return t;
    }

    void reset()
    {
        major = 2, minor = 25;
        allow_compatible = true, force_compatible = false, settable = true;
        failing.clear();
        refused.clear();
        most = std::numeric_limits<std::size_t>::max();
        outcomes.clear();
        takes = {};
        only_says_so = false;
        calls = most_inside = by_address = 0;
        contexts_were_right = true;
    }
    /// Reads and writes wait from now on, inside.
    void hold()
    {
        const std::lock_guard lock{mutex_};
        held_ = true;
    }
    void release()
    {
        {
            const std::lock_guard lock{mutex_};
            held_ = false;
        }
        moved_.notify_all();
    }
    template <class F>
    auto locked(F f)
    {
        const std::lock_guard lock{mutex_};
        return f();
    }
    std::size_t files() { return locked([this] { return files_.size(); }); }
    std::size_t memories() { return locked([this] { return memories_.size(); }); }

private:
    struct thread_state {
        std::vector<cuf::context> contexts;
        int mode = 0;
    };
    static thread_state& here()
    {
        static thread_local thread_state one;
        return one;
    }
    int enter(const char* what, bool in_context = false)
    {
        if (in_context && (here().contexts.empty() || here().mode != 2)) contexts_were_right = false;
        return locked([&] {
            const auto it = failing.find(what);
            return it == failing.end() ? 0 : it->second;
        });
    }
    cuf::status enlist(cuf::file_handle* h, const cuf::description& d)
    {
        if (const int e = enter("handle_register")) return {e, 0};
        char name[4096] = {};
        const std::string link = "/proc/self/fd/" + std::to_string(d.descriptor);
        if (d.kind != 1 || ::readlink(link.c_str(), name, sizeof name - 1) < 0) return {5018, 0};
        if ((::fcntl(d.descriptor, F_GETFL) & O_DIRECT) == 0) return {5020, 0};
        return locked([&] {
            if (!refused.empty() && std::string_view{name}.ends_with(refused)) {
                *h = reinterpret_cast<cuf::file_handle>(std::uintptr_t{7}); // undefined, the documentation says
                return cuf::status{5027, 0};
            }
            // Through the page cache, so that it takes any bytes, as the library does.
            const int fd = ::open(link.c_str(), (::fcntl(d.descriptor, F_GETFL) & O_ACCMODE) | O_CLOEXEC);
            *h = reinterpret_cast<cuf::file_handle>(std::uintptr_t{1000} + static_cast<unsigned>(fd));
            files_[*h] = fd;
            return cuf::status{fd < 0 ? 5031 : 0, 0};
        });
    }
    ssize_t move(bool write, cuf::file_handle h, std::byte* base, std::size_t bytes, off_t at, off_t offset)
    {
        static_cast<void>(enter("move", true));
        ++calls;
        if (takes.count() != 0) std::this_thread::sleep_for(takes);
        if (only_says_so) return static_cast<ssize_t>(bytes);
        const unsigned now = ++inside;
        for (unsigned seen = most_inside; seen < now && !most_inside.compare_exchange_weak(seen, now);) {}
        std::unique_lock lock{mutex_};
        moved_.wait(lock, [this] { return !held_; });
        const ssize_t n = outcome_of(write, h, base, bytes, at, offset);
        --inside;
        return n;
    }
    ssize_t outcome_of(bool write, cuf::file_handle h, std::byte* base, std::size_t bytes, off_t at, off_t offset)
    {
        if (!outcomes.empty()) {
            const outcome o = outcomes.front();
            outcomes.pop_front();
            errno = o.number;
            return o.returned;
        }
        const auto file = files_.find(h);
        if (file == files_.end()) return -5027;
        const auto known = memories_.find(base);
        if (known == memories_.end()) ++by_address;
        if (known == memories_.end() ? offset != 0 : static_cast<std::size_t>(offset) + bytes > known->second) return -5014;
        bytes = std::min(bytes, most);
        return write ? ::pwrite(file->second, base + offset, bytes, at) : ::pread(file->second, base + offset, bytes, at);
    }
    static cuf::api make();

    std::mutex mutex_; // guards what follows, and what a test has set
    std::condition_variable moved_;
    bool held_ = false;
    std::map<cuf::file_handle, int> files_;
    std::map<const void*, std::size_t> memories_;
};

inline cuf::api fake_cufile::make()
{
    using namespace cuf;
    api t;
    t.driver_open = [] { return status{self().enter("driver_open"), 0}; };
    t.driver_properties = [](properties* p) {
        *p = {};
        p->major = self().major;
        p->minor = self().minor;
        if (self().allow_compatible) p->does = compatible;
        return status{self().enter("driver_properties"), 0};
    };
    t.handle_register = [](file_handle* h, description* d) { return self().enlist(h, *d); };
    t.handle_deregister = [](file_handle h) {
        self().locked([&] {
            ::close(self().files_.at(h));
            return self().files_.erase(h);
        });
    };
    t.memory_register = [](const void* base, std::size_t bytes, int) {
        if (const int e = self().enter("memory_register", true)) return status{e, 0};
        return self().locked([&] { return status{self().memories_.emplace(base, bytes).second ? 0 : 5023, 0}; });
    };
    t.memory_deregister = [](const void* base) {
        self().enter("memory_deregister", true);
        return self().locked([&] { return status{self().memories_.erase(base) ? 0 : 5022, 0}; });
    };
    t.read = [](file_handle h, void* base, std::size_t bytes, off_t at, off_t into) {
        return self().move(false, h, static_cast<std::byte*>(base), bytes, at, into);
    };
    t.write = [](file_handle h, const void* base, std::size_t bytes, off_t at, off_t from) {
        return self().move(true, h, static_cast<std::byte*>(const_cast<void*>(base)), bytes, at, from);
    };
    t.set_parameter = [](setting s, bool on) {
        if (!self().settable) return status{5026, 0};
        (s == setting::allow_compatible ? self().allow_compatible : self().force_compatible) = on;
        return status{0, 0};
    };
    t.get_parameter = [](setting s, bool* on) {
        *on = s == setting::allow_compatible ? self().allow_compatible : self().force_compatible;
        return status{self().enter("get_parameter"), 0};
    };
    t.init = [](unsigned) { return self().enter("init"); };
    t.device_get = [](int* d, int ordinal) { return *d = ordinal, ordinal < 2 ? 0 : 101; };
    t.context_retain = [](context* c, int device) {
        *c = reinterpret_cast<context>(std::uintptr_t{100} + static_cast<unsigned>(device));
        ++self().contexts;
        return self().enter("context_retain");
    };
    t.context_release = [](int) { return --self().contexts, 0; };
    t.context_push = [](context c) {
        if (const int e = self().enter("context_push")) return e;
        return here().contexts.push_back(c), 0;
    };
    t.context_pop = [](context* c) { return *c = here().contexts.back(), here().contexts.pop_back(), 0; };
    t.capture_mode = [](int* m) { return std::swap(*m, here().mode), 0; };
    return t;
}

} // namespace wye::testing
