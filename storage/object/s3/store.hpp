// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <wye/driver.hpp>

#include "client.hpp"

namespace wye::storage::s3 {

/// The name of an object in a bucket.
class s3_object final : public segment {
public:
    s3_object(std::shared_ptr<client> c, std::string k, object_condition w, wye::access a)
        : segment{wye::tier::object}, by{std::move(c)}, key{std::move(k)}, when{std::move(w)}
    {
        access = a;
        length = unbounded;
    }
    std::string_view describe() const noexcept override { return key; }

    const std::shared_ptr<client> by;
    const std::string key;
    const object_condition when;
};

/// 1 to 1024 bytes of UTF-8 without what XML cannot carry.
bool valid_key(std::string_view) noexcept;

/// Runs flows that nobody awaits, and can tell and stop them.
class flows {
public:
    void begun(stop_signal& s) { running_.push_back(&s); }
    void ended(stop_signal& s) noexcept { std::erase(running_, &s); }
    bool any() const noexcept { return !running_.empty(); }
    void stop_all() noexcept
    {
        for (std::size_t i = 0; i < running_.size(); ++i) running_[i]->pull();
    }

private:
    std::vector<stop_signal*> running_;
};

/// A bucket. `flows` of the driver, which outlives it.
std::unique_ptr<object_store> make_store(std::shared_ptr<client>, flows&, driver& home, wye::access);

} // namespace wye::storage::s3
