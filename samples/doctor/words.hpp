// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace doctor {

// What a doctor that serves publishes.
inline constexpr std::string_view area_name = "doctor.area";             ///< to be written and read
inline constexpr std::string_view letter_name = "doctor.letter";         ///< where who begins puts its metadata
inline constexpr std::string_view understudy_name = "doctor.understudy"; ///< metadata of a process that may be stopped

// Keys of notifications.
inline constexpr std::string_view begin_key = "doctor.begin";     ///< payload: bytes of metadata in the letter
inline constexpr std::string_view welcome_key = "doctor.welcome"; ///< payload: `welcome`
inline constexpr std::string_view order_key = "doctor.order";     ///< payload: `order`
inline constexpr std::string_view answer_key = "doctor.answer";   ///< payload: what the order says

inline constexpr std::size_t letter_bytes = 64 * 1024;
inline constexpr std::size_t understudy_bytes = 16 * 1024 * 1024; ///< that it lends

struct welcome {
    std::uint32_t version = 1;
    std::uint32_t efa = 0; ///< it serves with --efa, and has an understudy
    char host[64] = {};
    char boot[40] = {}; ///< the running kernel's id: the same on both sides is one machine
    char provider[32] = {};
};

struct order {
    enum class kind : std::uint32_t {
        check,   ///< the area holds `seed` from `offset` on; no answer
        nothing, ///< no answer
        tally,   ///< once so many (`length`) were checked: `tally`
        counted, ///< by its NICs: text, "name value" a line
        hire,    ///< an understudy; its metadata is published then: its length
        stop,    ///< it, as by SIGSTOP; answered when it is
        kill,    ///< it, as by SIGKILL; answered when it is gone
        end,
    };
    kind what = kind::nothing;
    std::uint32_t reserved = 0;
    std::uint64_t seed = 0, offset = 0, length = 0;
};

struct tally {
    std::uint64_t checked = 0, wrong = 0;
};

/// Values as both sides, which run the same program, have them in memory.
template <class T>
std::vector<std::byte> as_bytes(const T& value)
{
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<std::byte> b(sizeof value);
    std::memcpy(b.data(), &value, sizeof value);
    return b;
}
template <class T>
std::optional<T> from_bytes(std::span<const std::byte> b)
{
    static_assert(std::is_trivially_copyable_v<T>);
    if (b.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, b.data(), sizeof value);
    return value;
}

} // namespace doctor
