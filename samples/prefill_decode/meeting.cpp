// SPDX-License-Identifier: Apache-2.0
#include "meeting.hpp"

#include <optional>
#include <sstream>
#include <utility>

#include <wye/side_channel.hpp>

namespace pd {

namespace {

/// Each serves its metadata on loopback; the hint is where. Nobody comes whom the front does not know from the beginning.
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
    void introduce(const std::string& who) override
    {
        std::istringstream lines{who};
        for (std::string name, hint; lines >> name >> hint;) known_.push_back({name, hint, {}});
    }
    wye::task<std::vector<arrival>> arrivals(std::string prefix) override
    {
        std::vector<arrival> those;
        for (arrival& a : known_)
            if (a.name.starts_with(prefix)) those.push_back(std::move(a));
        known_.clear();
        co_return those;
    }
    wye::task<wye::peer> connect(wye::agent& agent, arrival who) override
    {
        wye::fetch_options how;
        how.secret = secret_;
        how.connect_within = find_within;
        return wye::connect(agent, std::move(who.hint), how);
    }
    wye::task<> leave(wye::agent&) override
    {
        door_.reset();
        co_return;
    }

private:
    std::string secret_;
    std::optional<wye::side_channel> door_;
    std::vector<arrival> known_;
};

/// All are in one directory, by their names; who comes is seen there.
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
    void introduce(const std::string&) override {}
    wye::task<std::vector<arrival>> arrivals(std::string prefix) override
    {
        if (!watch_) watch_ = directory_->watch(std::move(prefix));
        std::vector<arrival> those;
        while (those.empty()) {
            std::vector<wye::directory_change> news = co_await watch_->next();
            for (wye::directory_change& n : news)
                if (n.what != wye::directory_change::kind::left) those.push_back({n.name, {}, std::move(n.entry.metadata)});
        }
        co_return those;
    }
    wye::task<wye::peer> connect(wye::agent& agent, arrival who) override { return agent.connect(std::move(who.metadata)); }
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
    std::unique_ptr<wye::directory_watch> watch_; ///< so does this
};

} // namespace

std::unique_ptr<wye::directory> open_directory(wye::runtime& rt, const settings& s)
{
    const bool url = s.directory.find("://") != std::string::npos || s.directory.starts_with("dir:");
    return url ? wye::open_directory(rt, s.directory) : wye::directory_in(rt, s.directory);
}

std::unique_ptr<meeting_place> open_meeting_place(wye::runtime& rt, const settings& s)
{
    if (s.directory.empty()) return std::make_unique<side_channels>(s.secret);
    return std::make_unique<in_directory>(open_directory(rt, s));
}

} // namespace pd
