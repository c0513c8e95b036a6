// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <wye/wye.hpp>

namespace perf {

namespace asio = boost::asio;

/// Carries DRAM to VRAM by doing nothing, and completes it on the next poll: what is left is the runtime's
/// own cost.
class null_driver final : public wye::driver {
public:
    std::string_view name() const noexcept override { return "null"; }
    wye::limits limits() const noexcept override
    {
        wye::limits l;
        l.chunk_bytes = l.window_bytes = std::size_t{1} << 40;
        l.window_chunks = 1024;
        return l;
    }
    bool carries(const wye::slice& from, const wye::slice& to) const noexcept override
    {
        return from.tier() == wye::tier::dram && to.tier() == wye::tier::vram;
    }
    bool submit(wye::chunk& c) noexcept override
    {
        if (refuses_) return false;
        c.next = std::exchange(taken_, &c);
        return true;
    }
    std::size_t poll(wye::turn) noexcept override
    {
        std::size_t n = 0;
        for (wye::chunk* c = std::exchange(taken_, nullptr); c; ++n) {
            wye::chunk* const next = c->next;
            c->done();
            c = next;
        }
        return n;
    }

    /// From now on everything waits, or no longer.
    void refuse(bool yes) noexcept { refuses_ = yes; }

private:
    wye::chunk* taken_ = nullptr;
    bool refuses_ = false;
};

enum class driving { run, poll, guest };
inline constexpr driving all_driving[] = {driving::run, driving::poll, driving::guest};
const char* name_of(driving) noexcept;

/// A runtime with the null driver, and blocks to copy.
class null_world {
public:
    static constexpr std::size_t block_bytes = 4096, blocks = 64;

    explicit null_world(driving);

    /// Runs `t` to its end; rethrows what it throws.
    void drive(wye::task<> t);
    /// One pass of the loop.
    void turn();

    std::unique_ptr<asio::io_context> host; ///< of a guest
    std::unique_ptr<wye::runtime> runtime;
    wye::agent agent;
    null_driver& driver;
    std::vector<std::byte> memory;
    wye::region from, to;
    std::vector<wye::transfer> batch;       ///< each block of the one to the same of the other
    wye::prepared from_blocks, to_blocks;
    std::vector<std::uint32_t> indices;
    asio::steady_timer timer;               ///< Asio's own, to compare with
    asio::cancellation_signal signal;

private:
    wye::task<> register_memory();
    driving how_;
};

} // namespace perf
