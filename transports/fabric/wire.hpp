// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <wye/segment.hpp>

/// What this driver says of itself to its like: addresses, descriptions of keys, and messages of its own beside the
/// runtime's. Little-endian, versioned, bounded in everything: it comes from strangers.
namespace wye::ofi::wire {

using bytes = std::vector<std::byte>;
using view = std::span<const std::byte>;

inline constexpr std::size_t most_rails = 64, most_name = 64, most_rail_address = 60;
inline constexpr std::size_t most_message = 8192, most_tokens = 192, most_wants = 160, most_served = 256;

/// Who an agent's driver is and where. `id` and `door` are drawn at random for each driver; who does not know the door
/// is not listened to.
struct address {
    std::uint64_t id = 0, door = 0;
    std::string provider;
    std::vector<bytes> rails;
};
bytes encode(const address&);
std::optional<address> decode_address(view);

/// A way into a segment: a key for each rail.
struct description {
    std::uint64_t token = 0;  ///< drawn at random, so that only who was given this can ask for its keys anew
    std::uint64_t length = 0;
    std::uint64_t base = 0;   ///< where it begins, as the provider counts
    wye::access access{};
    std::vector<std::uint64_t> keys;
};
bytes encode(const description&);
std::optional<description> decode_description(view);

/// The sender's rail has this address: it may have changed. It also finds out whether that rail carries anything.
struct ping {
    std::uint8_t rail = 0;
    bytes address;
};
/// Whatever the sender posted through that rail of its, and has closed, shall touch nothing any more.
struct bar {
    std::uint8_t rail = 0;
    std::uint64_t number = 0; ///< grows with each thing asked for; the same again is the same question
    struct posted {
        std::uint64_t token = 0;
        std::uint64_t key = 0; ///< by which it was written; FI_KEY_NOTAVAIL: it was read
        bool operator==(const posted&) const = default;
    };
    std::vector<posted> all;
};
/// It does not.
struct barred {
    std::uint64_t number = 0;
    struct key {
        std::uint64_t token = 0, key = 0; ///< on the rail in question, from now on
    };
    std::vector<key> keys;
};

/// The sender would read these, and asks that they be written to it.
struct wants {
    struct want {
        std::uint64_t number = 0;             ///< of the sender's choice
        std::uint64_t token = 0;              ///< of the grant
        std::uint64_t offset = 0, length = 0; ///< in it
        std::uint64_t key = 0, at = 0;        ///< where it is to go
    };
    std::uint8_t rail = 0; ///< the sender's
    std::vector<want> all;
};
/// What became of them. What was written has landed: this message comes after it on the same way.
struct served {
    enum class how : std::uint8_t { written, withdrawn, out_of_range, broken };
    struct one {
        std::uint64_t number = 0;
        how became{};
    };
    std::vector<one> all;
};
using record = std::variant<ping, bar, barred, wants, served>;

/// One message: to whom, from whom, and some records.
struct letter {
    std::uint64_t door = 0; ///< the receiver's
    std::uint64_t from = 0; ///< the sender's id
    std::vector<record> records;
};
bytes encode(const letter&); ///< at most `most_message`, by the bounds above and few records
std::optional<letter> decode_letter(view);

} // namespace wye::ofi::wire
