// SPDX-License-Identifier: Apache-2.0
// Metadata over TCP and TLS: to friends, and to everybody else.
#define BOOST_TEST_MODULE side_channel
#include <boost/test/unit_test.hpp>

#include <charconv>
#include <thread>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "exchange/channel_frames.hpp"
#include "support/certificate.hpp"
#include "support/neighbours.hpp"

using namespace wye;
using namespace wye::testing;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace channel = wye::detail::channel;
using asio::ip::tcp;
using bytes = std::vector<std::byte>;

namespace {

side_channel_options serving(std::string secret = "of the door")
{
    side_channel_options o;
    o.secret = std::move(secret);
    return o;
}
fetch_options fetching(std::string secret = "of the door")
{
    fetch_options o;
    o.secret = std::move(secret);
    return o;
}

task<bytes> fetch(runtime& rt, std::string endpoint, fetch_options o)
{
    metadata_source s = co_await metadata_source::open(rt, std::move(endpoint), std::move(o));
    bytes b = co_await s.fetch();
    co_return b;
}

tcp::endpoint endpoint_of(const side_channel& d)
{
    const std::string e = d.endpoint();
    const auto port = std::stoi(e.substr(e.rfind(':') + 1));
    return {asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)};
}
std::string name_of(const tcp::acceptor& a) { return "127.0.0.1:" + std::to_string(a.local_endpoint().port()); }

task<tcp::socket> dial(runtime& rt, const side_channel& d)
{
    const tcp::endpoint at = endpoint_of(d);
    tcp::socket s{rt.get_executor()};
    co_await s.async_connect(at, asio::use_awaitable);
    co_return s;
}

/// Everything up to the end.
task<bytes> all_from(tcp::socket& s)
{
    bytes b(100'000);
    error_code ended;
    const auto buffer = asio::buffer(b);
    const std::size_t n = co_await asio::async_read(s, buffer, asio::redirect_error(asio::use_awaitable, ended));
    b.resize(n);
    co_return b;
}

task<> say(tcp::socket& s, bytes b)
{
    error_code ended;
    const auto buffer = asio::buffer(b);
    co_await asio::async_write(s, buffer, asio::redirect_error(asio::use_awaitable, ended));
}

bytes frame(channel::kind k, detail::wire::view body)
{
    const channel::header h = channel::encode_header(k, body.size());
    bytes b(h.size() + body.size());
    std::copy(body.begin(), body.end(), std::copy(h.begin(), h.end(), b.begin()));
    return b;
}

/// Passes on what comes, remembers it, and may change it.
struct wiretap {
    explicit wiretap(runtime& rt, const side_channel& d)
        : door{endpoint_of(d)}, acceptor{rt.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}},
          near{rt.get_executor()}, far{rt.get_executor()}
    {
    }
    static task<> pass(tcp::socket& from, tcp::socket& to, bytes& heard, std::size_t change)
    {
        std::array<std::byte, 4096> some;
        for (;;) {
            error_code ended;
            const auto buffer = asio::buffer(some);
            const std::size_t n = co_await from.async_read_some(buffer, asio::redirect_error(asio::use_awaitable, ended));
            if (ended) break;
            for (std::size_t i = 0; i < n; ++i)
                if (heard.size() + i == change) some[i] ^= std::byte{1};
            heard.insert(heard.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
            const auto whole = asio::buffer(some.data(), n);
            co_await asio::async_write(to, whole, asio::redirect_error(asio::use_awaitable, ended));
        }
        error_code ignored;
        to.shutdown(tcp::socket::shutdown_send, ignored);
    }
    task<> relay()
    {
        near = co_await acceptor.async_accept(asio::use_awaitable);
        co_await far.async_connect(door, asio::use_awaitable);
        task<> out = pass(near, far, asked, never), back = pass(far, near, told, change);
        co_await when_all(std::move(out), std::move(back));
    }

    static constexpr std::size_t never = ~std::size_t{0};
    tcp::endpoint door;
    tcp::acceptor acceptor;
    tcp::socket near, far;
    bytes asked, told;
    std::size_t change = never; ///< of what is told
};

std::size_t open_descriptors()
{
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {}));
}

/// TLS between a door and its callers, with a certificate for 127.0.0.1 and localhost.
struct with_tls {
    explicit with_tls(const char* names = "IP:127.0.0.1,DNS:localhost")
    {
        make_certificate(in / "cert.pem", in / "key.pem", names);
    }
    tls_options door() const
    {
        tls_options t;
        t.certificate = in / "cert.pem";
        t.key = in / "key.pem";
        return t;
    }
    tls_options caller() const
    {
        tls_options t;
        t.authorities = in / "cert.pem";
        return t;
    }
    side_channel_options serve() const
    {
        side_channel_options o = serving();
        o.tls = door();
        return o;
    }
    fetch_options ask() const
    {
        fetch_options o = fetching();
        o.tls = caller();
        return o;
    }
    scratch_folder in;
};

} // namespace

WYE_CO_TEST(who_knows_the_secret_is_connected)
{
    neighbours n{rt};
    co_await n.open();
    side_channel door{n.decode, serving()};
    BOOST_TEST(door.endpoint().starts_with("127.0.0.1:"));
    const peer p = co_await connect(n.prefill, door.endpoint(), fetching());
    co_await n.expect_reach(p);
    BOOST_TEST(door.counts().served == 1u);
    BOOST_TEST(door.counts().refused == 0u);
}

WYE_CO_TEST(a_host_may_have_a_name)
{
    neighbours n{rt};
    side_channel door{n.decode, serving()};
    const bytes got = co_await fetch(rt, "localhost" + door.endpoint().substr(door.endpoint().rfind(':')), fetching());
    BOOST_TEST((got == n.decode.metadata()));
}

WYE_CO_TEST(what_is_published_later_is_told_who_asks_again)
{
    neighbours n{rt};
    side_channel door{n.decode, serving()};
    metadata_source s = co_await metadata_source::open(rt, door.endpoint(), fetching());
    const bytes before = co_await s.fetch();
    co_await n.open();
    const bytes after = co_await s.fetch();
    BOOST_TEST((before != after));
    BOOST_TEST((after == n.decode.metadata()));
    const peer p = co_await n.prefill.connect(after);
    co_await n.expect_reach(p);
}

WYE_CO_TEST(another_secret_is_not_trusted)
{
    neighbours n{rt};
    side_channel door{n.decode, serving()};
    const error_code e = co_await failure_of(fetch(rt, door.endpoint(), fetching("another")));
    BOOST_TEST(e == errc::not_trusted);
    BOOST_TEST(door.counts().served == 0u);
    BOOST_TEST(door.counts().refused == 1u);
    const error_code none = co_await failure_of(fetch(rt, door.endpoint(), fetching("")));
    BOOST_TEST(none == errc::not_trusted);
    BOOST_CHECK_THROW((side_channel{n.decode, serving("")}), system_error);
}

/// A server that takes any proof and has none.
WYE_CO_TEST(a_server_must_prove_the_secret_too)
{
    tcp::acceptor acceptor{rt.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    for (const bool mirrors : {false, true}) {
        const auto serve = [](tcp::acceptor& a, bool mirror) -> task<> {
            tcp::socket s = co_await a.async_accept(asio::use_awaitable);
            bytes hello(12 + 16), proof(12 + 32);
            const auto whole_hello = asio::buffer(hello), whole_proof = asio::buffer(proof);
            co_await asio::async_read(s, whole_hello, asio::use_awaitable);
            co_await say(s, frame(channel::kind::challenge, std::span{hello}.subspan(12))); // its own nonce
            co_await asio::async_read(s, whole_proof, asio::use_awaitable);
            bytes said(32);
            if (mirror) said.assign(proof.begin() + 12, proof.end());
            co_await say(s, frame(channel::kind::called_proof, said));
            const bytes rest = co_await all_from(s);
            BOOST_TEST(rest.empty()); // asked nothing more
        };
        task<> served = serve(acceptor, mirrors);
        task<error_code> called = failure_of(fetch(rt, name_of(acceptor), fetching()));
        const auto both = co_await when_all(std::move(served), std::move(called));
        BOOST_TEST(std::get<1>(both) == errc::not_trusted);
    }
}

WYE_CO_TEST(what_was_recorded_opens_nothing)
{
    neighbours n{rt};
    co_await n.open();
    side_channel door{n.decode, serving()};
    wiretap tap{rt, door};
    task<> relayed = tap.relay();
    task<bytes> fetched = fetch(rt, name_of(tap.acceptor), fetching());
    const auto both = co_await when_all(std::move(relayed), std::move(fetched));
    BOOST_TEST((std::get<1>(both) == n.decode.metadata()));
    BOOST_TEST(tap.asked.size() == 28u + 44u + 44u);
    tcp::socket s = co_await dial(rt, door);
    co_await say(s, tap.asked);
    const bytes got = co_await all_from(s);
    BOOST_TEST(got.size() == 28u); // a challenge, and no more
    BOOST_TEST(door.counts().served == 1u);
    BOOST_TEST(door.counts().refused == 1u);
}

WYE_CO_TEST(what_is_changed_on_the_way_is_not_believed)
{
    neighbours n{rt};
    co_await n.open();
    side_channel door{n.decode, serving()};
    const std::size_t answer = 28 + 44;
    const std::size_t whole = answer + 12 + n.decode.metadata().size() + 32;
    for (std::size_t at = 12; at < whole; at += 13) {
        wiretap tap{rt, door};
        tap.change = at;
        task<> relayed = tap.relay();
        task<error_code> fetched = failure_of(fetch(rt, name_of(tap.acceptor), fetching()));
        const auto both = co_await race(std::move(fetched), std::move(relayed));
        BOOST_REQUIRE(both.index() == 0u);
        const error_code e = std::get<0>(both);
        // A header is not sealed, but says nothing that could be believed.
        BOOST_TEST((e == errc::not_trusted || e == errc::bad_metadata || e == asio::error::eof));
    }
}

WYE_CO_TEST(garbage_ends_its_own_connection)
{
    neighbours n{rt};
    side_channel door{n.decode, serving()};
    metadata_source friendly = co_await metadata_source::open(rt, door.endpoint(), fetching());
    bytes huge = frame(channel::kind::hello, {});
    std::fill(huge.begin() + 8, huge.end(), std::byte{0xff}); // 4 GiB follow, it says
    bytes zeros(500);
    const bytes question = frame(channel::kind::question, bytes(32)), unproven = frame(channel::kind::caller_proof, bytes(32));
    bytes other_version = frame(channel::kind::hello, bytes(16));
    other_version[4] = std::byte{2};
    const std::vector<bytes> all{huge, zeros, question, unproven, other_version, bytes(1000, std::byte{0xff})};
    for (const bytes& b : all) {
        tcp::socket s = co_await dial(rt, door);
        co_await say(s, b);
        const bytes got = co_await all_from(s);
        BOOST_TEST(got.empty());
    }
    BOOST_TEST(door.counts().refused == all.size());
    const bytes still = co_await friendly.fetch();
    BOOST_TEST((still == n.decode.metadata()));
}

WYE_CO_TEST(who_dawdles_is_hung_up_on)
{
    neighbours n{rt};
    side_channel_options o = serving();
    o.handshake_within = 100ms;
    o.idle_within = 100ms;
    side_channel door{n.decode, o};
    const bytes hello = frame(channel::kind::hello, bytes(16));
    tcp::socket s = co_await dial(rt, door);
    for (std::size_t i = 0; i + 1 < hello.size() && door.counts().late == 0; ++i) { // each in time, all of them not
        co_await say(s, bytes(1, hello[i]));
        co_await rt.sleep(20ms, asio::use_awaitable);
    }
    const bytes got = co_await all_from(s);
    BOOST_TEST(got.empty());
    BOOST_TEST(door.counts().late == 1u);
    BOOST_TEST(door.counts().refused == 0u);
    metadata_source idle = co_await metadata_source::open(rt, door.endpoint(), fetching());
    while (door.counts().late != 2) co_await rt.sleep(5ms, asio::use_awaitable);
    const error_code e = co_await failure_of(idle.fetch());
    BOOST_TEST(!!e);
    BOOST_TEST(door.connections() == 0u);
}

WYE_CO_TEST(a_port_that_nobody_serves_says_so)
{
    std::string where;
    {
        const tcp::acceptor a{rt.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
        where = name_of(a);
    }
    const error_code e = co_await failure_of(fetch(rt, where, fetching()));
    BOOST_TEST((e == boost::system::errc::connection_refused));
    for (const char* malformed : {"", "127.0.0.1", "127.0.0.1:", ":80", "1:2:3", "127.0.0.1:0", "127.0.0.1:70000", "a:8x"}) {
        const error_code bad = co_await failure_of(fetch(rt, malformed, fetching()));
        BOOST_TEST(bad == errc::bad_name);
    }
}

WYE_CO_TEST(a_server_that_says_nothing_ends_by_the_deadline)
{
    const tcp::acceptor mute{rt.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    fetch_options o = fetching();
    o.connect_within = 50ms;
    const error_code e = co_await failure_of(fetch(rt, name_of(mute), o));
    BOOST_TEST(e == errc::deadline_missed);
}

WYE_CO_TEST(there_are_only_so_many_at_once)
{
    neighbours n{rt};
    side_channel_options o = serving();
    o.most_connections = 2;
    side_channel door{n.decode, o};
    tcp::socket one = co_await dial(rt, door), two{rt.get_executor()};
    two = co_await dial(rt, door);
    tcp::socket three = co_await dial(rt, door);
    const bytes got = co_await all_from(three);
    BOOST_TEST(got.empty());
    BOOST_TEST(door.counts().turned_away == 1u);
    BOOST_TEST(door.connections() == 2u);
    one.close();
    while (door.connections() == 2) co_await rt.sleep(1ms, asio::use_awaitable);
    const bytes served = co_await fetch(rt, door.endpoint(), fetching());
    BOOST_TEST(!served.empty());
}

WYE_CO_TEST(a_door_that_goes_ends_what_it_began)
{
    neighbours n{rt};
    auto door = std::make_unique<side_channel>(n.decode, serving());
    tcp::socket waiting = co_await dial(rt, *door);
    tcp::socket halfway = co_await dial(rt, *door);
    co_await say(halfway, frame(channel::kind::hello, bytes(16)));
    bytes challenge(28);
    const auto whole = asio::buffer(challenge);
    co_await asio::async_read(halfway, whole, asio::use_awaitable);
    metadata_source friendly = co_await metadata_source::open(rt, door->endpoint(), fetching());
    const std::string where = door->endpoint();
    door.reset();
    const bytes nothing = co_await all_from(waiting);
    const bytes no_more = co_await all_from(halfway);
    BOOST_TEST(nothing.empty());
    BOOST_TEST(no_more.empty());
    const error_code e = co_await failure_of(friendly.fetch());
    BOOST_TEST(!!e);
    const error_code refused = co_await failure_of(fetch(rt, where, fetching()));
    BOOST_TEST((refused == boost::system::errc::connection_refused));
}

/// And at any other point, with the runtime, or without.
BOOST_AUTO_TEST_CASE(everything_may_go_at_any_time)
{
    const with_tls tls;
    for (const bool secure : {false, true})
        for (unsigned polls = 0; polls < 40; ++polls) {
            runtime rt;
            neighbours n{rt};
            auto door = std::make_unique<side_channel>(n.decode, secure ? tls.serve() : serving());
            asio::co_spawn(rt, failure_of(fetch(rt, door->endpoint(), secure ? tls.ask() : fetching())),
                           [](std::exception_ptr, error_code) {});
            for (unsigned i = 0; i < polls; ++i) rt.poll();
            if (polls % 2) door.reset();
            for (unsigned i = 0; i < polls % 3; ++i) rt.poll();
        }
}

WYE_CO_TEST(a_call_may_be_cancelled)
{
    const tcp::acceptor mute{rt.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    asio::cancellation_signal stop;
    bool ended = false;
    asio::co_spawn(rt, fetch(rt, name_of(mute), fetching()),
                   asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, bytes) { ended = e != nullptr; }));
    co_await rt.sleep(10ms, asio::use_awaitable);
    stop.emit(asio::cancellation_type::terminal);
    while (!ended) co_await rt.sleep(1ms, asio::use_awaitable);
}

WYE_CO_TEST(a_thousand_connections_leave_nothing_behind)
{
    neighbours n{rt};
    side_channel door{n.decode, serving()};
    const bytes first = co_await fetch(rt, door.endpoint(), fetching());
    const std::size_t before = open_descriptors();
    for (int i = 0; i < 1000; ++i) {
        const bytes b = co_await fetch(rt, door.endpoint(), fetching());
        BOOST_REQUIRE((b == first));
    }
    while (door.connections() != 0) co_await rt.sleep(1ms, asio::use_awaitable);
    BOOST_TEST(open_descriptors() <= before);
    BOOST_TEST(door.counts().served == 1001u);
}

WYE_CO_TEST(tls_goes_around_it)
{
    const with_tls tls;
    neighbours n{rt};
    co_await n.open();
    side_channel door{n.decode, tls.serve()};
    const peer p = co_await connect(n.prefill, door.endpoint(), tls.ask());
    co_await n.expect_reach(p);
    wiretap tap{rt, door};
    task<> relayed = tap.relay();
    task<bytes> fetched = fetch(rt, name_of(tap.acceptor), tls.ask());
    co_await when_all(std::move(relayed), std::move(fetched));
    const bytes plain = n.decode.metadata();
    const auto seen = std::search(tap.told.begin(), tap.told.end(), plain.begin(), plain.begin() + 16);
    BOOST_TEST((seen == tap.told.end()));
    const error_code wrong_secret = co_await failure_of([&] {
        fetch_options o = tls.ask();
        o.secret = "another";
        return fetch(rt, door.endpoint(), o);
    }());
    BOOST_TEST(wrong_secret == errc::not_trusted);
}

WYE_CO_TEST(certificates_are_checked)
{
    const with_tls tls, stranger, elsewhere{"DNS:elsewhere.example"};
    neighbours n{rt};
    side_channel door{n.decode, tls.serve()}, misnamed{n.decode, elsewhere.serve()};
    const error_code unknown = co_await failure_of(fetch(rt, door.endpoint(), stranger.ask()));
    BOOST_TEST(!!unknown);
    BOOST_TEST(unknown != errc::deadline_missed);
    const error_code other_name = co_await failure_of(fetch(rt, misnamed.endpoint(), elsewhere.ask()));
    BOOST_TEST(!!other_name);
    fetch_options o = elsewhere.ask();
    o.tls->host = "elsewhere.example";
    const bytes named = co_await fetch(rt, misnamed.endpoint(), o);
    BOOST_TEST(!named.empty());
    o = stranger.ask();
    o.tls->verify = false;
    const bytes unverified = co_await fetch(rt, door.endpoint(), o);
    BOOST_TEST(!unverified.empty());
    const error_code plain = co_await failure_of(fetch(rt, door.endpoint(), fetching()));
    BOOST_TEST(!!plain);
}

WYE_CO_TEST(a_door_may_want_certificates_of_callers)
{
    const with_tls tls, stranger;
    neighbours n{rt};
    side_channel_options o = tls.serve();
    o.tls->authorities = tls.in / "cert.pem";
    side_channel door{n.decode, o};
    const error_code without = co_await failure_of(fetch(rt, door.endpoint(), tls.ask()));
    BOOST_TEST(!!without);
    fetch_options f = tls.ask();
    f.tls->certificate = tls.in / "cert.pem";
    f.tls->key = tls.in / "key.pem";
    const bytes with = co_await fetch(rt, door.endpoint(), f);
    BOOST_TEST(!with.empty());
    f.tls->certificate = stranger.in / "cert.pem";
    f.tls->key = stranger.in / "key.pem";
    const error_code other = co_await failure_of(fetch(rt, door.endpoint(), f));
    BOOST_TEST(!!other);
}

/// The side channel goes where its agent's runtime is.
BOOST_AUTO_TEST_CASE(a_guest_serves_too)
{
    asio::io_context io;
    runtime rt{io};
    neighbours n{rt};
    auto door = std::make_unique<side_channel>(n.decode, serving());
    bytes got;
    asio::co_spawn(rt, fetch(rt, door->endpoint(), fetching()), [&](std::exception_ptr, bytes b) { got = std::move(b); });
    while (got.empty() && io.run_one_for(5s) != 0) {}
    BOOST_TEST((got == n.decode.metadata()));
    door.reset();
    io.run_for(5s); // what the door ended is the host's to drop, and refers to the runtime
}
