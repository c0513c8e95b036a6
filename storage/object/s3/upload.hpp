// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client.hpp"

namespace wye::storage::s3 {

/// Memory for parts that are put together from smaller pieces, within a bound, of all uploads of a driver.
class part_memory {
public:
    part_memory(reactor& r, std::size_t most) noexcept : reactor_{r}, most_{most} {}
    /// `co_await room{memory, bytes}`. Beyond the bound only when nothing is being sent that would make room: pieces that
    /// fill parts may be behind those that wait.
    struct room {
        part_memory& of;
        std::size_t bytes;
        std::coroutine_handle<> waiting{};
        room(part_memory& m, std::size_t n) noexcept : of{m}, bytes{n} {}
        bool await_ready() noexcept { return of.take(bytes); }
        void await_suspend(std::coroutine_handle<> h)
        {
            waiting = h;
            of.waiting_.push_back(this);
        }
        void await_resume() const noexcept {}
    };
    void sending() noexcept { ++sending_; }
    void sent() noexcept
    {
        --sending_;
        wake();
    }
    void give_back(std::size_t bytes) noexcept
    {
        used_ -= bytes;
        wake();
    }
    std::size_t used() const noexcept { return used_; }

private:
    bool take(std::size_t bytes) noexcept
    {
        if (used_ + bytes > most_ && sending_ != 0) return false;
        used_ += bytes;
        return true;
    }
    void wake() noexcept;

    reactor& reactor_;
    const std::size_t most_;
    std::size_t used_ = 0, sending_ = 0;
    std::vector<room*> waiting_;
};

/// The sums that go with a body.
struct body_sums {
    std::string sha256;               ///< hex; empty: not signed
    std::optional<std::uint32_t> crc; ///< none: not sent
};

/// Sums a body, a little with each turn.
flow<body_sums> sum_body(client&, std::span<const std::byte>);

/// PUT of a whole object. `keep`: its CRC32C, kept with it for `verify`.
flow<error_code> put_whole(client&, std::string key, const object_condition&, std::span<const std::byte>,
                           std::optional<std::uint32_t> keep, bool urgent, stop_signal&);

/// An object on its way in, in parts. What fits into one part is put at `commit`, in one request.
class upload {
public:
    upload(std::shared_ptr<client>, part_memory&, std::string key, const object_condition&, std::uint64_t total,
           std::size_t part_bytes);
    ~upload();

    /// Asks for an upload, if there will be several parts.
    flow<error_code> begin();
    /// Any order, many at once. A piece that is a part is sent from where it is; others are copied together.
    flow<error_code> write(std::uint64_t offset, std::span<const std::byte>, bool urgent, stop_signal&);
    /// The object is there, or nothing is left of it.
    flow<error_code> commit(std::optional<std::uint32_t> keep);
    /// Nothing is left of it.
    flow<error_code> abandon();

private:
    struct part {
        std::string etag;               ///< once it is there
        std::uint32_t crc = 0;
        std::unique_ptr<std::byte[]> gathered; ///< its bytes, while they come
        std::size_t filled = 0;
        bool asking = false;            ///< for memory
    };
    struct change; // of something that flows of this upload wait for

    std::uint64_t size_of(std::size_t index) const noexcept;
    flow<error_code> gather(std::uint64_t offset, std::span<const std::byte>, bool urgent);
    flow<error_code> send(std::size_t index, std::span<const std::byte>, bool urgent, stop_signal&);
    detached send_gathered(std::size_t index, bool urgent);
    flow<error_code> complete(std::optional<std::uint32_t> keep);
    flow<error_code> drop(std::string id);
    flow<void> drop_strays();
    flow<void> no_more_sends();
    flow<void> have_memory(part&, std::size_t bytes);
    void free(part&, std::size_t bytes) noexcept;
    void wake();

    const std::shared_ptr<client> by_;
    part_memory& memory_;
    const std::string key_;
    const object_condition when_;
    const std::uint64_t total_;
    const std::uint64_t part_bytes_;
    std::string id_, nonce_;
    wall_time began_{};
    std::vector<part> parts_;
    std::size_t sending_ = 0;
    bool cut_off_ = false; ///< the server may be working on a part yet
    bool strays_ = false;  ///< it may know of an upload that we do not
    bool sums_known_ = false; ///< the server keeps a CRC32C of the whole, as we asked
    error_code failed_;    ///< of a part that was sent in the background
    stop_signal stop_;     ///< of those
    std::vector<std::coroutine_handle<>> waiting_;
};

} // namespace wye::storage::s3
