// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wye::detail::etcd {

/// RFC 4648, 4: the usual letters, padded, as protobuf's JSON has bytes.
std::string to_base64(std::span<const std::byte>);
std::string to_base64(std::string_view);
/// Nothing if it is not.
std::optional<std::vector<std::byte>> from_base64(std::string_view);

} // namespace wye::detail::etcd
