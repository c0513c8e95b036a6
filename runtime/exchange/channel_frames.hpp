// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "peers/wire.hpp"

/// What goes over a side channel, as bytes (docs/decisions/0016): frames of a header and a body, little-endian.
namespace wye::detail::channel {

/// In the order in which they come; then questions and answers go on.
enum class kind : std::uint16_t { hello = 1, challenge, caller_proof, called_proof, question, answer };

inline constexpr std::size_t header_bytes = 12;
/// The longest body of any kind but an answer.
inline constexpr std::size_t most_small_body = sizeof(wire::digest);
inline constexpr std::size_t most_answer_body = wire::most_metadata + sizeof(wire::digest);

using header = std::array<std::byte, header_bytes>;

/// Of a body of so many bytes.
header encode_header(kind, std::size_t body) noexcept;
/// How many bytes of body follow. Nothing if this is no header of our version, announces another kind than the one that
/// is due, or a length that this kind cannot have. So nothing is allocated before who is there has proved the secret.
std::optional<std::size_t> decode_header(wire::view, kind due) noexcept;

/// What both sides swear to: the two nonces, and the TLS session if there is one.
struct oath {
    wire::nonce caller{}, called{};
    wire::digest session{}; ///< exported from TLS (RFC 8446, 7.5); zero without
    friend bool operator==(const oath&, const oath&) = default;
};
wire::digest prove_caller(std::string_view secret, const oath&);
wire::digest prove_called(std::string_view secret, const oath&);

/// Seals what follows the proofs, so that nobody on the way can change, repeat or swap it.
class seals {
public:
    seals(std::string_view secret, const oath&);
    /// Of the next question.
    wire::digest question();
    /// Of the answer to the last one.
    wire::digest answer(wire::view metadata) const;

private:
    wire::digest seal(std::uint8_t what, wire::view) const;

    wire::digest key_;
    std::uint64_t number_ = 0;
};

} // namespace wye::detail::channel
