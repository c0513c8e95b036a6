// SPDX-License-Identifier: Apache-2.0
// pread and pwrite on helper threads, where io_uring is forbidden or not there.

#include <cerrno>
#include <utility>
#include <vector>

#include <unistd.h>

#include "io_engine.hpp"

namespace wye::storage {

namespace {

class thread_engine final : public io_engine {
public:
    thread_engine(unsigned depth, blocking_pool& pool) : pool_{pool}, calls_(depth)
    {
        for (call& c : calls_) c.owner = this, c.link = std::exchange(free_, &c);
    }

    std::string_view name() const noexcept override { return "file/threads"; }

    void start(const request& r) noexcept override
    {
        call* const c = std::exchange(free_, free_->link);
        c->what = r;
        pool_.submit(*c);
    }
    void flush() noexcept override {}

    bool take(completion& out) noexcept override
    {
        if (!over_) pool_.reap();
        if (!over_) return false;
        call* const c = std::exchange(over_, over_->link);
        out = {c->what.of, c->result};
        c->link = std::exchange(free_, c);
        return true;
    }

    bool arm() noexcept override { return !over_ && pool_.arm(); }

private:
    struct call final : blocking_pool::job {
        void work() noexcept override
        {
            do {
                const auto at = static_cast<off_t>(what.offset);
                const ssize_t n = what.write ? ::pwrite(what.descriptor, what.memory, what.length, at)
                                             : ::pread(what.descriptor, what.memory, what.length, at);
                result = n < 0 ? -errno : static_cast<int>(n);
            } while (result == -EINTR);
        }
        void finished() noexcept override { link = std::exchange(owner->over_, this); }

        request what;
        int result = 0;
        thread_engine* owner = nullptr;
        call* link = nullptr;
    };

    blocking_pool& pool_;
    std::vector<call> calls_;
    call* free_ = nullptr;
    call* over_ = nullptr;
};

} // namespace

std::unique_ptr<io_engine> make_thread_engine(unsigned depth, blocking_pool& pool)
{
    return std::make_unique<thread_engine>(depth, pool);
}

} // namespace wye::storage
