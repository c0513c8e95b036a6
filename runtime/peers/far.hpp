// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "operation.hpp"

namespace wye::detail {

/// What stands here for something that a peer's agent serves: a file, memory of a GPU, a bucket, or an object below one.
class far_segment final : public segment, public hook {
public:
    far_segment(wye::tier t, std::string name, std::string key = {}) : segment{t}, name_{std::move(name)}, key_{std::move(key)}
    {
        served = true;
    }
    std::string_view describe() const noexcept override { return key_.empty() ? name_ : key_; }
    const std::string& name() const noexcept { return name_; } ///< by which it is published
    const std::string& key() const noexcept { return key_; }   ///< of the object

private:
    const std::string name_, key_;
};

} // namespace wye::detail
