// SPDX-License-Identifier: Apache-2.0
// What comes from strangers: addresses, descriptions, messages of the driver's own. And what providers say of errors.
#define BOOST_TEST_MODULE fabric_input
#include <boost/test/unit_test.hpp>

#include <csignal>
#include <random>

#include <rdma/fi_errno.h>

#include <errors.hpp>
#include <rail.hpp>
#include <wire.hpp>

#include "fabric/drivers.hpp"

using namespace wye::ofi;
using wye::access, wye::errc, wye::error_code, wye::fabric, wye::make_libfabric, wye::tier;
using wye::operator""_KiB;
using wye::seam::loopback, wye::seam::poll, wye::seam::two;
using namespace std::chrono_literals;

namespace {

wire::address some_address()
{
    return {1, 2, "tcp;ofi_rxm", {wire::bytes(16, std::byte{4}), wire::bytes(16, std::byte{5})}};
}
wire::description some_description() { return {7, 4096, 0, access::read_write, {11, 12}}; }
wire::letter some_letter()
{
    wire::letter l{1, 2, {}};
    l.records.emplace_back(wire::ping{3, wire::bytes(16, std::byte{1})});
    l.records.emplace_back(wire::bar{1, 99, {{5, 1}, {6, 2}, {7, 3}}});
    l.records.emplace_back(wire::barred{98, {{5, 50}, {6, 60}}});
    l.records.emplace_back(wire::wants{2, {{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}}});
    l.records.emplace_back(wire::served{{{1, wire::served::how::written}, {2, wire::served::how::broken}}});
    return l;
}

/// Every prefix, every byte changed, and many at random; `take` must make nothing of most and crash of none.
template <class Take>
void maul(wire::bytes good, Take take)
{
    for (std::size_t n = 0; n < good.size(); ++n) BOOST_TEST(!take(wire::view{good}.first(n)), n << " bytes of it");
    wire::bytes more = good;
    more.push_back(std::byte{0});
    BOOST_TEST(!take(more));
    std::mt19937 random{1};
    for (int i = 0; i < 20'000; ++i) {
        wire::bytes b = good;
        for (std::uint32_t k = random() % 4 + 1; k != 0; --k) b[random() % b.size()] = static_cast<std::byte>(random());
        take(b);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_written_is_read)
{
    const auto a = wire::decode_address(wire::encode(some_address()));
    BOOST_REQUIRE(a);
    BOOST_TEST((a->id == 1 && a->door == 2 && a->provider == "tcp;ofi_rxm" && a->rails == some_address().rails));
    const auto d = wire::decode_description(wire::encode(some_description()));
    BOOST_REQUIRE(d);
    BOOST_TEST((d->token == 7 && d->length == 4096 && d->access == access::read_write));
    BOOST_TEST((d->keys == some_description().keys));
    const auto l = wire::decode_letter(wire::encode(some_letter()));
    BOOST_REQUIRE(l);
    BOOST_REQUIRE(l->records.size() == 5u);
    BOOST_TEST((std::get<wire::bar>(l->records[1]).all == std::vector<wire::bar::posted>{{5, 1}, {6, 2}, {7, 3}}));
    BOOST_TEST(std::get<wire::barred>(l->records[2]).keys[1].key == 60u);
    BOOST_TEST(std::get<wire::wants>(l->records[3]).all[1].at == 12u);
    BOOST_TEST((std::get<wire::served>(l->records[4]).all[1].became == wire::served::how::broken));
}

BOOST_AUTO_TEST_CASE(what_is_mauled_does_no_harm)
{
    maul(wire::encode(some_address()), wire::decode_address);
    maul(wire::encode(some_description()), wire::decode_description);
    maul(wire::encode(some_letter()), wire::decode_letter);
}

// The largest fit what the runtime has room for: 4 KiB, and 1 KiB in metadata.
BOOST_AUTO_TEST_CASE(sixty_four_rails_fit)
{
    wire::address a{1, 2, std::string(wire::most_name, 'p'), {}};
    wire::description d = some_description();
    d.keys.clear();
    for (std::size_t i = 0; i < wire::most_rails; ++i) {
        a.rails.push_back(wire::bytes(wire::most_rail_address, std::byte{1}));
        d.keys.push_back(i);
    }
    BOOST_TEST(wire::encode(a).size() <= 4096u);
    BOOST_TEST(wire::encode(d).size() <= 1024u);
    BOOST_TEST(wire::decode_address(wire::encode(a)).has_value());
    wire::letter l{1, 2, {}};
    l.records.emplace_back(wire::bar{0, 1, std::vector<wire::bar::posted>(wire::most_tokens)});
    l.records.emplace_back(wire::barred{1, std::vector<wire::barred::key>(wire::most_tokens)});
    BOOST_TEST(wire::encode(l).size() <= wire::most_message);
    wire::letter asks{1, 2, {}}, answers{1, 2, {}};
    asks.records.emplace_back(wire::wants{0, std::vector<wire::wants::want>(wire::most_wants)});
    answers.records.emplace_back(wire::served{std::vector<wire::served::one>(wire::most_served)});
    for (const wire::letter& one : {asks, answers}) {
        BOOST_TEST(wire::encode(one).size() <= wire::most_message);
        BOOST_TEST(wire::decode_letter(wire::encode(one)).has_value());
    }
}

BOOST_AUTO_TEST_CASE(garbage_is_nobody)
{
    two w{4_KiB, loopback(2), loopback(2)};
    std::mt19937 random{1};
    for (int i = 0; i < 2000; ++i) {
        wire::bytes b = w.key.description;
        for (std::uint32_t k = random() % 3; k != 0; --k) b[random() % b.size()] = static_cast<std::byte>(random());
        b.resize(b.size() - random() % 3);
        if (b != w.key.description) (void)w.here->import(w.them, tier::dram, 0, 4_KiB, b);
        w.here->renew(*w.kv, wire::view{b}.first(random() % b.size()), [] {});
    }
    BOOST_TEST(!w.here->import(w.them, tier::dram, 0, 4_KiB + 1, w.key.description)); // longer than what is granted
    BOOST_TEST(!w.here->import(w.them + 1, tier::dram, 0, 4_KiB, w.key.description));
    BOOST_TEST(!w.here->import(0, tier::dram, 0, 4_KiB, w.key.description));
    error_code e;
    w.here->admit(wire::bytes(100, std::byte{1}), [&](error_code x, std::uint32_t) { e = x; });
    BOOST_TEST(w.both([&] { return e.failed(); }));
    BOOST_TEST(e == errc::bad_metadata);
}

// A stranger who has an endpoint sends what it likes; who knows no door is not listened to, and nothing breaks.
BOOST_AUTO_TEST_CASE(messages_of_strangers_do_no_harm)
{
    two w{64_KiB, loopback(1), loopback(1)};
    const auto where = wire::decode_address(w.there->address());
    provider p = choose(loopback(1));
    rail stranger{std::move(p.rails[0]), 8, false};
    const auto to = stranger.know(where->rails[0]);
    BOOST_REQUIRE(to);
    std::mt19937 random{1};
    std::array<rail::completion, 16> done;
    for (int sent = 0; sent < 500;) {
        slot* const s = stranger.take(slot::use::send);
        if (s) {
            wire::letter l = some_letter();
            l.door = random() % 2 ? where->door : random();
            l.from = wire::decode_address(w.here->address())->id;
            wire::bytes b = wire::encode(l);
            if (random() % 2) b[random() % b.size()] = static_cast<std::byte>(random());
            s->bytes[0] = static_cast<std::byte>(random() % 3);
            std::copy(b.begin(), b.end(), s->bytes + 1);
            if (stranger.send(*s, 1 + b.size(), *to) == 0) ++sent;
            else stranger.give_back(*s);
        }
        const int n = stranger.reap(done);
        for (int i = 0; i < n; ++i)
            if (slot* const ended = done[static_cast<std::size_t>(i)].what; ended && ended->what == slot::use::send)
                stranger.give_back(*ended);
        w.there->poll({});
        w.here->poll({});
    }
    const auto& c = w.go(0, 64_KiB, 0);
    BOOST_TEST(w.both([&] { return c.ends != 0; }));
    // A bar of one who knew its door may have been believed.
    BOOST_TEST((!c.error || c.error == errc::path_lost), c.error.message());
    const auto& again = w.go(0, 64_KiB, 0);
    BOOST_TEST(w.both([&] { return again.ends != 0; }));
    BOOST_TEST(!again.error, again.error.message());
}

BOOST_AUTO_TEST_CASE(errors_are_blamed_on_what_broke)
{
    using some = std::initializer_list<int>;
    for (const int e : some{FI_ECANCELED, FI_ENOTCONN, FI_ECONNRESET, FI_ECONNABORTED, FI_ECONNREFUSED, FI_ETIMEDOUT,
                            FI_EHOSTUNREACH, FI_ENETUNREACH, FI_EIO, FI_ESHUTDOWN, EPIPE})
        BOOST_TEST((blame_for(e) == blame::path), ::fi_strerror(e));
    for (const int e : some{FI_ENODEV, FI_ENETDOWN, FI_EOPBADSTATE})
        BOOST_TEST((blame_for(e) == blame::rail), ::fi_strerror(e));
    for (const int e : some{FI_EINVAL, FI_EACCES, FI_ENOKEY, FI_EMSGSIZE, FI_ETRUNC, FI_ENOMEM, 12345})
        BOOST_TEST((blame_for(e) == blame::chunk), ::fi_strerror(e));
    BOOST_TEST(fabric_error(FI_EACCES) == errc::withdrawn);
    BOOST_TEST(fabric_error(FI_EINVAL) == boost::system::errc::invalid_argument);
    BOOST_TEST(fabric_error(FI_ENOMEM).message().starts_with("fabric: "));
}

// This process has libfabric, and what that brings along, linked.
BOOST_AUTO_TEST_CASE(interrupts_stay_the_programs)
{
    static const auto own = [](int) {};
    struct sigaction mine {};
    mine.sa_handler = own;
    struct sigaction before, after;
    for (const int number : {SIGINT, SIGTERM}) {
        ::sigaction(number, nullptr, &before);
        BOOST_TEST((before.sa_handler == SIG_DFL), "something took a signal before main");
        ::sigaction(number, &mine, nullptr);
    }
    const auto driver = make_libfabric(loopback(1));
    for (const int number : {SIGINT, SIGTERM}) {
        ::sigaction(number, nullptr, &after);
        BOOST_TEST((after.sa_handler == mine.sa_handler));
        ::sigaction(number, &before, nullptr);
    }
}

BOOST_AUTO_TEST_CASE(refusals_say_why)
{
    const auto why = [](wye::libfabric_options o) {
        try {
            make_libfabric(o);
        } catch (const wye::system_error& e) {
            return std::string{e.what()};
        }
        return std::string{};
    };
    wye::libfabric_options o;
    o.provider = "nosuch;ofi_rxm";
    BOOST_TEST(why(o).find("nosuch") != std::string::npos);
    o = {};
    o.rails = {"192.0.2.1"};
    BOOST_TEST(why(o).find("192.0.2.1") != std::string::npos);
    o.rails = {"nosuch0"};
    BOOST_TEST(why(o).find("nosuch0") != std::string::npos);
    o = loopback(1);
    o.provider = "tcp";
    BOOST_TEST(why(o).find("ofi_rxm") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(facts_for_a_report)
{
    const auto f = make_libfabric(loopback(2));
    const wye::libfabric_facts facts = wye::facts_of(*f);
    BOOST_TEST(facts.provider == "tcp;ofi_rxm");
    BOOST_TEST(facts.version.find('.') != std::string::npos);
    BOOST_TEST(facts.sleeps);
    BOOST_REQUIRE(facts.rails.size() == 2u);
    BOOST_TEST(facts.rails[1].name == "127.0.0.2");
    BOOST_TEST(facts.rails[1].address.find("127.0.0.2") != std::string::npos, facts.rails[1].address);
}
