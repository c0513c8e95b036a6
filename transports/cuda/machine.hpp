// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "device.hpp"

namespace wye::cu {

/// The devices that a driver may use. They are opened when they are first asked for.
class machine {
public:
    /// Throws system_error when one of `cuda_options::devices` is not there.
    machine(const api&, const cuda_options&);

    std::size_t size() const noexcept { return gpus_.size(); }
    auto begin() const noexcept { return gpus_.begin(); }
    auto end() const noexcept { return gpus_.end(); }

    gpu* find(int ordinal) const noexcept;
    /// The device of that ordinal, or the first where there is none of that, open; null with the reason.
    gpu* open(int ordinal, error_code& why) noexcept;

private:
    void befriend(gpu&) noexcept;

    const api& api_;
    std::vector<std::unique_ptr<gpu>> gpus_;
};

} // namespace wye::cu
