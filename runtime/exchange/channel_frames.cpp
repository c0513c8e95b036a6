// SPDX-License-Identifier: Apache-2.0
#include "channel_frames.hpp"

#include "peers/proof.hpp"
#include "peers/wire_bytes.hpp"

namespace wye::detail::channel {

namespace {

constexpr std::uint32_t magic = 0x53657977; // "wyeS"
constexpr std::uint16_t version = 1;

struct extent {
    std::size_t least, most;
};

constexpr extent body_of(kind k) noexcept
{
    switch (k) {
    case kind::hello:
    case kind::challenge: return {sizeof(wire::nonce), sizeof(wire::nonce)};
    case kind::caller_proof:
    case kind::called_proof:
    case kind::question: return {sizeof(wire::digest), sizeof(wire::digest)};
    case kind::answer: return {sizeof(wire::digest), most_answer_body};
    }
    return {1, 0}; // of no other kind there is any
}

/// What is said in which role always begins differently, so nothing that one side said can be said by the other; and no
/// other use of the secret begins like this.
wire::digest swear(std::string_view secret, std::string_view purpose, const oath& o)
{
    wire::bytes text;
    wire::writer w{text};
    w.name(purpose);
    w.raw(o.caller);
    w.raw(o.called);
    w.raw(o.session);
    return hmac(secret, text);
}

} // namespace

header encode_header(kind k, std::size_t body) noexcept
{
    header h;
    wire::store(h.data(), magic);
    wire::store(h.data() + 4, version);
    wire::store(h.data() + 6, static_cast<std::uint16_t>(k));
    wire::store(h.data() + 8, static_cast<std::uint32_t>(body));
    return h;
}

std::optional<std::size_t> decode_header(wire::view in, kind due) noexcept
{
    wire::reader r{in};
    const bool ours = r.take<std::uint32_t>() == magic && r.take<std::uint16_t>() == version;
    const bool expected = r.take<std::uint16_t>() == static_cast<std::uint16_t>(due);
    const std::size_t length = r.take<std::uint32_t>();
    const auto [least, most] = body_of(due);
    if (!r.complete() || !ours || !expected || length < least || length > most) return std::nullopt;
    return length;
}

wire::digest prove_caller(std::string_view secret, const oath& o) { return swear(secret, "wye side channel 1 caller", o); }
wire::digest prove_called(std::string_view secret, const oath& o) { return swear(secret, "wye side channel 1 called", o); }

seals::seals(std::string_view secret, const oath& o) : key_{swear(secret, "wye side channel 1 seals", o)} {}

wire::digest seals::question()
{
    ++number_;
    return seal(1, {});
}

wire::digest seals::answer(wire::view metadata) const { return seal(2, metadata); }

wire::digest seals::seal(std::uint8_t what, wire::view text) const
{
    wire::bytes all;
    all.reserve(sizeof what + sizeof number_ + text.size());
    wire::writer w{all};
    w.number(what);
    w.number(number_);
    w.append(text);
    return hmac({reinterpret_cast<const char*>(key_.data()), key_.size()}, all);
}

} // namespace wye::detail::channel
