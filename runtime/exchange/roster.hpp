// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <wye/directory.hpp>

namespace wye::detail {

/// Who is there, as far as a watch has told: makes of what a directory says what is new in it, so that nothing is told
/// twice and nobody is missed, however often it is said.
class roster {
public:
    using changes = std::vector<directory_change>;
    using listing = std::map<std::string, directory::entry>;

    /// Now these are there, and nobody else.
    void become(listing all, changes& news)
    {
        for (auto it = known_.begin(); it != known_.end();) {
            const auto gone = it++;
            if (!all.contains(gone->first)) forget(gone, news);
        }
        for (auto& [name, entry] : all) put(name, std::move(entry), news);
    }
    void put(const std::string& name, directory::entry e, changes& news)
    {
        const auto [it, joined] = known_.try_emplace(name, e.version);
        if (!joined && it->second == e.version) return;
        it->second = e.version;
        news.push_back({joined ? directory_change::kind::joined : directory_change::kind::changed, name, std::move(e)});
    }
    void remove(const std::string& name, changes& news)
    {
        if (const auto it = known_.find(name); it != known_.end()) forget(it, news);
    }
    /// Of one who is there; 0 of others.
    std::uint64_t version(const std::string& name) const
    {
        const auto it = known_.find(name);
        return it == known_.end() ? 0 : it->second;
    }
    const std::map<std::string, std::uint64_t>& versions() const noexcept { return known_; }

private:
    void forget(std::map<std::string, std::uint64_t>::iterator it, changes& news)
    {
        news.push_back({directory_change::kind::left, it->first});
        known_.erase(it);
    }

    std::map<std::string, std::uint64_t> known_; ///< version by name
};

} // namespace wye::detail
