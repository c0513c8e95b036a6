// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <wye/driver.hpp>
#include <wye/drivers.hpp>

#include "blocking_pool.hpp"

namespace wye::storage {

/// One read or write for the kernel, on behalf of a chunk.
struct request {
    chunk* of = nullptr;
    std::uint64_t offset = 0;
    std::byte* memory = nullptr;
    std::uint32_t length = 0;
    int descriptor = -1;
    int file_slot = -1;   ///< from `io_engine::add_file`, or -1
    int memory_slot = -1; ///< from `io_engine::add_memory`, or -1
    bool write = false;
    bool aside = false; ///< it would copy much: let a kernel thread do that, not this one
};

struct completion {
    chunk* of = nullptr;
    int result = 0; ///< bytes, or a negative errno
};

/// Has the kernel read and write files without blocking the runtime's thread, which makes every call.
class io_engine {
public:
    virtual ~io_engine() = default;

    virtual std::string_view name() const noexcept = 0;
    /// Queues; the kernel may hear of it only at `flush`. Never more at once than the engine was made for.
    virtual void start(const request&) noexcept = 0;
    virtual void flush() noexcept = 0;
    /// The next request that is over. Its memory is no longer touched.
    virtual bool take(completion&) noexcept = 0;
    /// The pool's eventfd covers both. False: `take` or the pool has something already.
    virtual bool arm() noexcept = 0;

    /// Makes a descriptor or memory known ahead of its use, which spares the kernel work for each request.
    /// -1 when there is no room or the kernel will not have it: then it is used without.
    virtual int add_file(int /*descriptor*/) noexcept { return -1; }
    virtual void remove_file(int /*slot*/) noexcept {}
    virtual int add_memory(std::byte*, std::size_t) noexcept { return -1; }
    virtual void remove_memory(int /*slot*/) noexcept {}
    virtual bool wants_memory() const noexcept { return false; }
};

/// At most `depth` requests at once. Null, with the reason in `error` (an errno), where the kernel or
/// the build has no io_uring for us.
std::unique_ptr<io_engine> make_uring_engine(unsigned depth, blocking_pool&, int& error);
std::unique_ptr<io_engine> make_thread_engine(unsigned depth, blocking_pool&);

} // namespace wye::storage
