// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include <wye/error.hpp>
#include <wye/segment.hpp>

#include "api.hpp"
#include "blocking_pool.hpp"

namespace wye::cuf {

using storage::blocking_pool;
using told = std::function<void(error_code)>;

/// A file as cuFile knows it, or why it does not. Kept in the segment's note; on the runtime's thread.
///
/// It has a descriptor of its own, since the segment's is closed before drivers hear that the segment goes. Registering and its
/// end are calls into the kernel, and so helpers'.
class known_file final : blocking_pool::job {
public:
    /// Begins. When cuFile has it, `segment::reach` is set to `reach`; then `done` is called, from the pool's `reap`, or at once
    /// where there is nothing to register.
    known_file(segment&, const api&, blocking_pool&, std::uint32_t reach, told done);

    /// Null: its bytes are staged.
    file_handle handle() const noexcept { return handle_; }
    /// Why that is so; empty else.
    const std::string& refusal() const noexcept { return refusal_; }
    /// The segment goes. `done`, if it was not called, is not any more. Deletes itself when helpers are through with it.
    void forget() noexcept;

private:
    ~known_file();
    void work() noexcept override;
    void finished() noexcept override;
    void leave() noexcept;

    segment& of_;
    const api& api_;
    blocking_pool& pool_;
    const std::uint32_t reach_;
    told done_;
    int descriptor_;
    file_handle handle_ = nullptr;
    error_code error_;
    std::string refusal_;
    bool pending_ = true;
    bool forgotten_ = false;
    bool leaving_ = false;
};

/// Memory of a GPU as cuFile knows it: registered, or, where it could not be, used by way of cuFile's own buffers on the device.
/// Kept in the segment's note; on the runtime's thread.
class known_vram final : blocking_pool::job {
public:
    /// Begins; `done` is called from the pool's `reap`.
    known_vram(const segment&, context, const api&, blocking_pool&, told done);

    bool pending() const noexcept { return pending_; }
    bool registered() const noexcept { return registered_; }
    context where() const noexcept { return context_; }
    /// The memory is about to go: waits for a registration that is under way, and ends it. Deletes itself.
    void forget() noexcept;

private:
    ~known_vram() = default;
    void work() noexcept override;
    void finished() noexcept override;

    void* const base_;
    const std::size_t bytes_;
    const context context_;
    const api& api_;
    told done_;
    bool registered_ = false;
    std::atomic<bool> over_{false}; ///< the helper is through
    bool pending_ = true;
    bool forgotten_ = false;
};

} // namespace wye::cuf
