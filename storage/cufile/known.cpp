// SPDX-License-Identifier: Apache-2.0
#include "known.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "contexts.hpp"
#include "errors.hpp"

namespace wye::cuf {

known_file::known_file(segment& s, const api& a, blocking_pool& pool, std::uint32_t reach, told done)
    : of_{s}, api_{a}, pool_{pool}, reach_{reach}, done_{std::move(done)},
      descriptor_{s.descriptor() < 0 ? -1 : ::fcntl(s.descriptor(), F_DUPFD_CLOEXEC, 0)}
{
    if (s.descriptor() < 0) refusal_ = "the file is not open past the page cache";
    else if (descriptor_ < 0) refusal_ = file_error(errno).message();
    if (descriptor_ >= 0) {
        pool_.submit(*this);
        return;
    }
    pending_ = false;
    std::exchange(done_, nullptr)({});
}

known_file::~known_file()
{
    if (descriptor_ >= 0) ::close(descriptor_);
}

void known_file::work() noexcept
{
    if (leaving_) return api_.handle_deregister(handle_);
    description d;
    d.descriptor = descriptor_;
    error_ = error_of(api_.handle_register(&handle_, &d));
    if (error_) handle_ = nullptr; // which a failed call may have left as anything
}

void known_file::finished() noexcept
{
    if (leaving_) {
        delete this;
        return;
    }
    if (error_) refusal_ = "the file was refused: " + error_.message();
    pending_ = false;
    if (forgotten_) return leave();
    if (handle_) of_.reach = reach_;
    std::exchange(done_, nullptr)({});
}

void known_file::forget() noexcept
{
    forgotten_ = true;
    done_ = nullptr;
    if (!pending_) leave();
}

void known_file::leave() noexcept
{
    if (!handle_) {
        delete this;
        return;
    }
    leaving_ = true;
    pool_.submit(*this);
}

known_vram::known_vram(const segment& s, context c, const api& a, blocking_pool& pool, told done)
    : base_{s.base}, bytes_{s.length}, context_{c}, api_{a}, done_{std::move(done)}
{
    pool.submit(*this);
}

void known_vram::work() noexcept
{
    {
        const scope in{api_, context_};
        registered_ = in.entered() && api_.memory_register(base_, bytes_, 0).error == 0;
    }
    over_.store(true, std::memory_order_release);
    over_.notify_all();
}

void known_vram::finished() noexcept
{
    if (forgotten_) {
        delete this;
        return;
    }
    pending_ = false;
    std::exchange(done_, nullptr)({});
}

void known_vram::forget() noexcept
{
    over_.wait(false, std::memory_order_acquire);
    if (std::exchange(registered_, false)) {
        const scope in{api_, context_};
        api_.memory_deregister(base_);
    }
    if (!pending_) {
        delete this;
        return;
    }
    forgotten_ = true; // the pool has it still
    done_ = nullptr;
}

} // namespace wye::cuf
