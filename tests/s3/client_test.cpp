// SPDX-License-Identifier: Apache-2.0
// The S3 driver at its seam, against a server in this process that does what it is told, wrong things above all.
#define BOOST_TEST_MODULE s3_client
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include <boost/asio/error.hpp>

#include "s3/world.hpp"

using namespace wye;
using namespace wye::seam;
using testing::fake_s3;
using trouble = fake_s3::trouble;
namespace sys = boost::system;
using boost::test_tools::per_element;

namespace {

const std::vector<std::string> odd_keys{
    "plain", "a/b", "a//b", "a/", "/lead", "+", "=", "&", "@", ":", ";", "%", "~", "a%2Fb", "a b", " ", "*?[]\"'$`<>", "a&amp;b",
    "\xc3\xbc/\xe6\x97\xa5", "tab\there", "\\back", "q?x=1#y", std::string(1024, 'x'),
};

/// All of them on loan at once, until the last has ended.
void move_all(driver& d, std::vector<seam::chunk>& chunks)
{
    for (auto& c : chunks) BOOST_TEST_REQUIRE(d.submit(c));
    seam::drive(d, [&] { return std::all_of(chunks.begin(), chunks.end(), [](const auto& c) { return c.ends == 1; }); });
}

/// Polls until it is so; a bound, not a pause.
template <class True>
void until(driver& d, True is_so)
{
    const auto patience = std::chrono::steady_clock::now() + 20s;
    while (!is_so()) {
        BOOST_TEST_REQUIRE((std::chrono::steady_clock::now() < patience));
        if (d.poll({}) == 0) std::this_thread::yield();
    }
}

std::size_t count(const fake_s3& s, const std::string& what)
{
    const auto all = s.requests();
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const auto& r) {
        return (r.method + ' ' + r.target).find(what) != std::string::npos;
    }));
}

trouble trouble_with(const std::string& match, unsigned times = 1)
{
    trouble t;
    t.match = match;
    t.times = times;
    return t;
}
trouble says(const std::string& match, const std::string& answer, unsigned times = 1)
{
    trouble t = trouble_with(match, times);
    t.answer = answer;
    return t;
}
trouble cut(const std::string& match, std::size_t after, trouble::end how = trouble::end::close, unsigned times = 1)
{
    trouble t = trouble_with(match, times);
    t.cut = after;
    t.how = how;
    return t;
}
std::string refusal(const std::string& status, const std::string& code, const std::string& fields = {})
{
    const std::string body = "<Error><Code>" + code + "</Code><Message>no\nmore</Message></Error>";
    return "HTTP/1.1 " + status + "\r\nx-amz-request-id: R1\r\n" + fields + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

std::string good(const std::string& body)
{
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// Puts an object in pieces.
error_code put_in_pieces(world& w, const std::string& key, bytes& data, std::size_t piece, bool commit = true)
{
    session in{w, key, data};
    if (const error_code e = in.open_put(data.size())) return e;
    std::vector<seam::chunk> pieces;
    for (std::size_t at = 0; at < data.size(); at += piece) pieces.push_back(in.put_piece(at, std::min(piece, data.size() - at)));
    std::shuffle(pieces.begin(), pieces.end(), std::mt19937{3});
    move_all(*w.d, pieces);
    for (const auto& p : pieces) {
        if (!p.error) continue;
        BOOST_TEST(!in.abandon());
        return p.error;
    }
    return commit ? in.commit(77) : in.abandon();
}

} // namespace

BOOST_AUTO_TEST_CASE(any_key_and_any_size)
{
    fake_world f;
    BOOST_TEST_REQUIRE(!f.w.failed, f.w.failed.message());
    for (std::size_t i = 0; i < odd_keys.size(); ++i) BOOST_TEST(!f.w.put(odd_keys[i], pattern(i, static_cast<unsigned>(i))));
    for (std::size_t i = 0; i < odd_keys.size(); ++i) {
        BOOST_TEST((f.server.objects().at(odd_keys[i]).bytes == text_of(pattern(i, static_cast<unsigned>(i)))), odd_keys[i]);
        if (i) BOOST_TEST((f.w.get(odd_keys[i], i, 0, true).data == pattern(i, static_cast<unsigned>(i))), odd_keys[i]);
        BOOST_TEST(f.w.stat(odd_keys[i]).second.size == i);
    }
    const std::set<std::string> expected{odd_keys.begin(), odd_keys.end()};
    BOOST_TEST(f.w.list() == std::vector<std::string>(expected.begin(), expected.end()), per_element());
    BOOST_TEST(f.w.list({}, 3) == std::vector<std::string>(expected.begin(), expected.end()), per_element());
    for (const std::string& k : odd_keys) BOOST_TEST(!f.w.remove(k));
    BOOST_TEST(f.w.list().empty());
    for (const std::size_t size : {1ul, 4095ul, 1'000'000ul, 8ul << 20}) {
        BOOST_TEST(!f.w.put("size", pattern(size)));
        BOOST_TEST((f.w.get("size", size, 0, true).data == pattern(size)));
    }
    BOOST_TEST(f.server.connections() == 1u); // one after the other, over the same one
}

BOOST_AUTO_TEST_CASE(ranges_and_lengths)
{
    fake_world f;
    const bytes data = pattern(10'000);
    BOOST_TEST(!f.w.put("o", data));
    BOOST_TEST((f.w.get("o", 9'999, 0, true).error == errc::length_mismatch));
    BOOST_TEST((f.w.get("o", 10'001, 0, true).data == data));
    BOOST_TEST((f.w.get("o", 1'000, 500).data == bytes(data.begin() + 500, data.begin() + 1'500)));
    BOOST_TEST(f.w.get("o", 1'000, 9'500).data.size() == 500u);
    BOOST_TEST(f.w.get("o", 1, 10'000).data.empty());
    BOOST_TEST((f.w.get("none", 1).error == errc::not_found));
    BOOST_TEST((f.w.stat("none").first == errc::not_found));
    BOOST_TEST(!f.w.remove("none"));
    BOOST_TEST(f.told.empty()); // a missing object is no failure
    for (const std::string& key : {std::string{}, std::string(1025, 'x'), std::string("a\0b", 3)}) BOOST_TEST(!f.w.store->locate(key));
    BOOST_TEST(!f.w.put("sum", pattern(100), 0xdeadbeef));
    BOOST_TEST((f.w.get("sum", 100, 0, true).sum == 0xdeadbeefu));
    BOOST_TEST((!f.w.get("sum", 50).sum));
}

// Wherever a connection breaks off, the rest is asked for from there, and of the same generation.
BOOST_AUTO_TEST_CASE(a_get_resumes_at_any_byte)
{
    fake_world f;
    const bytes data = pattern(3'000);
    BOOST_TEST(!f.w.put("o", data));
    const std::string head = "HTTP/1.1 206 Partial Content\r\n";
    for (std::size_t at = 0; at < 3'300; at += at < 400 ? 7 : 131)
        for (const auto how : {trouble::end::close, trouble::end::reset}) {
            f.server.forget_requests();
            f.server.plan(cut("GET /bucket/o", at, how));
            const auto r = f.w.get("o", 3'000, 0, true);
            BOOST_TEST((!r.error && r.data == data), "cut after " << at << ": " << r.error.message());
            const auto asked = f.server.requests();
            BOOST_TEST(asked.size() <= 2u);
            if (asked.size() == 2 && asked[1].headers.at("range") != "bytes=0-2999") BOOST_TEST(asked[1].headers.count("if-match") == 1u);
        }
    f.server.forget_requests();
    f.server.plan(cut("GET /bucket/o", 2'000, trouble::end::stall));
    BOOST_TEST((f.w.get("o", 3'000, 0, true).data == data));
    const auto asked = f.server.requests();
    BOOST_TEST((asked.size() == 2 && asked[1].headers.at("range") != "bytes=0-2999"));
    BOOST_TEST(f.told.empty());
}

// The kernel wakes nobody for a few bytes of a large body; a server that is slow with them is not taken for a silent one.
BOOST_AUTO_TEST_CASE(a_slow_server_is_not_silent)
{
    testing::fake_s3 server;
    testing::fault_proxy proxy{server.port()};
    world w{make_s3(impatient()), url_at(proxy.port())};
    const bytes data = pattern(800'000);
    BOOST_TEST(!w.put("o", data));
    proxy.follow([](unsigned) {
        testing::fault f;
        f.bytes_per_second = 400'000;
        return f;
    });
    world slow{make_s3(impatient()), url_at(proxy.port())};
    BOOST_TEST((slow.get("o", data.size(), 0, true).data == data));
    BOOST_TEST(slow.get("o", 1'000).data.size() == 1'000u);
    BOOST_TEST(proxy.accepted() == 1u);
}

// The same through a proxy that counts bytes of the connection, both ways.
BOOST_AUTO_TEST_CASE(a_put_is_sent_again_whatever_breaks)
{
    testing::fake_s3 server;
    testing::fault_proxy proxy{server.port()};
    world w{make_s3(impatient()), url_at(proxy.port())};
    const bytes data = pattern(300'000);
    for (const std::size_t at : {0ul, 1ul, 100ul, 500ul, 1'000ul, 150'000ul, 300'000ul})
        for (const auto how : {testing::fault::end::close, testing::fault::end::reset, testing::fault::end::stall}) {
            proxy.follow([=](unsigned n) {
                testing::fault f;
                if (n == 0) f.after_to_server = at, f.then = how;
                return f;
            });
            world fresh{make_s3(impatient()), url_at(proxy.port())};
            const error_code e = fresh.put("o", data);
            BOOST_TEST(!e, "cut after " << at << ": " << e.message());
            BOOST_TEST((server.objects().at("o").bytes == text_of(data)));
        }
    for (const std::size_t at : {0ul, 1ul, 40ul}) {
        proxy.follow([=](unsigned n) {
            testing::fault f;
            if (n == 0) f.after_to_client = at, f.then = testing::fault::end::reset;
            return f;
        });
        world fresh{make_s3(impatient()), url_at(proxy.port())};
        BOOST_TEST(!fresh.put("o", data));
    }
    proxy.follow([](unsigned n) {
        testing::fault f;
        f.refuse = n < 2;
        return f;
    });
    world fresh{make_s3(impatient()), url_at(proxy.port())};
    BOOST_TEST((fresh.get("o", data.size(), 0, true).data == data));
    proxy.shut(true);
    world none{make_s3(impatient()), url_at(proxy.port())};
    BOOST_TEST((none.stat("o").first == sys::errc::connection_refused));
}

BOOST_AUTO_TEST_CASE(overload_is_waited_out)
{
    fake_world f;
    f.server.put("o", "hello");
    f.server.plan(says("GET", refusal("503 Slow Down", "SlowDown")));
    f.server.plan(says("GET", refusal("429 Too Many Requests", "TooManyRequests", "Retry-After: 0\r\n")));
    f.server.plan(says("GET", refusal("500 Internal Server Error", "InternalError")));
    BOOST_TEST(text_of(f.w.get("o", 5, 0, true).data) == "hello");
    f.server.plan(says("GET", refusal("503 Slow Down", "SlowDown"), 100));
    BOOST_TEST((f.w.get("o", 5, 0, true).error == sys::errc::resource_unavailable_try_again));
    BOOST_TEST(count(f.server, "GET") == 4u + 4u);
    BOOST_TEST_REQUIRE(f.told.size() == 1u);
    BOOST_TEST(f.told[0] == "GET bucket/o: HTTP 503 SlowDown, request R1, after 4 tries: no more");
    BOOST_TEST(f.w.store->why("o") == f.told[0]);
}

BOOST_AUTO_TEST_CASE(refusals_are_final)
{
    fake_world f;
    f.server.plan(says("PUT", refusal("403 Forbidden", "AccessDenied"), 9));
    const error_code e = f.w.put("o", pattern(10));
    BOOST_TEST((e == sys::errc::permission_denied));
    BOOST_TEST(e.message() == "s3: 403 AccessDenied");
    BOOST_TEST(s3_status(e) == 403);
    BOOST_TEST(count(f.server, "PUT") == 1u);
    // Before the body is read, as servers do.
    trouble early = says("PUT", refusal("400 Bad Request", "EntityTooLarge"), 1);
    early.unread = true;
    f.server.plan(early);
    fake_world g;
    g.server.plan(early);
    BOOST_TEST(g.w.put("o", pattern(8 << 20)).message() == "s3: 400 EntityTooLarge");
}

BOOST_AUTO_TEST_CASE(answers_that_make_no_sense_are_no_data)
{
    const std::string ok = "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\n";
    for (const std::string& nonsense :
         {std::string{"garbage\r\n\r\n"}, std::string{"\0\0\0\0\r\n\r\n", 8}, ok + "Content-Length: 5\r\n\r\nwrong",
          ok + "Content-Range: bytes 1-5/6\r\nContent-Length: 5\r\n\r\nwrong",
          ok + "Content-Range: bytes 0-4/5\r\nContent-Length: 4\r\n\r\nwron",
          ok + "Content-Range: bytes 0-4/5\r\nContent-Length: 99999999999\r\n\r\nwrong",
          ok + "Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nwro", ok + "Content-Range: bytes 0-4/5\r\n\r\nwrong",
          ok + "Content-Length: -5\r\n\r\n", std::string{"HTTP/1.1 200 OK\r\nX: "} + std::string(40'000, 'y') + "\r\n\r\n",
          std::string{"HTTP/1.1 100 Continue\r\n\r\n"}, std::string{"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"}}) {
        fake_world f;
        f.server.put("o", "right");
        f.server.plan(says("GET", nonsense, 100));
        const auto r = f.w.get("o", 5, 0, true);
        BOOST_TEST(bool(r.error), nonsense.substr(0, 100));
        BOOST_TEST(text_of(r.data) != "wrong");
    }
    // In chunks, and with a word before.
    fake_world f;
    f.server.plan(says("GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Range: bytes 0-4/5\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                  "3\r\nrig\r\n2\r\nht\r\n0\r\n\r\n"));
    BOOST_TEST(text_of(f.w.get("o", 5, 0, true).data) == "right");
    // All of it though a part was asked for: what was asked for is taken, if it is the beginning.
    f.server.plan(says("GET", "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\nrightwrong"));
    BOOST_TEST(text_of(f.w.get("o", 5, 0).data) == "right");
}

BOOST_AUTO_TEST_CASE(an_object_that_changes_is_not_mixed)
{
    fake_world f;
    const std::string old(50'000, 'o'), fresh(50'000, 'n');
    f.server.put("o", old);
    trouble t = cut("GET", 20'000);
    f.server.plan(t);
    trouble change = trouble_with("GET");
    change.first = [&](fake_s3& s) { s.put("o", fresh); };
    f.server.plan(change);
    BOOST_TEST(text_of(f.w.get("o", 50'000, 0, true).data) == fresh);

    bytes back(50'000);
    session out{f.w, "o", back};
    BOOST_TEST_REQUIRE(!out.open_get());
    BOOST_TEST(out.total == 50'000u);
    f.server.put("o", old);
    auto piece = out.get_piece(0, 10'000);
    move(*f.w.d, piece);
    BOOST_TEST((piece.error == s3_errc::changed));
    BOOST_TEST(!out.abandon());
}

BOOST_AUTO_TEST_CASE(parts)
{
    fake_world f{unhurried()};
    bytes data = pattern(21'000'000), back(data.size());
    for (const std::size_t piece : {std::size_t{8} << 20, std::size_t{1} << 20, std::size_t{700'001}}) {
        const error_code e = put_in_pieces(f.w, "big", data, piece);
        BOOST_TEST(!e, e.message());
        BOOST_TEST((f.server.objects().at("big").bytes == text_of(data)));
    }
    session out{f.w, "big", back};
    BOOST_TEST_REQUIRE(!out.open_get());
    std::vector<seam::chunk> pieces;
    for (std::size_t at = 0; at < data.size(); at += 3'000'000) pieces.push_back(out.get_piece(at, std::min<std::size_t>(3'000'000, data.size() - at)));
    move_all(*f.w.d, pieces);
    BOOST_TEST((back == data));
    BOOST_TEST(!out.abandon());
    BOOST_TEST(!put_in_pieces(f.w, "dropped", data, 8 << 20, false));
    // What fits into one part is one request, and keeps its sum; what is one part short is not there.
    bytes small = pattern(3'000'000);
    BOOST_TEST(!put_in_pieces(f.w, "small", small, 1 << 20));
    BOOST_TEST((f.w.get("small", small.size(), 0, true).sum == 77u));
    session in{f.w, "gap", data};
    BOOST_TEST_REQUIRE(!in.open_put(data.size()));
    auto first = in.put_piece(0, 8 << 20);
    move(*f.w.d, first);
    BOOST_TEST((in.commit() == errc::short_transfer));
    BOOST_TEST(f.server.objects().count("gap") == 0u);
    BOOST_TEST(f.server.objects().count("dropped") == 0u);
    BOOST_TEST(f.server.uploads() == 0u);
    f.server.keep_sums(true);
    BOOST_TEST(!put_in_pieces(f.w, "sum", data, 8 << 20));
    session sum{f.w, "sum", back};
    BOOST_TEST_REQUIRE(!sum.open_get());
    BOOST_TEST((sum.sum == 77u));
    BOOST_TEST(!sum.abandon());
}

BOOST_AUTO_TEST_CASE(parts_that_fail_are_sent_again_or_leave_nothing)
{
    bytes data = pattern(17'000'000);
    for (const auto& [match, answer] : std::vector<std::pair<std::string, std::string>>{
             {"partNumber=2", refusal("500 Internal Server Error", "InternalError")}, {"POST /bucket/o?uploads", refusal("503 x", "SlowDown")},
             {"POST /bucket/o?uploadId", refusal("200 OK", "InternalError")}, {"partNumber=1", ""}, {"partNumber=3", ""},
             {"POST /bucket/o?uploads", ""}, {"POST /bucket/o?uploadId", ""}})
        for (const std::size_t piece : {std::size_t{8} << 20, std::size_t{1} << 20}) {
            fake_world f{unhurried()};
            if (answer.empty()) f.server.plan(cut(match, 0, trouble::end::reset)); // done, and the answer lost
            else f.server.plan(says(match, answer));
            const error_code e = put_in_pieces(f.w, "o", data, piece);
            BOOST_TEST(!e, match << ": " << e.message());
            BOOST_TEST((f.server.objects()["o"].bytes == text_of(data)));
            BOOST_TEST(f.server.uploads() == 0u, match);
        }
    for (const std::size_t piece : {std::size_t{8} << 20, std::size_t{1} << 20}) {
        fake_world f{unhurried()};
        f.server.plan(says("partNumber=2", refusal("403 Forbidden", "AccessDenied"), 99));
        BOOST_TEST((put_in_pieces(f.w, "o", data, piece) == sys::errc::permission_denied));
        BOOST_TEST(f.server.uploads() == 0u);
        f.server.plan(says("POST /bucket/o?uploadId", refusal("403 Forbidden", "AccessDenied"), 99));
        fake_world g{unhurried()};
        g.server.plan(says("POST /bucket/o?uploadId", refusal("403 Forbidden", "AccessDenied"), 99));
        BOOST_TEST((put_in_pieces(g.w, "o", data, piece) == sys::errc::permission_denied));
        BOOST_TEST(g.server.uploads() == 0u);
        BOOST_TEST(g.server.objects().empty());
    }
}

// The answer lies there while the loop is elsewhere for longer than a server may be silent: that is no silence of the server's.
BOOST_AUTO_TEST_CASE(a_loop_that_was_away_blames_nobody)
{
    s3_options o = impatient();
    o.stalled_after = o.answer_within = 50ms;
    fake_world f{o};
    f.server.put("o", std::string(1'000, 'x'));
    bytes back(1'000);
    memory_segment memory{back};
    const auto object = f.w.store->locate("o");
    seam::chunk c;
    static_cast<wye::chunk&>(c) = world::chunk_of({object.get(), 0, back.size()}, {&memory, 0, back.size()});
    BOOST_TEST_REQUIRE(f.w.d->submit(c));
    until(*f.w.d, [&] { return count(f.server, "GET") == 1; }); // asked; then nothing is polled
    pollfd answer{f.w.d->wait_handle(), POLLIN, 0};
    BOOST_TEST((c.ends == 1 || ::poll(&answer, 1, 5000) == 1));
    const auto back_at = std::chrono::steady_clock::now() + 120ms;
    while (std::chrono::steady_clock::now() < back_at) std::this_thread::yield();
    until(*f.w.d, [&] { return c.ends == 1; });
    BOOST_TEST(!c.error, c.error.message());
    BOOST_TEST(count(f.server, "GET") == 1);
    BOOST_TEST(f.told.empty());
}

BOOST_AUTO_TEST_CASE(what_nobody_wants_ends_at_once)
{
    s3_options patient = impatient();
    patient.stalled_after = patient.answer_within = 1h;
    fake_world f{patient};
    f.server.put("o", std::string(100'000, 'x'));
    f.server.plan(cut("GET", 50'000, trouble::end::stall));
    bytes back(100'000), data = pattern(17'000'000);
    memory_segment memory{back};
    const auto object = f.w.store->locate("o");
    seam::chunk c;
    static_cast<wye::chunk&>(c) = world::chunk_of({object.get(), 0, back.size()}, {&memory, 0, back.size()});
    BOOST_TEST_REQUIRE(f.w.d->submit(c));
    until(*f.w.d, [&] { return count(f.server, "GET") == 1; });
    BOOST_TEST(c.ends == 0);
    c.unwanted = true;
    until(*f.w.d, [&] { return c.ends == 1; });
    BOOST_TEST((c.error == boost::asio::error::operation_aborted));
    BOOST_TEST(f.w.store->why("o").empty());

    session in{f.w, "u", data};
    BOOST_TEST_REQUIRE(!in.open_put(data.size()));
    f.server.plan(cut("partNumber=1", 0, trouble::end::stall));
    seam::chunk part = in.put_piece(0, 8 << 20);
    BOOST_TEST_REQUIRE(f.w.d->submit(part));
    until(*f.w.d, [&] { return count(f.server, "partNumber=1") == 1; });
    part.unwanted = true;
    until(*f.w.d, [&] { return part.ends == 1; });
    BOOST_TEST(!in.abandon());
    BOOST_TEST(f.server.uploads() == 0u);
    BOOST_TEST(f.server.objects().count("u") == 0u);
}

BOOST_AUTO_TEST_CASE(connections_are_kept_bounded_and_closed)
{
    s3_options o = impatient();
    o.connections = 3;
    o.idle_after = 200ms;
    testing::fake_s3 server;
    {
        world w{make_s3(o), url_at(server.port())};
        bytes back(64 * 1000);
        memory_segment memory{back};
        server.put("o", text_of(pattern(back.size())));
        const auto object = w.store->locate("o");
        std::vector<seam::chunk> chunks(64);
        for (std::size_t i = 0; i < chunks.size(); ++i)
            static_cast<wye::chunk&>(chunks[i]) = world::chunk_of({object.get(), i * 1000, 1000}, {&memory, i * 1000, 1000});
        move_all(*w.d, chunks);
        BOOST_TEST((back == pattern(back.size())));
        BOOST_TEST(server.connections() <= 3u);
        // Closed by the server while it rests: the next request does not fail by that.
        for (int i = 0; i < 5; ++i) {
            server.plan(cut("GET", 1'000'000));
            BOOST_TEST((w.get("o", 10).data == pattern(10)));
        }
        // By us, after a while.
        seam::drive(*w.d, [&] { return server.open() == 0; });
        BOOST_TEST((w.get("o", 10).data == pattern(10)));
    }
    const auto patience = std::chrono::steady_clock::now() + 10s;
    while (server.open() != 0 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
    BOOST_TEST(server.open() == 0u);
}

BOOST_AUTO_TEST_CASE(several_keys_go_at_once)
{
    fake_world f;
    std::vector<std::string> keys = odd_keys;
    for (int i = 0; i < 1'500; ++i) keys.push_back("many/" + std::to_string(i));
    for (const std::string& k : keys) f.server.put(k, "x");
    error_code e = errc::shut_down;
    f.w.store->remove_all(keys, [&](error_code failed) { e = failed; });
    seam::drive(*f.w.d, [&] { return e != errc::shut_down; });
    BOOST_TEST(!e);
    BOOST_TEST(count(f.server, "POST /bucket?delete") == 2u);
    std::set<std::string> left;
    for (const auto& [k, o] : f.server.objects()) left.insert(k);
    left.erase("tab\there"); // the server of this test reads no numbers of characters
    left.erase("*?[]\"'$`<>");
    BOOST_TEST(left.empty());
    f.server.plan(says("POST", good("<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code></Error>"
                                    "<Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>")));
    e = errc::shut_down;
    f.w.store->remove_all({"a", "b"}, [&](error_code failed) { e = failed; });
    seam::drive(*f.w.d, [&] { return e != errc::shut_down; });
    BOOST_TEST((e == sys::errc::permission_denied));
}

BOOST_AUTO_TEST_CASE(a_clock_that_is_wrong_is_set_by_the_server)
{
    fake_world f;
    f.server.put("o", "x");
    const std::string skewed = refusal("403 Forbidden", "RequestTimeTooSkewed", "Date: Tue, 06 Nov 2029 08:49:37 GMT\r\n");
    f.server.plan(says("GET", skewed));
    BOOST_TEST(!f.w.get("o", 1).error);
    BOOST_TEST(f.server.requests().back().headers.at("x-amz-date").starts_with("20291106T08"));
    BOOST_TEST(!f.w.get("o", 1).error); // and stays so
    BOOST_TEST(f.server.requests().back().headers.at("x-amz-date").starts_with("20291106T08"));
    BOOST_TEST(count(f.server, "GET") == 3u);
    f.server.plan(says("GET", skewed, 9));
    BOOST_TEST((f.w.get("o", 1).error == sys::errc::permission_denied));
}

BOOST_AUTO_TEST_CASE(another_region_is_taken_to_heart)
{
    fake_world f;
    f.server.put("o", "x");
    f.server.plan(says("GET", refusal("400 Bad Request", "AuthorizationHeaderMalformed", "x-amz-bucket-region: eu-north-1\r\n")));
    BOOST_TEST(!f.w.get("o", 1).error);
    BOOST_TEST((f.server.requests().back().headers.at("authorization").find("/eu-north-1/s3/") != std::string::npos));
}

BOOST_AUTO_TEST_CASE(a_proxy_is_told_where_to)
{
    testing::fake_s3 proxy;
    s3_options o = impatient();
    o.proxy = "http://me:word@127.0.0.1:" + std::to_string(proxy.port());
    proxy.plan(says("GET http://store.invalid/bucket/o", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: \"e\"\r\n\r\nx"));
    world w{make_s3(o), "s3://bucket?endpoint=http://store.invalid"};
    BOOST_TEST(text_of(w.get("o", 1).data) == "x");
    BOOST_TEST(proxy.requests().at(0).headers.at("proxy-authorization") == "Basic bWU6d29yZA==");
    // To where TLS is spoken it makes a tunnel, or refuses to.
    proxy.plan(says("CONNECT store.invalid:443", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", 9));
    world secure{make_s3(o), "s3://bucket?endpoint=https://store.invalid"};
    BOOST_TEST((secure.get("o", 1).error == s3_errc::proxy_refused));
}

BOOST_AUTO_TEST_CASE(credentials_that_expire_are_asked_for_again)
{
    testing::fake_s3 server, instance;
    server.put("o", "x");
    s3_options o = impatient();
    o.access_key.clear();
    o.secret_key.clear();
    const std::string at = "http://127.0.0.1:" + std::to_string(instance.port());
    ::setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", at.c_str(), 1);
    ::setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere", 1);
    const auto keys = [&](const std::string& name, const std::string& until) {
        return good("{\"Code\" : \"Success\",\n\"AccessKeyId\" : \"" + name + "\", \"SecretAccessKey\" : \"s\\/x\", \"Token\": \"T" + name +
                    "\", \"Expiration\" : \"" + until + "\"}");
    };
    instance.plan(says("PUT /latest/api/token", good("TOKEN"), 99));
    instance.plan(says("security-credentials/role", keys("ONE", "2001-01-01T00:00:00Z")));
    instance.plan(says("security-credentials/role", keys("TWO", "2099-01-01T00:00:00Z")));
    instance.plan(says("security-credentials/role", keys("THREE", "2099-01-01T00:00:00Z")));
    instance.plan(says("security-credentials/", good("role\n"), 99));
    world w{make_s3(o), url_at(server.port())};
    BOOST_TEST_REQUIRE(!w.failed, w.failed.message());
    BOOST_TEST(!w.get("o", 1).error);
    const auto last = [&] { return server.requests().back().headers; };
    BOOST_TEST((last().at("authorization").find("Credential=TWO/") != std::string::npos));
    BOOST_TEST(last().at("x-amz-security-token") == "TTWO");
    BOOST_TEST(instance.requests().back().headers.at("x-aws-ec2-metadata-token") == "TOKEN");
    server.plan(says("GET", refusal("400 Bad Request", "ExpiredToken")));
    BOOST_TEST(!w.get("o", 1).error);
    BOOST_TEST((last().at("authorization").find("Credential=THREE/") != std::string::npos));

    ::setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", (at + "/creds").c_str(), 1);
    ::setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1);
    instance.plan(says("GET /creds", keys("FOUR", "2099-01-01T00:00:00Z")));
    world c{make_s3(o), url_at(server.port())};
    BOOST_TEST_REQUIRE(!c.failed, c.failed.message());
    BOOST_TEST(!c.get("o", 1).error);
    BOOST_TEST((last().at("authorization").find("Credential=FOUR/") != std::string::npos));
    BOOST_TEST(instance.requests().back().headers.at("authorization") == "Basic abc");
    ::unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");

    ::setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    world none{make_s3(o), url_at(server.port())};
    BOOST_TEST((none.failed == s3_errc::no_credentials));
    ::unsetenv("AWS_EC2_METADATA_DISABLED");
    ::unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
}

BOOST_AUTO_TEST_CASE(bad_urls_are_refused)
{
    for (const char* url : {"s3://", "s3://a/b", "s3://UP CASE", "s3://b?x=1", "s3://b?endpoint=ftp://x", "s3://b?endpoint=http://",
                            "s3://b?endpoint=http://x:99999", "s3://b?style=odd", "s3://b?verify=maybe", "s3://b?region=a/b", "s3://..",
                            "s3://b?endpoint", "s3://b?ca=%zz"}) {
        world w{make_s3(impatient()), url};
        BOOST_TEST((w.failed == errc::bad_name), url);
    }
    world w{make_s3(impatient()), "s3://b?endpoint=https://x&ca=/nowhere.pem"};
    BOOST_TEST((w.failed == s3_errc::certificate));
}
