// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <wye/bucket.hpp>
#include <wye/segment.hpp>
#include <wye/units.hpp>

namespace wye {

namespace detail {
struct link;
class peers;
} // namespace detail

/// How an agent deals with others.
struct peer_options {
    /// What both sides must know before one may reach the other. It is proved, never sent.
    std::string secret{};
    /// The longest time between two polls that peers shall put up with, as while a model runs one step.
    duration longest_gap{};
    /// Without a word from a peer that something is expected of for so long, beside its longest gap, it is lost.
    duration lost_after = std::chrono::seconds{2};
    /// A connection that is not made by then fails with `errc::peer_lost`.
    duration connect_within = std::chrono::seconds{5};
    /// How long others have to let go of what is withdrawn or published anew. Then its keys end, and what they still have
    /// under way by them fails.
    duration drain_within = std::chrono::seconds{10};
    /// Of what is published here and no fabric reaches (files, buckets, GPUs without HMEM), pieces of up to 1 MiB are moved for
    /// peers: so many at once, for all of them and for each. Further ones wait.
    std::uint32_t serves = 64, serves_each = 16;
};

/// Another agent that this one is connected to: what `agent::connect` gives. Move-only; on the runtime's thread. What it
/// has published is reached through it.
///
/// Destroy it with no transfer in flight to or from that peer's memory: as with a region, that aborts the process. The
/// connection ends when neither side holds one, or when the peer is lost.
class peer {
public:
    peer() = default;
    explicit peer(detail::link& l) noexcept;
    peer(peer&& o) noexcept : link_{std::exchange(o.link_, nullptr)} {}
    peer& operator=(peer&& o) noexcept
    {
        std::swap(link_, o.link_);
        return *this;
    }
    ~peer() { reset(); }
    void reset() noexcept; ///< Says goodbye now.

    const std::string& name() const noexcept;
    /// False once it is lost, or has ended. Copies then end in `errc::peer_lost`.
    bool alive() const noexcept;
    /// All of what it has published by this name, as it is now: memory, or a file, whose slices reach as far as the file does. After it has been published anew, slices taken before
    /// fail with `errc::stale_epoch`. Throws system_error (`not_found`, `peer_lost`).
    slice published(std::string_view name) const;
    /// The name of one object of a bucket that it has published; nobody is asked, so it may not exist. As `bucket::object`:
    /// replaced whole or not at all, and a temporary will do. Throws system_error (`not_found`, `not_supported` if that is no
    /// bucket, `bad_name`, `peer_lost`).
    wye::object object(std::string_view bucket, std::string_view key) const;
    /// Of what lies behind the name now; 0 when nothing does. It grows each time the name is published anew.
    std::uint64_t epoch(std::string_view name) const noexcept;
    explicit operator bool() const noexcept { return link_ != nullptr; }

    detail::link* link() const noexcept { return link_; }

private:
    detail::link* link_ = nullptr;
};

} // namespace wye
