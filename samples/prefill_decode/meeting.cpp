// SPDX-License-Identifier: Apache-2.0
#include "meeting.hpp"

#include <optional>
#include <utility>

#include <wye/directory.hpp>
#include <wye/side_channel.hpp>

namespace pd {

namespace {

/// Each serves its metadata on loopback; the hint is where.
class side_channels final : public meeting_place {
public:
    explicit side_channels(std::string secret) : secret_{std::move(secret)} {}

    wye::task<std::string> announce(wye::agent& agent) override
    {
        wye::side_channel_options o;
        o.secret = secret_;
        o.handshake_within = find_within;
        door_.emplace(agent, o);
        co_return door_->endpoint();
    }
    wye::task<wye::peer> find(wye::agent& agent, std::string, std::string hint) override
    {
        wye::fetch_options how;
        how.secret = secret_;
        how.connect_within = find_within;
        return wye::connect(agent, std::move(hint), how);
    }
    wye::task<> leave(wye::agent&) override
    {
        door_.reset();
        co_return;
    }

private:
    std::string secret_;
    std::optional<wye::side_channel> door_;
};

/// How long who dies without a word is still found; a rank that computes may not poll for some of it.
constexpr auto entry_lives = std::chrono::seconds{6};

/// All are in one directory, by their names.
class in_directory final : public meeting_place {
public:
    explicit in_directory(std::unique_ptr<wye::directory> d) : directory_{std::move(d)} {}

    wye::task<std::string> announce(wye::agent& agent) override
    {
        wye::announce_options o;
        o.ttl = entry_lives;
        there_.emplace(co_await wye::announcement::make(agent, *directory_, o));
        co_return std::string{"-"};
    }
    wye::task<wye::peer> find(wye::agent& agent, std::string name, std::string) override
    {
        return wye::connect(agent, *directory_, std::move(name), find_within);
    }
    wye::task<> leave(wye::agent&) override
    {
        try {
            co_await there_->withdraw();
        } catch (const wye::system_error&) {
            // The directory is away: the entry goes by itself.
        }
    }

private:
    std::unique_ptr<wye::directory> directory_;
    std::optional<wye::announcement> there_; ///< which needs it
};

} // namespace

std::unique_ptr<meeting_place> open_meeting_place(wye::runtime& rt, const settings& s)
{
    if (s.directory.empty()) return std::make_unique<side_channels>(s.secret);
    const bool url = s.directory.find("://") != std::string::npos;
    return std::make_unique<in_directory>(url ? wye::open_directory(rt, s.directory) : wye::directory_in(rt, s.directory));
}

} // namespace pd
