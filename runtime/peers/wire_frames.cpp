// SPDX-License-Identifier: Apache-2.0
#include <tuple>

#include "wire_bytes.hpp"
#include "wire_fields.hpp"

namespace wye::detail::wire {

namespace {

constexpr std::uint32_t magic = 0x46657977; // "wyeF"
constexpr std::uint16_t version = 1;
constexpr std::uint16_t answer_please_flag = 1, takes_puts_flag = 2; // those that are not known are passed over
constexpr std::size_t record_header_bytes = 3;  // kind, length of the body

/// Never reuse a number. Zero is none, so that a frame padded with zeros is not taken for one.
template <class T>
constexpr std::uint8_t kind_of = 0;
template <>
constexpr std::uint8_t kind_of<hello> = 1;
template <>
constexpr std::uint8_t kind_of<challenge> = 2;
template <>
constexpr std::uint8_t kind_of<answer> = 3;
template <>
constexpr std::uint8_t kind_of<welcome> = 4;
template <>
constexpr std::uint8_t kind_of<refusal> = 5;
template <>
constexpr std::uint8_t kind_of<interest> = 6;
template <>
constexpr std::uint8_t kind_of<update> = 7;
template <>
constexpr std::uint8_t kind_of<drained> = 8;
template <>
constexpr std::uint8_t kind_of<notify> = 9;
template <>
constexpr std::uint8_t kind_of<goodbye> = 10;
template <>
constexpr std::uint8_t kind_of<current> = 11;
template <>
constexpr std::uint8_t kind_of<put> = 12;
template <>
constexpr std::uint8_t kind_of<rejection> = 13;
template <>
constexpr std::uint8_t kind_of<lend> = 14;
template <>
constexpr std::uint8_t kind_of<unlend> = 15;
template <>
constexpr std::uint8_t kind_of<errand> = 16;
template <>
constexpr std::uint8_t kind_of<reply> = 17;

// The longest of each kind that can be long fits into a frame of its own.
constexpr std::size_t beside_record = frame_header_bytes + record_header_bytes;
constexpr std::size_t most_in_name = 1 + most_name;
static_assert(beside_record + 2 + most_key + 2 + most_payload + 1 <= most_frame);
static_assert(beside_record + 2 * 16 + 2 * most_in_name + 8 + 2 + most_address + 8 + 16 <= most_frame);
static_assert(beside_record + most_in_name + 2 + 4 + 3 * 8 + 1 + most_in_name + 2 + most_description <= most_frame);

template <class T>
std::optional<record> read(view body)
{
    std::optional<record> result{std::in_place, std::in_place_type<T>};
    reader r{body};
    fields(r, std::get<T>(*result));
    if (!r.complete()) result.reset();
    return result;
}

using reading = std::optional<record> (*)(view);

/// What reads records of this kind; null if it is not known.
reading reading_of(std::uint8_t kind) noexcept
{
    switch (kind) {
    case kind_of<hello>: return read<hello>;
    case kind_of<challenge>: return read<challenge>;
    case kind_of<answer>: return read<answer>;
    case kind_of<welcome>: return read<welcome>;
    case kind_of<refusal>: return read<refusal>;
    case kind_of<interest>: return read<interest>;
    case kind_of<update>: return read<update>;
    case kind_of<drained>: return read<drained>;
    case kind_of<notify>: return read<notify>;
    case kind_of<goodbye>: return read<goodbye>;
    case kind_of<current>: return read<current>;
    case kind_of<put>: return read<put>;
    case kind_of<rejection>: return read<rejection>;
    case kind_of<lend>: return read<lend>;
    case kind_of<unlend>: return read<unlend>;
    case kind_of<errand>: return read<errand>;
    case kind_of<reply>: return read<reply>;
    default: return nullptr;
    }
}

} // namespace

bool operator==(const put& a, const put& b) noexcept
{
    return a.epoch == b.epoch && a.at == b.at && std::ranges::equal(a.what, b.what) && a.key == b.key &&
           std::ranges::equal(a.payload, b.payload);
}

bool operator==(const errand& a, const errand& b) noexcept
{
    const auto all = [](const errand& e) {
        return std::tie(e.number, e.epoch, e.key, e.at, e.length, e.memory, e.memory_at, e.step, e.writes, e.sole, e.priority,
                        e.session, e.total, e.verify, e.extent_at, e.extent_length, e.has_checksum, e.checksum);
    };
    return all(a) == all(b);
}

void begin_frame(bytes& out, const frame_header& h)
{
    out.resize(frame_header_bytes);
    refresh_frame(out, h);
}

void refresh_frame(std::span<std::byte> frame, const frame_header& h) noexcept
{
    assert(frame.size() >= frame_header_bytes);
    std::byte* const to = frame.data();
    store(to, magic);
    store(to + 4, version);
    store(to + 6, static_cast<std::uint16_t>((h.answer_please ? answer_please_flag : 0) | (h.takes_puts ? takes_puts_flag : 0)));
    store(to + 8, h.token);
    store(to + 16, h.number);
    store(to + 24, h.heard);
    store(to + 32, h.further);
}

std::size_t size_of(const record& r) noexcept
{
    sizer s;
    std::visit([&](const auto& t) { fields(s, t); }, r);
    return record_header_bytes + s.bytes();
}

void append(bytes& frame, const record& r)
{
    const std::size_t size = size_of(r);
    assert(frame.size() >= frame_header_bytes && frame.size() + size <= most_frame);
    writer w{frame};
    std::visit(
        [&]<class T>(const T& t) {
            static_assert(kind_of<T> != 0);
            w.number(kind_of<T>);
            w.number(static_cast<std::uint16_t>(size - record_header_bytes));
            fields(w, t);
        },
        r);
}

frame_reader::frame_reader(view frame) noexcept
{
    reader r{frame};
    valid_ = frame.size() <= most_frame && r.take<std::uint32_t>() == magic && r.take<std::uint16_t>() == version;
    if (!valid_) return;
    const auto flags = r.take<std::uint16_t>();
    header_.answer_please = (flags & answer_please_flag) != 0;
    header_.takes_puts = (flags & takes_puts_flag) != 0;
    r.number(header_.token);
    r.number(header_.number);
    r.number(header_.heard);
    r.number(header_.further);
    valid_ = r.good();
    if (valid_) rest_ = frame.subspan(frame_header_bytes);
}

std::optional<record> frame_reader::next()
{
    while (!rest_.empty()) {
        reader r{rest_};
        const auto kind = r.take<std::uint8_t>();
        const auto length = r.take<std::uint16_t>();
        const view body = r.take(length);
        malformed_ = kind == 0 || !r.good();
        if (malformed_) break;
        rest_ = rest_.subspan(record_header_bytes + length);
        const reading how = reading_of(kind);
        if (!how) continue;
        std::optional<record> result = how(body);
        if (result) return result;
        malformed_ = true;
        break;
    }
    rest_ = {};
    return {};
}

} // namespace wye::detail::wire
