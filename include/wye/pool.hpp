// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <wye/memory.hpp>
#include <wye/task.hpp>

namespace wye {

class agent;

/// Equal blocks of one arena, or of one file, that several runtimes of a process share: each registers
/// (`memory()`) or opens (`path()`) it with its own agent, and takes blocks here. The only type of wye that is
/// meant for several threads at once.
class pool {
public:
    /// A block on loan; comes back when this goes. Move-only; may go on any thread. Must not outlive the pool.
    class lease {
    public:
        lease() = default;
        lease(lease&& o) noexcept : pool_{std::exchange(o.pool_, nullptr)}, index_{o.index_} {}
        lease& operator=(lease&& o) noexcept
        {
            std::swap(pool_, o.pool_);
            std::swap(index_, o.index_);
            return *this;
        }
        ~lease() { reset(); }
        void reset() noexcept;
        explicit operator bool() const noexcept { return pool_ != nullptr; }
        /// Which block: `region.block(l.index(), pool.block_bytes())`.
        std::uint32_t index() const noexcept { return index_; }

    private:
        friend class pool;
        lease(pool* p, std::uint32_t i) noexcept : pool_{p}, index_{i} {}
        pool* pool_ = nullptr;
        std::uint32_t index_ = 0;
    };

    /// DRAM: an arena of `blocks` blocks.
    pool(std::size_t block_bytes, std::uint32_t blocks);
    /// FILE: blocks of a file, which each agent opens by itself.
    pool(std::string path, std::size_t block_bytes, std::uint32_t blocks);
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    /// No lease may be out, and nobody may wait.
    ~pool();

    std::size_t block_bytes() const noexcept;
    std::uint32_t blocks() const noexcept;
    std::uint32_t free_blocks() const;
    /// To register with an agent. Empty for a file.
    wye::memory memory() const noexcept;
    const std::string& path() const noexcept;

    /// A block if one is free.
    std::optional<lease> try_acquire();
    /// Waits for one, in turn; cancellable. Completes on the awaiting coroutine's executor.
    task<lease> acquire();

private:
    struct state;
    std::unique_ptr<state> state_;
};

} // namespace wye
