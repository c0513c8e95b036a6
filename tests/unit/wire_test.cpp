// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE wire
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <functional>
#include <new>
#include <string_view>

#include <support/wire_raw.hpp>
#include <support/wire_values.hpp>

using namespace forged;

namespace {

std::size_t allocated = 0; // bytes, ever
constexpr auto least = wire_values::sizes::least, most = wire_values::sizes::most;
constexpr auto kinds = std::variant_size_v<wire::record>;

} // namespace

void* operator new(std::size_t n)
{
    allocated += n;
    if (void* const p = std::malloc(n ? n : 1)) return p;
    throw std::bad_alloc{};
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

bool accepted(const wire::bytes& b) { return wire::decode_metadata(b).has_value(); }

struct content {
    std::vector<wire::record> records;
    bool valid = false, malformed = false;
};
content read(wire::view frame)
{
    wire::frame_reader reader{frame};
    content c;
    c.valid = bool{reader};
    while (auto r = reader.next()) c.records.push_back(std::move(*r));
    c.malformed = reader.malformed();
    BOOST_TEST(!reader.next().has_value()); // the end is the end
    return c;
}
bool whole(const wire::bytes& frame)
{
    const content c = read(frame);
    return c.valid && !c.malformed;
}
raw body_of(const wire::record& r)
{
    wire::bytes frame = framed({});
    wire::append(frame, r);
    return raw{}.all(wire::view{frame}.subspan(wire::frame_header_bytes + 3));
}

wire::bytes frame_of(wire_values& values, std::vector<wire::record>& records)
{
    wire::bytes frame;
    wire::begin_frame(frame, values.header());
    for (std::size_t n = values.between(0, 20); n; --n) {
        wire::record r = values.record();
        if (frame.size() + wire::size_of(r) > wire::most_frame) break;
        wire::append(frame, r);
        records.push_back(std::move(r));
    }
    return frame;
}

std::string hex(wire::view b)
{
    std::string s;
    for (const std::byte c : b) {
        s += "0123456789abcdef"[std::to_integer<unsigned>(c) >> 4];
        s += "0123456789abcdef"[std::to_integer<unsigned>(c) & 15];
    }
    return s;
}
wire::bytes text_bytes(std::string_view s)
{
    const auto b = std::as_bytes(std::span{s});
    return {b.begin(), b.end()};
}

} // namespace

BOOST_AUTO_TEST_SUITE(metadata)

BOOST_AUTO_TEST_CASE(comes_back)
{
    for (unsigned seed = 1; seed <= 500; ++seed)
        for (const auto sizes : {wire_values::sizes::any, least, most}) {
            if (sizes == most && seed > 5) continue;
            const wire::metadata m = wire_values{seed, sizes}.metadata();
            BOOST_REQUIRE((wire::decode_metadata(wire::encode(m)) == m));
        }
}

BOOST_AUTO_TEST_CASE(in_part_is_refused)
{
    for (unsigned seed = 1; seed <= 20; ++seed) {
        const wire::bytes all = wire::encode(wire_values{seed}.metadata());
        for (std::size_t n = 0; n < std::min<std::size_t>(all.size(), 3000); ++n)
            BOOST_REQUIRE(!wire::decode_metadata(wire::view{all}.first(n)));
    }
}

BOOST_AUTO_TEST_CASE(with_more_behind_it_is_refused)
{
    wire::bytes all = wire::encode(wire_values{1}.metadata());
    all.push_back({});
    BOOST_TEST(!accepted(all));
}

BOOST_AUTO_TEST_CASE(with_any_bit_flipped_is_refused)
{
    for (unsigned seed = 1; seed <= 10; ++seed) {
        wire::bytes all = wire::encode(wire_values{seed}.metadata());
        for (std::size_t at = 0; at < std::min<std::size_t>(all.size(), 2000); ++at)
            for (unsigned bit = 0; bit < 8; ++bit) {
                all[at] ^= std::byte{1} << bit;
                BOOST_REQUIRE(!accepted(all));
                all[at] ^= std::byte{1} << bit;
            }
        BOOST_TEST(accepted(all));
    }
}

// The parts in which lengths were cut off or blown up, under a checksum that is right all the same.
BOOST_AUTO_TEST_CASE(with_a_right_checksum_and_any_byte_changed_is_harmless)
{
    for (unsigned seed = 1; seed <= 20; ++seed) {
        const wire::bytes all = wire::encode(wire_values{seed}.metadata());
        raw sections;
        sections.all(wire::view{all}.subspan(16, std::min<std::size_t>(all.size() - 16, 600)));
        for (std::byte& c : sections)
            for (const unsigned value : {0u, 1u, 0x7fu, 0xffu}) {
                const std::byte before = std::exchange(c, static_cast<std::byte>(value));
                const auto decoded = wire::decode_metadata(sealed(sections));
                if (decoded) BOOST_REQUIRE((wire::decode_metadata(wire::encode(*decoded)) == decoded));
                c = before;
            }
    }
}

BOOST_AUTO_TEST_CASE(of_another_version_or_kind_is_refused)
{
    wire::bytes b = with(2, way("f"));
    BOOST_TEST(accepted(b));
    b[4] = std::byte{2};
    BOOST_TEST(!accepted(b));
    b[4] = std::byte{1};
    b[3] = std::byte{'F'};
    BOOST_TEST(!accepted(b));
}

BOOST_AUTO_TEST_CASE(sections_that_are_not_known_are_skipped)
{
    const auto plain = wire::decode_metadata(with(2, way("f")));
    BOOST_REQUIRE(plain.has_value());
    const raw anything = raw{}.zeros(77);
    raw sections;
    sections.section(4, anything).section(1, about()).section(0xffffffffu, {}).section(2, way("f")).section(4, anything);
    BOOST_TEST((wire::decode_metadata(sealed(sections)) == plain));
}

BOOST_AUTO_TEST_CASE(whose_sections_make_no_sense_is_refused)
{
    BOOST_TEST(accepted(sealed(raw{}.section(1, about()))));
    BOOST_TEST(!accepted(sealed({})));                                                      // nobody's
    BOOST_TEST(!accepted(sealed(raw{}.section(1, about()).section(1, about()))));           // two agents'
    BOOST_TEST(!accepted(sealed(raw{}.section(1, raw{}.name("").zeros(24)))));              // without a name
    BOOST_TEST(!accepted(sealed(raw{}.section(1, about().u8(0)))));                         // too much in a section
    BOOST_TEST(!accepted(sealed(raw{}.section(1, raw{}.name("a").zeros(23)))));             // too little
    BOOST_TEST(!accepted(sealed(raw{}.section(1, about()).zeros(7))));                      // half a section
    BOOST_TEST(!accepted(sealed(raw{}.section(1, about()).u32(9).u32(1))));                 // longer than the rest
    BOOST_TEST(!accepted(sealed(raw{}.section(1, about()).u32(9).u32(0xffffffffu).u8(0)))); // and so that sums wrap
}

BOOST_AUTO_TEST_CASE(out_of_bounds_is_refused)
{
    BOOST_TEST(accepted(with(2, way("f", wire::most_address))));
    BOOST_TEST(!accepted(with(2, way("f", wire::most_address + 1))));
    BOOST_TEST(!accepted(with(2, way(""))));
    BOOST_TEST(accepted(with(3, published("p", 4, 1).all(grants(8, 8, wire::most_description)))));
    BOOST_TEST(!accepted(with(3, published("p", 4, 1).all(grants(8, 8, wire::most_description + 1)))));
    BOOST_TEST(!accepted(with(3, published("").all(grants(0, 0)))));
    BOOST_TEST(!accepted(with(3, published("p", 5, 1).all(grants(0, 0)))));
    BOOST_TEST(!accepted(with(3, published("p", 4, 2).all(grants(0, 0)))));
    BOOST_TEST(!accepted(with(3, published("p").all(grants(9, 9)))));
    BOOST_TEST(!accepted(with(3, published("p").all(grants(8, 7)))));
    BOOST_TEST(!accepted(with(3, published("p").all(grants(7, 8)))));
    BOOST_TEST(!accepted(with(3, published("p").u8(1).name("").u16(0))));
}

BOOST_AUTO_TEST_CASE(with_something_twice_is_refused)
{
    const raw none = grants(0, 0);
    const raw base = raw{}.section(1, about()).section(2, way("f")).section(3, published("p").all(none));
    BOOST_TEST(accepted(sealed(base)));
    BOOST_TEST(accepted(sealed(raw{base}.section(2, way("g")))));
    BOOST_TEST(!accepted(sealed(raw{base}.section(2, way("f", 1)))));
    BOOST_TEST(accepted(sealed(raw{base}.section(3, published("q").all(none)))));
    const raw same = raw{base}.section(3, published("q").all(none)).section(3, published("p", 1).all(none));
    BOOST_TEST(!accepted(sealed(same)));
    const raw two = published("q").u8(2).name("f").u16(0);
    BOOST_TEST(accepted(sealed(raw{base}.section(3, raw{two}.name("g").u16(0)))));
    BOOST_TEST(!accepted(sealed(raw{base}.section(3, raw{two}.name("f").u16(0)))));
}

BOOST_AUTO_TEST_CASE(of_too_many_is_refused)
{
    raw ways, names;
    ways.section(1, about());
    names.section(1, about());
    for (std::size_t i = 0; i < wire::most_ways; ++i) ways.section(2, way(std::to_string(i)));
    BOOST_TEST(accepted(sealed(ways)));
    BOOST_TEST(!accepted(sealed(ways.section(2, way("more")))));
    for (std::size_t i = 0; i < wire::most_published; ++i)
        names.section(3, published(std::to_string(i)).all(grants(0, 0)));
    BOOST_TEST(accepted(sealed(names)));
    BOOST_TEST(!accepted(sealed(names.section(3, published("more").all(grants(0, 0))))));
}

BOOST_AUTO_TEST_CASE(that_is_too_long_is_refused)
{
    const std::size_t filling = wire::most_metadata - 16 - 8 - about().size() - 8;
    BOOST_TEST(accepted(with(99, raw{}.zeros(filling))));
    BOOST_TEST(!accepted(with(99, raw{}.zeros(filling + 1))));
}

BOOST_AUTO_TEST_CASE(is_written_as_ever)
{
    const wire::metadata m{
        .name = "decode-0",
        .life = {0x0102030405060708, 0x1112131415161718},
        .longest_gap = 1'000'000,
        .ways = {{"tcp", text_bytes("\x7f\x01")}},
        .published = {
            {"kv", wye::tier::vram, wye::access::read_write, -2, 1 << 20, 3, 4, {{"tcp", text_bytes("key")}}}}};
    BOOST_TEST(hex(wire::encode(m)) ==
               "7779654d010000007c00000071670dae0100000021000000086465636f64652d300807060504030201181716"
               "151413121140420f000000000002000000080000000374637002007f01030000002b000000026b760101feff"
               "ffff000010000000000003000000000000000400000000000000010374637003006b6579");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(frames)

BOOST_AUTO_TEST_CASE(come_back)
{
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        wire_values values{seed};
        std::vector<wire::record> records;
        const wire::bytes frame = frame_of(values, records);
        const content c = read(frame);
        BOOST_REQUIRE(c.valid);
        BOOST_REQUIRE(!c.malformed);
        BOOST_REQUIRE((c.records == records));
    }
}

BOOST_AUTO_TEST_CASE(of_every_kind_and_size_come_back)
{
    for (std::size_t kind = 0; kind < kinds; ++kind)
        for (const auto sizes : {wire_values::sizes::any, least, most})
            for (unsigned seed = 1; seed <= 50; ++seed) {
                wire_values values{seed, sizes};
                const wire::record r = values.record(kind);
                BOOST_REQUIRE(r.index() == kind);
                wire::bytes frame = framed({});
                wire::append(frame, r);
                BOOST_REQUIRE(frame.size() == wire::frame_header_bytes + wire::size_of(r));
                BOOST_REQUIRE(frame.size() <= wire::most_frame);
                const content c = read(frame);
                BOOST_REQUIRE((!c.malformed && c.records.size() == 1 && c.records[0] == r));
            }
}

BOOST_AUTO_TEST_CASE(have_a_header_that_can_be_told_anew)
{
    for (unsigned seed = 1; seed <= 100; ++seed) {
        wire_values values{seed};
        wire::bytes frame(seed % 60, std::byte{0xff}); // what was there is gone
        for (int time = 0; time < 3; ++time) {
            const wire::frame_header h = values.header();
            if (time == 0) wire::begin_frame(frame, h);
            else wire::refresh_frame(frame, h);
            BOOST_REQUIRE(frame.size() == (time == 2 ? wire::frame_header_bytes + 3 : wire::frame_header_bytes));
            BOOST_REQUIRE((wire::frame_reader{frame}.header() == h));
            BOOST_REQUIRE(read(frame).records.size() == (time == 2 ? 1u : 0u));
            if (time == 1) wire::append(frame, wire::goodbye{});
        }
    }
}

// What is cut off is missing, and nothing else is.
BOOST_AUTO_TEST_CASE(in_part_give_what_is_there)
{
    for (unsigned seed = 1; seed <= 30; ++seed) {
        wire_values values{seed};
        std::vector<wire::record> records;
        const wire::bytes frame = frame_of(values, records);
        std::size_t ends = wire::frame_header_bytes, complete = 0;
        for (std::size_t n = 0; n < frame.size(); ++n) {
            const wire::bytes part(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n));
            const content c = read(part);
            BOOST_REQUIRE(c.valid == (n >= wire::frame_header_bytes));
            if (!c.valid) continue;
            while (complete < records.size() && ends + wire::size_of(records[complete]) <= n)
                ends += wire::size_of(records[complete++]);
            BOOST_REQUIRE(c.records.size() == complete);
            BOOST_REQUIRE(std::equal(c.records.begin(), c.records.end(), records.begin()));
            BOOST_REQUIRE(c.malformed == (n != ends));
        }
    }
}

BOOST_AUTO_TEST_CASE(with_any_byte_changed_are_harmless)
{
    for (unsigned seed = 1; seed <= 100; ++seed) {
        wire_values values{seed};
        std::vector<wire::record> records;
        wire::bytes frame = frame_of(values, records);
        for (std::size_t at = 0; at < std::min<std::size_t>(frame.size(), 500); ++at) {
            const std::byte before = frame[at];
            for (const unsigned value : {0u, 1u, 0x7fu, 0xffu, std::to_integer<unsigned>(before) ^ 0x10u}) {
                frame[at] = static_cast<std::byte>(value);
                const content c = read(frame);
                BOOST_REQUIRE(c.records.size() <= (frame.size() - wire::frame_header_bytes) / 3);
                if (at < 6 && frame[at] != before) BOOST_REQUIRE(!c.valid);
            }
            frame[at] = before;
        }
    }
}

BOOST_AUTO_TEST_CASE(of_another_version_are_refused_and_flags_that_are_not_known_are_passed_over)
{
    wire::bytes frame = framed({});
    frame[6] = std::byte{0xfc};
    frame[7] = std::byte{0xff};
    BOOST_TEST(whole(frame));
    BOOST_TEST(!wire::frame_reader{frame}.header().answer_please);
    BOOST_TEST(!wire::frame_reader{frame}.header().takes_puts);
    frame[6] = std::byte{0xfd};
    BOOST_TEST(wire::frame_reader{frame}.header().answer_please);
    frame[6] = std::byte{0xfe};
    BOOST_TEST(wire::frame_reader{frame}.header().takes_puts);
    frame[4] = std::byte{2};
    BOOST_TEST(!read(frame).valid);
}

BOOST_AUTO_TEST_CASE(records_that_are_not_known_are_skipped)
{
    raw records;
    for (unsigned kind = kinds + 1; kind < 256; ++kind)
        records.record(static_cast<std::uint8_t>(kind), raw{}.zeros(kind % 7));
    const content c = read(framed(records.record(10, {})));
    BOOST_TEST(!c.malformed);
    BOOST_TEST((c.records == std::vector<wire::record>{wire::goodbye{}}));
}

BOOST_AUTO_TEST_CASE(too_long_are_refused)
{
    const raw filling = raw{}.record(200, raw{}.zeros(wire::most_frame - wire::frame_header_bytes - 3));
    BOOST_TEST(whole(framed(filling)));
    BOOST_TEST(!read(framed(raw{}.record(200, raw{}.zeros(wire::most_frame - wire::frame_header_bytes - 2)))).valid);
}

BOOST_AUTO_TEST_CASE(records_of_another_length_are_malformed)
{
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        const raw body = body_of(wire_values{7}.record(kind));
        const auto on_wire = static_cast<std::uint8_t>(kind + 1);
        BOOST_TEST(whole(framed(raw{}.record(on_wire, body))));
        BOOST_TEST(!whole(framed(raw{}.record(on_wire, raw{body}.u8(0)))));
        if (!body.empty()) BOOST_TEST(!whole(framed(raw{}.record(on_wire, wire::view{body}.first(body.size() - 1)))));
    }
}

BOOST_AUTO_TEST_CASE(out_of_bounds_are_malformed)
{
    const auto notice = [](std::size_t key, std::size_t payload, unsigned aborted) {
        return whole(framed(raw{}.record(9, raw{}.u16(key).zeros(key).u16(payload).zeros(payload).u8(aborted))));
    };
    BOOST_TEST(notice(wire::most_key, wire::most_payload, 1));
    BOOST_TEST(!notice(wire::most_key + 1, 0, 1));
    BOOST_TEST(!notice(0, wire::most_payload + 1, 1));
    BOOST_TEST(!notice(0, 0, 2));

    const auto greeting = [](std::string_view name, std::string_view fabric, std::size_t address) {
        return whole(framed(raw{}.record(
            1, raw{}.zeros(16).name(name).zeros(24).name(fabric).u16(address).zeros(address + 8 + 16))));
    };
    BOOST_TEST(greeting("a", "f", wire::most_address));
    BOOST_TEST(!greeting("a", "f", wire::most_address + 1));
    BOOST_TEST(!greeting("", "f", 0));
    BOOST_TEST(!greeting("a", "", 0));

    const auto change = [](const raw& publication) { return whole(framed(raw{}.record(7, publication))); };
    BOOST_TEST(change(published("p", 4, 1).all(grants(1, 1, wire::most_description))));
    BOOST_TEST(!change(published("p", 5, 1).all(grants(0, 0))));
    BOOST_TEST(!change(published("p", 4, 2).all(grants(0, 0))));
    BOOST_TEST(!change(published("").all(grants(0, 0))));
    BOOST_TEST(!change(published("p").all(grants(9, 9))));
    BOOST_TEST(!change(published("p").u8(2).name("f").u16(0).name("f").u16(0)));

    const auto put = [](std::size_t what, std::size_t key, std::size_t payload) {
        const raw lengths = raw{}.zeros(16).u16(what).zeros(what).u16(key).zeros(key).u16(payload).zeros(payload);
        return whole(framed(raw{}.record(12, lengths)));
    };
    BOOST_TEST(put(0, 0, 0));
    BOOST_TEST(put(3000, wire::most_key, wire::most_payload));
    BOOST_TEST(!put(0, wire::most_key + 1, 0));
    BOOST_TEST(!put(0, 0, wire::most_payload + 1));
    BOOST_TEST(!whole(framed(raw{}.record(12, raw{}.zeros(16).u16(5).zeros(8)))));

    const auto lend = [](unsigned access, std::size_t description) {
        return whole(framed(raw{}.record(14, raw{}.u32(1).u8(access).zeros(8).u16(description).zeros(description))));
    };
    BOOST_TEST(lend(1, wire::most_description));
    BOOST_TEST(!lend(2, 0));
    BOOST_TEST(!lend(1, wire::most_description + 1));

    const auto errand = [](std::size_t key, unsigned step, unsigned flag, unsigned priority) {
        const raw head = raw{}.zeros(16).u16(key).zeros(key + 8 + 8 + 4 + 8).u8(step).u8(flag).u8(flag).u8(priority);
        return whole(framed(raw{}.record(16, raw{head}.zeros(16).u8(flag).zeros(16).u8(flag).zeros(4))));
    };
    BOOST_TEST(errand(wire::most_key, 3, 1, 2));
    BOOST_TEST(!errand(wire::most_key + 1, 0, 0, 0));
    BOOST_TEST(!errand(0, 4, 0, 0));
    BOOST_TEST(!errand(0, 0, 2, 0));
    BOOST_TEST(!errand(0, 0, 0, 3));
    BOOST_TEST(!whole(framed(raw{}.record(17, raw{}.zeros(37).u8(2).zeros(4)))));
    BOOST_TEST(whole(framed(raw{}.record(17, raw{}.zeros(37).u8(1).zeros(4)))));

    BOOST_TEST(!whole(framed(raw{}.record(6, raw{}.name("").zeros(16)))));
    BOOST_TEST(!whole(framed(raw{}.record(8, raw{}.name("").zeros(16)))));
    BOOST_TEST(!whole(framed(raw{}.zeros(3))));                  // padding is no record
    BOOST_TEST(!whole(framed(raw{}.u8(200).u16(1))));            // longer than the rest
    BOOST_TEST(!whole(framed(raw{}.u8(10))));                    // half a record's header
}

BOOST_AUTO_TEST_CASE(are_written_as_ever)
{
    wire::bytes frame;
    wire::begin_frame(frame, {0x0102030405060708, 9, 10, 11, true, false});
    BOOST_TEST(hex(frame) ==
               "7779654601000100080706050403020109000000000000000a000000000000000b00000000000000");
    const auto written = [](const wire::record& r) {
        wire::bytes alone = framed({});
        wire::append(alone, r);
        return hex(wire::view{alone}.subspan(wire::frame_header_bytes));
    };
    const wire::incarnation one{1, 2};
    wire::nonce fresh;
    fresh.fill(std::byte{0xaa});
    wire::digest proof;
    proof.fill(std::byte{0xbb});
    wire::hello h;
    h.to = one;
    h.name = "p";
    h.life = {3, 4};
    h.longest_gap = 5;
    h.back = {"tcp", text_bytes("\x7f")};
    h.token = 6;
    h.fresh = fresh;
    const wire::update change{{"kv", wye::tier::object, wye::access::read_write, 1, 2, 3, 4, {{"t", text_bytes("k")}}}};
    BOOST_TEST(written(h) ==
               "0149000100000000000000020000000000000001700300000000000000040000000000000005000000000000"
               "000374637001007f0600000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    BOOST_TEST(written(wire::challenge{7, fresh, proof, 8}) ==
               "0240000700000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
               "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0800000000000000");
    BOOST_TEST(written(wire::answer{proof}) ==
               "032000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    BOOST_TEST(written(wire::welcome{}) == "040000");
    BOOST_TEST(written(wire::refusal{9}) == "05010009");
    BOOST_TEST(written(wire::interest{"kv", 1, 2}) ==
               "061300026b7601000000000000000200000000000000");
    BOOST_TEST(written(change) ==
               "072700026b7604010100000002000000000000000300000000000000040000000000000001017401006b");
    BOOST_TEST(written(wire::drained{"kv", 1, 2}) ==
               "081300026b7601000000000000000200000000000000");
    BOOST_TEST(written(wire::notify{"req", text_bytes("\1"), true}) == "090900030072657101000101");
    BOOST_TEST(written(wire::goodbye{}) == "0a0000");
    BOOST_TEST(written(wire::current{"kv", 1, 2}) ==
               "0b1300026b7601000000000000000200000000000000");
    BOOST_TEST(written(wire::lend{7, wye::access::read_write, 9, text_bytes("k")}) ==
               "0e100007000000010900000000000000" "01006b");
    BOOST_TEST(written(wire::unlend{7}) == "0f040007000000");
    const wire::errand e{1, 2, "k", 3, 4, 5, 6, wye::step::commit, true, false, wye::priority::background, 7, 8, true, 9, 10, true, 11};
    BOOST_TEST(written(e) ==
               "10590001000000000000000200000000000000" "01006b" "03000000000000000400000000000000" "05000000"
               "0600000000000000" "02010002" "07000000000000000800000000000000" "01"
               "09000000000000000a00000000000000" "01" "0b000000");
    BOOST_TEST(written(wire::reply{1, 2, 3, 4, 5, 6, true, 7}) ==
               "112a000100000000000000" "02" "03000000" "040000000000000005000000000000000600000000000000" "01" "07000000");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(allocations)

/// What decoding may allocate in all, freed or not.
constexpr std::size_t allowed(std::size_t input) { return 32 * input + 64 * 1024; }

std::size_t allocated_by(const std::function<void()>& f)
{
    const std::size_t before = allocated;
    f();
    return allocated - before;
}
std::size_t by_decoding(const wire::bytes& b) { return allocated_by([&] { (void)wire::decode_metadata(b); }); }

// The least input for the most memory: names of one byte, grants of nothing.
BOOST_AUTO_TEST_CASE(of_the_densest_metadata_are_bounded)
{
    for (const std::size_t count : {1u, 100u, 5000u, 65'000u})
        for (const std::size_t per : {0u, 1u, 5u, 8u}) {
            raw sections;
            sections.section(1, about());
            for (std::size_t i = 0; i < count; ++i)
                sections.section(3, published(std::to_string(i)).all(grants(per, per)));
            const wire::bytes b = sealed(sections);
            BOOST_TEST(accepted(b));
            BOOST_TEST(by_decoding(b) > count * sizeof(wire::publication)); // it is counted at all
            BOOST_TEST(by_decoding(b) <= allowed(b.size()));
        }
}

// Lengths and counts that promise what does not follow cost no more than what said it.
BOOST_AUTO_TEST_CASE(for_promises_are_none)
{
    BOOST_TEST(by_decoding(sealed(raw{}.u32(3).u32(0xffffffffu))) < 256);
    BOOST_TEST(by_decoding(sealed(raw{}.section(1, raw{}.u8(255)))) < 256);
    BOOST_TEST(by_decoding(sealed(raw{}.section(2, raw{}.name("f").u16(wire::most_address)))) < 256);
    BOOST_TEST(by_decoding(sealed(raw{}.section(3, published("p").u8(8)))) < 256);
}

BOOST_AUTO_TEST_CASE(of_anything_at_all_are_bounded)
{
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        wire_values values{seed};
        raw noise;
        noise.zeros(values.between(0, 4000));
        values.fill(noise);
        BOOST_REQUIRE(by_decoding(sealed(noise)) <= allowed(noise.size()));
        const wire::bytes good = wire::encode(values.metadata());
        BOOST_REQUIRE(by_decoding(good) <= allowed(good.size()));

        const raw record = raw{}.record(static_cast<std::uint8_t>(seed % (kinds + 2)), noise);
        for (const wire::bytes& frame : {framed(noise), framed(record)}) {
            wire::frame_reader reader{frame};
            BOOST_REQUIRE(allocated_by([&] { while (reader.next()) {} }) <= allowed(frame.size()));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
