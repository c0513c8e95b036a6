// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <wye/driver.hpp>
#include <wye/options.hpp>
#include <wye/segment.hpp>

/// What agents say to each other, as bytes: little-endian, versioned, bounded. Everything here is input from strangers:
/// decoding copies nothing that it has not checked, allocates no more than a small multiple of the input, and never
/// throws anything but bad_alloc.
namespace wye::detail::wire {

using bytes = std::vector<std::byte>;
using view = std::span<const std::byte>;

inline constexpr std::size_t most_name = 255;        ///< of agents, fabrics, what is published; at least 1
inline constexpr std::size_t most_key = 1024;        ///< of a notification
inline constexpr std::size_t most_payload = 4096;    ///< likewise
inline constexpr std::size_t most_address = 4096;    ///< of an agent in one fabric
inline constexpr std::size_t most_description = 4096; ///< of a segment in one fabric
inline constexpr std::size_t most_ways = 8;
inline constexpr std::size_t most_published = 65'536;
inline constexpr std::size_t most_metadata = 64 * 1024 * 1024;
inline constexpr std::size_t most_frame = 8 * 1024; ///< the longest record of any kind fits; an update has one grant

/// One life of an agent: drawn at random when it is made, so that who restarts under a name is someone else.
struct incarnation {
    std::uint64_t high = 0, low = 0;
    friend bool operator==(const incarnation&, const incarnation&) = default;
};
using nonce = std::array<std::byte, 16>;
using digest = std::array<std::byte, 32>;

/// How to reach an agent by one fabric.
struct way {
    std::string fabric; ///< the driver's name
    bytes address;
    friend bool operator==(const way&, const way&) = default;
};

/// A key to published memory.
struct grant {
    std::string fabric;
    bytes description; ///< empty: there is no key, its agent serves it (errand)
    friend bool operator==(const grant&, const grant&) = default;
};

struct publication {
    std::string name;
    wye::tier tier{};
    wye::access access{};
    std::int32_t device = 0;
    std::uint64_t length = 0;
    std::uint64_t epoch = 0;   ///< of what lies behind the name
    std::uint64_t edition = 0; ///< of the keys to it: they may change while it stays
    std::vector<grant> grants;
    friend bool operator==(const publication&, const publication&) = default;
};

/// What an agent gives to those who shall reach it.
struct metadata {
    std::string name;
    incarnation life;
    std::uint64_t longest_gap = 0; ///< nanoseconds between two of its polls
    std::vector<way> ways;
    std::vector<publication> published;
    friend bool operator==(const metadata&, const metadata&) = default;
};

/// What is out of bounds, or there twice, is the caller's bug (asserted).
bytes encode(const metadata&);
/// Nothing if it is out of bounds, malformed, truncated, of another version, or has something twice.
std::optional<metadata> decode_metadata(view);

// What frames carry. A link numbers frames, so each record of a numbered frame is taken once; they are taken in any
// order.

/// The first word, to an agent known by its metadata.
struct hello {
    incarnation to;
    std::string name;
    incarnation life;
    std::uint64_t longest_gap = 0;
    way back;
    std::uint64_t token = 0; ///< what to put on frames for this link, on the way back
    nonce fresh{};
    friend bool operator==(const hello&, const hello&) = default;
};
struct challenge {
    std::uint64_t token = 0; ///< likewise, on the way there
    nonce fresh{};
    digest proof{};          ///< that the secret is known, see proof.hpp
    std::uint64_t longest_gap = 0;
    friend bool operator==(const challenge&, const challenge&) = default;
};
struct answer {
    digest proof{};
    friend bool operator==(const answer&, const answer&) = default;
};
struct welcome {
    friend bool operator==(const welcome&, const welcome&) = default;
};
struct refusal {
    std::uint8_t why = 0;    ///< an `errc`, maybe one of a newer version
    friend bool operator==(const refusal&, const refusal&) = default;
};
/// "I hold your `name` as it was in this epoch and edition": tell me when it changes.
struct interest {
    std::string name;
    std::uint64_t epoch = 0, edition = 0;
    friend bool operator==(const interest&, const interest&) = default;
};
/// What lies behind a name, or the keys to it, changed. Without grants: nothing lies there any more.
struct update {
    publication now;
    friend bool operator==(const update&, const update&) = default;
};
/// To an `interest`, instead of an update: that is what lies there.
struct current {
    std::string name;
    std::uint64_t epoch = 0, edition = 0;
    friend bool operator==(const current&, const current&) = default;
};
/// Nothing is under way any more by anything older than this.
struct drained {
    std::string name;
    std::uint64_t epoch = 0, edition = 0;
    friend bool operator==(const drained&, const drained&) = default;
};
struct notify {
    std::string key;
    bytes payload;
    bool aborted = false;
    friend bool operator==(const notify&, const notify&) = default;
};
struct goodbye {
    friend bool operator==(const goodbye&, const goodbye&) = default;
};
/// Bytes for published memory and what is told of them: both arrive, or neither. It borrows, from the frame that it was
/// read out of or from who says it.
struct put {
    std::uint64_t epoch = 0; ///< of what they are for
    std::uint64_t at = 0;    ///< bytes from its beginning
    view what;
    std::string_view key;
    view payload;
    friend bool operator==(const put&, const put&) noexcept;
};
/// To a put: nothing has come of it.
struct rejection {
    std::uint64_t frame = 0;  ///< its number
    std::uint16_t record = 0; ///< of those in it, from 0
    std::uint8_t why = 0;     ///< an `errc`, maybe one of a newer version
    friend bool operator==(const rejection&, const rejection&) = default;
};
/// "You may reach memory of mine, to serve me": it has this number from now on.
struct lend {
    std::uint32_t number = 0;
    wye::access access{};
    std::uint64_t length = 0;
    bytes description; ///< of the grant, by the fabric that this comes by
    friend bool operator==(const lend&, const lend&) = default;
};
/// No longer. Nothing that was asked for with it is under way.
struct unlend {
    std::uint32_t number = 0;
    friend bool operator==(const unlend&, const unlend&) = default;
};
/// What the owner of something published is asked to do with a part of it. Answered by one `reply`. It borrows, as a put.
struct errand {
    std::uint64_t number = 0;
    std::uint64_t epoch = 0;    ///< of what is published
    std::string_view key;       ///< of the object below it; empty where it has none
    std::uint64_t at = 0, length = 0;
    std::uint32_t memory = 0;   ///< lent, for a `move`: where its bytes come from or go
    std::uint64_t memory_at = 0;
    wye::step step{};
    bool writes = false;        ///< to what is published
    bool sole = false;          ///< as `chunk::sole`
    wye::priority priority{};
    std::uint64_t session = 0;  ///< of an object, given by the owner; 0 for none
    std::uint64_t total = 0;    ///< bytes of the object
    bool verify = false;        ///< reading: the checksum of the extent that this is part of is wanted
    std::uint64_t extent_at = 0, extent_length = 0;
    bool has_checksum = false;  ///< writing: what arrives must have this one, and it is kept
    std::uint32_t checksum = 0; ///< CRC32C
    friend bool operator==(const errand&, const errand&) noexcept;
};
/// It is over: nothing of it touches anything any more.
struct reply {
    std::uint64_t number = 0;
    std::uint8_t category = 0;  ///< of the error: see errand.hpp
    std::int32_t error = 0;     ///< 0 for none
    std::uint64_t bytes = 0;    ///< that arrived, from the beginning on
    std::uint64_t session = 0, total = 0; ///< to an `open`
    bool has_checksum = false;  ///< reading: what was kept
    std::uint32_t checksum = 0;
    friend bool operator==(const reply&, const reply&) = default;
};
using record = std::variant<hello, challenge, answer, welcome, refusal, interest, update, drained, notify, goodbye,
                            current, put, rejection, lend, unlend, errand, reply>;

/// One message of a fabric.
struct frame_header {
    std::uint64_t token = 0;    ///< the receiver's name for the link; 0 for a hello, and for what answers one
    std::uint64_t number = 0;   ///< 0: not numbered, may be lost
    std::uint64_t heard = 0;    ///< all numbers up to this one came
    std::uint64_t further = 0;  ///< and `heard + 2 + i` for each bit i of this
    bool answer_please = false; ///< say at once what was heard
    bool takes_puts = true;     ///< who says this knows of them; earlier versions did not
    friend bool operator==(const frame_header&, const frame_header&) = default;
};
inline constexpr std::size_t frame_header_bytes = 40;

/// Begins a frame in place of what `out` held: as many bytes as `frame_header_bytes`.
void begin_frame(bytes& out, const frame_header&);
/// What a frame said before it was sent again may be old.
void refresh_frame(std::span<std::byte> frame, const frame_header&) noexcept;
/// How much `append` would add, exactly. What is out of bounds, or beyond `most_frame`, is the caller's bug (asserted).
std::size_t size_of(const record&) noexcept;
void append(bytes& frame, const record&);

/// Takes a frame apart, which must outlive the records.
class frame_reader {
public:
    explicit frame_reader(view frame) noexcept;
    /// Whether there was a header of this version.
    explicit operator bool() const noexcept { return valid_; }
    const frame_header& header() const noexcept { return header_; }
    /// The next record; nothing at the end, or when the rest makes no sense (`malformed`). Kinds that are not known are
    /// skipped: they come from newer versions.
    std::optional<record> next();
    bool malformed() const noexcept { return malformed_; }

private:
    frame_header header_;
    view rest_;
    bool valid_ = false, malformed_ = false;
};

} // namespace wye::detail::wire
