// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <wye/directory.hpp>

#include "client.hpp"
#include "roster.hpp"

namespace wye::detail::etcd {

/// Keys as etcd sees them.
struct key_range {
    std::string key, end; ///< without an end: this key

    static key_range one(std::string key) { return {std::move(key), {}}; }
    /// All that begin so.
    static key_range all(std::string prefix);
    boost::json::object to_json() const;
};

struct listed {
    std::uint64_t revision = 0; ///< of etcd's store
    roster::listing entries;    ///< by name, without metadata where only keys were asked for
};
task<listed> list(std::shared_ptr<client>, key_range, bool keys_only, duration within);

/// Looks, and follows what comes after; looks again when etcd no longer knows what that was. What comes is taken by a coroutine
/// of its own, as long as this lives.
class watch final : public directory_watch {
public:
    watch(std::shared_ptr<client>, key_range);
    ~watch() override;
    task<std::vector<directory_change>> next(duration at_most) override;

private:
    struct state;
    std::shared_ptr<state> state_;
};

} // namespace wye::detail::etcd
