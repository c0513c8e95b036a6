// SPDX-License-Identifier: Apache-2.0
// The S3 driver at its seam, against OpenStack Swift with its S3 interface, or any other server:
// WYE_S3_SERVER=http://host:port with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and a bucket named "bucket" there.
// With WYE_S3_TLS_SERVER=https://host:port the same over TLS, by a certificate that WYE_S3_TLS_CA (a file) vouches for.
// WYE_S3_LARGE=1 adds an object of 1 GiB, WYE_S3_KEYS=10000 lists so many, WYE_S3_CLIENTS=1 asks awscli and s3cmd, too.
#define BOOST_TEST_MODULE s3_swift
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "s3/world.hpp"
#include "store.hpp"
#include "support/certificate.hpp"
#include "support/swift_process.hpp"
#include "xml.hpp"

using namespace wye;
using namespace wye::seam;
namespace sys = boost::system;
using boost::test_tools::per_element;

namespace {

const char* from_environment(const char* name, const char* otherwise)
{
    const char* const value = std::getenv(name);
    return value ? value : otherwise;
}

/// The server that all stories share.
struct shared_server {
    shared_server()
    {
        key = from_environment("AWS_ACCESS_KEY_ID", "test:tester");
        secret = from_environment("AWS_SECRET_ACCESS_KEY", "testing");
        endpoint = from_environment("WYE_S3_SERVER", "");
        if (!endpoint.empty()) return;
        swift = std::make_unique<testing::swift_process>(WYE_SWIFT_SERVER);
        endpoint = "http://127.0.0.1:" + std::to_string(swift->port());
        key = "test:tester";
        secret = "testing";
    }
    std::unique_ptr<testing::swift_process> swift;
    std::string endpoint, key, secret;
};

shared_server& server()
{
    static shared_server one;
    return one;
}

s3_options patient()
{
    const shared_server& s = server();
    forget_environment();
    s3_options o;
    o.access_key = s.key;
    o.secret_key = s.secret;
    o.failed = [](const s3_failure& f) { BOOST_TEST_MESSAGE(f.to_string()); };
    return o;
}

std::string url() { return "s3://bucket?endpoint=" + server().endpoint; }

struct swift_world : world {
    explicit swift_world(s3_options o = patient(), const std::string& at = url()) : world{make_s3(o), at}
    {
        BOOST_TEST_REQUIRE(!failed, failed.message());
    }
};

const std::vector<std::string> odd_keys{"odd/plain", "odd/+ = & @ : ; % ~", "odd/a//b", "odd/\xc3\xbc \xe6\x97\xa5", "odd/a b",
                                        "odd/%41%", "odd/a&amp;b<c>\"d'", "odd/q?x=1#y", "odd/back\\slash", "odd/!*()[]{}|^`$,"};

error_code in_parts(world& w, const std::string& key, bytes& data, std::size_t piece)
{
    session in{w, key, data};
    if (const error_code e = in.open_put(data.size())) return e;
    std::vector<seam::chunk> pieces;
    for (std::size_t at = 0; at < data.size(); at += piece) pieces.push_back(in.put_piece(at, std::min(piece, data.size() - at)));
    for (auto& p : pieces) w.d->submit(p);
    seam::drive(*w.d, [&] { return std::all_of(pieces.begin(), pieces.end(), [](const auto& c) { return c.ends == 1; }); });
    for (const auto& p : pieces)
        if (p.error) return in.abandon(), p.error;
    return in.commit();
}

bool reads_back(world& w, const std::string& key, const bytes& data, std::size_t piece = 8 << 20)
{
    bytes back(data.size());
    session out{w, key, back};
    const error_code e = out.open_get();
    if (e) BOOST_TEST_MESSAGE(e.message());
    if (e || out.total != data.size()) return false;
    std::vector<seam::chunk> pieces;
    for (std::size_t at = 0; at < data.size(); at += piece) pieces.push_back(out.get_piece(at, std::min(piece, data.size() - at)));
    for (auto& p : pieces) w.d->submit(p);
    seam::drive(*w.d, [&] { return std::all_of(pieces.begin(), pieces.end(), [](const auto& c) { return c.ends == 1; }); });
    for (const auto& p : pieces)
        if (p.error) BOOST_TEST_MESSAGE(p.error.message());
    out.abandon();
    return back == data;
}

/// Uploads that the server has begun and not ended, of a key.
std::size_t open_uploads(world& w, const std::string& key)
{
    const auto named = w.store->locate(key);
    storage::s3::client& by = *static_cast<storage::s3::s3_object&>(*named).by;
    storage::s3::call c;
    c.operation = c.method = "GET";
    c.query.emplace_back("uploads", "");
    c.query.emplace_back("prefix", key);
    storage::s3::stop_signal never;
    std::string text;
    bool over = false;
    const auto ask = [](storage::s3::client& of, storage::s3::call& what, storage::s3::stop_signal& stop, std::string& into,
                        bool& done) -> storage::s3::detached {
        storage::s3::result r = co_await of.ask(what, stop);
        into = r.got.text;
        done = true;
    };
    ask(by, c, never, text, over);
    seam::drive(*w.d, [&] { return over; });
    std::size_t n = 0;
    BOOST_TEST(storage::s3::read_xml(text, [&](std::string_view at, std::string) { n += at.ends_with("Upload/UploadId"); }));
    return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(sizes)
{
    swift_world w;
    for (const std::size_t size : {0ul, 1ul, 5'000ul, 1'000'000ul, 8ul << 20}) {
        const bytes data = pattern(size);
        const error_code e = w.put("size", data, 0x12345678);
        BOOST_TEST(!e, size << ": " << e.message());
        BOOST_TEST(w.stat("size").second.size == size);
        if (!size) continue;
        const auto r = w.get("size", size, 0, true);
        BOOST_TEST((!r.error && r.data == data), size << ": " << r.error.message());
        BOOST_TEST((r.sum == 0x12345678u));
    }
    const auto age = std::chrono::system_clock::now() - w.stat("size").second.modified;
    BOOST_TEST((age > -1min && age < 10min));
    for (const std::size_t size : {(8ul << 20) + 1, 64ul << 20}) {
        bytes data = pattern(size);
        const error_code e = in_parts(w, "large", data, 8 << 20);
        BOOST_TEST(!e, size << ": " << e.message());
        BOOST_TEST(reads_back(w, "large", data));
    }
    bytes staged = pattern(20'000'000);
    BOOST_TEST(!in_parts(w, "staged", staged, 1 << 20));
    BOOST_TEST(reads_back(w, "staged", staged));
    BOOST_TEST(!w.remove("size"));
    BOOST_TEST((w.stat("size").first == errc::not_found));
    BOOST_TEST((w.get("size", 1).error == errc::not_found));
    if (!std::getenv("WYE_S3_LARGE")) return;
    bytes huge = pattern(1ul << 30);
    BOOST_TEST(!in_parts(w, "huge", huge, 8 << 20));
    BOOST_TEST(reads_back(w, "huge", huge));
    BOOST_TEST(!w.remove("huge"));
}

BOOST_AUTO_TEST_CASE(odd_names)
{
    swift_world w;
    for (std::size_t i = 0; i < odd_keys.size(); ++i) {
        const error_code e = w.put(odd_keys[i], pattern(100 + i, static_cast<unsigned>(i)));
        BOOST_TEST(!e, odd_keys[i] << ": " << e.message() << w.store->why(odd_keys[i]));
    }
    for (std::size_t i = 0; i < odd_keys.size(); ++i)
        BOOST_TEST((w.get(odd_keys[i], 100 + i, 0, true).data == pattern(100 + i, static_cast<unsigned>(i))), odd_keys[i]);
    const std::set<std::string> expected{odd_keys.begin(), odd_keys.end()};
    BOOST_TEST(w.list("odd/") == std::vector<std::string>(expected.begin(), expected.end()), per_element());
    BOOST_TEST(w.list("odd/+ = &") == std::vector<std::string>{"odd/+ = & @ : ; % ~"}, per_element());
    for (const std::string& k : odd_keys) BOOST_TEST(!w.remove(k));
    BOOST_TEST(w.list("odd/").empty());
}

BOOST_AUTO_TEST_CASE(ranges)
{
    swift_world w;
    const bytes data = pattern(10'000);
    BOOST_TEST(!w.put("r", data));
    BOOST_TEST((w.get("r", 9'999, 0, true).error == errc::length_mismatch));
    BOOST_TEST((w.get("r", 1'000, 500).data == bytes(data.begin() + 500, data.begin() + 1'500)));
    BOOST_TEST(w.get("r", 1'000, 9'500).data.size() == 500u);
    BOOST_TEST(w.get("r", 1, 10'000).data.empty());
    bytes back(10'000);
    session out{w, "r", back};
    BOOST_TEST_REQUIRE(!out.open_get());
    BOOST_TEST(!w.put("r", pattern(10'000, 5)));
    auto piece = out.get_piece(0, 1'000);
    move(*w.d, piece);
    BOOST_TEST((piece.error == s3_errc::changed));
    out.abandon();
}

// Where the server has none it says so, and does nothing.
BOOST_AUTO_TEST_CASE(conditions)
{
    swift_world w;
    const auto named = [&](const object_condition& when) { return w.store->locate_if("condition", when); };
    BOOST_TEST(!w.put("condition", pattern(100)));
    object_condition absent, this_one, another;
    absent.absent = true;
    this_one.tag = w.stat("condition").second.tag;
    another.tag = "\"0123456789abcdef0123456789abcdef\"";
    const object_page listed = w.page("condition", "", 10);
    BOOST_TEST_REQUIRE(listed.objects.size() == 1u);
    BOOST_TEST(listed.objects.front().tag == this_one.tag);
    BOOST_TEST((w.get(*named(this_one), 100, 0, true).data == pattern(100)));
    BOOST_TEST((w.get(*named(another), 100, 0, true).error == s3_errc::changed));

    const error_code exists = w.put(*named(absent), pattern(200));
    BOOST_TEST((exists == sys::errc::file_exists || exists == sys::errc::not_supported), exists.message());
    const error_code changed = w.put(*named(another), pattern(300));
    BOOST_TEST((changed == s3_errc::changed || changed == sys::errc::not_supported), changed.message());
    BOOST_TEST((w.get("condition", 100, 0, true).data == pattern(100)));
    if (changed == s3_errc::changed) BOOST_TEST(!w.put(*named(this_one), pattern(400)));
    BOOST_TEST(!w.remove("condition"));
    const error_code made = w.put(*named(absent), pattern(500));
    BOOST_TEST((exists == sys::errc::file_exists ? !made : made == sys::errc::not_supported), made.message());
    BOOST_TEST_MESSAGE("If-None-Match: " << exists.message() << "; If-Match: " << changed.message());
}

BOOST_AUTO_TEST_CASE(many_keys)
{
    swift_world w;
    const auto n = static_cast<std::size_t>(std::stoul(from_environment("WYE_S3_KEYS", "1200")));
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < n; ++i) keys.push_back("many/" + std::to_string(1'000'000 + i));
    std::size_t next = 0;
    bytes content(3);
    memory_segment memory{content};
    std::vector<std::unique_ptr<segment>> objects;
    std::vector<seam::chunk> chunks(n);
    for (std::size_t i = 0; i < n; ++i) {
        objects.push_back(w.store->locate(keys[i]));
        static_cast<wye::chunk&>(chunks[i]) = world::chunk_of({&memory, 0, 3}, {objects[i].get(), 0, 3});
        chunks[i].sole = true;
    }
    // Not all at once: the runtime's window would not, either.
    for (; next < std::min<std::size_t>(n, 16); ++next) w.d->submit(chunks[next]);
    for (auto& c : chunks) c.then = [&] { if (next < n) w.d->submit(chunks[next++]); };
    for (std::size_t done = 0; done < n;) {
        const auto ended = [&] { return std::count_if(chunks.begin(), chunks.end(), [](const auto& c) { return c.ends == 1; }); };
        const auto before = static_cast<std::ptrdiff_t>(done);
        seam::drive(*w.d, [&] { return ended() > before; });
        done = static_cast<std::size_t>(ended());
    }
    for (const auto& c : chunks) BOOST_TEST(!c.error);
    BOOST_TEST((w.list("many/") == keys));
    BOOST_TEST((w.list("many/10000") == std::vector<std::string>(keys.begin(), keys.begin() + 100)));
    for (std::size_t i = 0; i < n; i += 400) { // which takes Swift some seconds
        error_code e = errc::shut_down;
        const auto first = keys.begin() + static_cast<std::ptrdiff_t>(i);
        w.store->remove_all({first, keys.begin() + static_cast<std::ptrdiff_t>(std::min(i + 400, n))}, [&](error_code failed) { e = failed; });
        seam::drive(*w.d, [&] { return e != errc::shut_down; });
        BOOST_TEST(!e, e.message());
    }
    BOOST_TEST(w.list("many/").empty());
}

BOOST_AUTO_TEST_CASE(a_part_that_fails)
{
    const std::string at = server().endpoint;
    testing::fault_proxy proxy{static_cast<std::uint16_t>(std::stoul(at.substr(at.rfind(':') + 1)))};
    proxy.follow([](unsigned n) {
        testing::fault f;
        if (n == 1 || n == 2) f.after_to_server = 3'000'000, f.then = n == 1 ? testing::fault::end::reset : testing::fault::end::close;
        return f;
    });
    swift_world w{patient(), "s3://bucket?endpoint=http://127.0.0.1:" + std::to_string(proxy.port())};
    bytes data = pattern(30'000'000);
    const error_code e = in_parts(w, "failing", data, 8 << 20);
    BOOST_TEST(!e, e.message());
    BOOST_TEST(proxy.accepted() > 3u);
    BOOST_TEST(reads_back(w, "failing", data));
    BOOST_TEST(open_uploads(w, "failing") == 0u);

    // All connections break in the middle of a part, for ever: nothing is left behind.
    s3_options o = patient();
    o.tries = 2;
    proxy.follow([](unsigned) {
        testing::fault f;
        f.after_to_server = 3'000'000;
        return f;
    });
    world broken{make_s3(o), "s3://bucket?endpoint=http://127.0.0.1:" + std::to_string(proxy.port())};
    BOOST_TEST(bool(in_parts(broken, "never", data, 8 << 20)));
    BOOST_TEST(open_uploads(w, "never") == 0u);
    BOOST_TEST((w.stat("never").first == errc::not_found));
}

BOOST_AUTO_TEST_CASE(wrong_secrets)
{
    s3_options o = patient();
    o.secret_key = "guess";
    std::string told;
    o.failed = [&](const s3_failure& f) { told = f.to_string(); };
    world w{make_s3(o), url()};
    BOOST_TEST((w.put("o", pattern(10)) == sys::errc::permission_denied));
    BOOST_TEST((told.find("SignatureDoesNotMatch") != told.npos), told);
    BOOST_TEST((told.find("request ") != told.npos), told);
    BOOST_TEST((w.stat("o").first == sys::errc::permission_denied));
    swift_world missing{patient(), "s3://nobucket?endpoint=" + server().endpoint};
    BOOST_TEST((missing.put("o", pattern(10)) == sys::errc::no_such_file_or_directory));
}

// A driver that believes it is half an hour later than it is: told by an answer with that date, and mended by the server's own.
BOOST_AUTO_TEST_CASE(skewed_clocks)
{
    const std::string at = server().endpoint;
    testing::fault_proxy proxy{static_cast<std::uint16_t>(std::stoul(at.substr(at.rfind(':') + 1)))};
    const std::time_t later = std::time(nullptr) + 1800;
    std::tm parts{};
    ::gmtime_r(&later, &parts);
    char date[40];
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    proxy.follow([&](unsigned n) {
        testing::fault f;
        if (n == 0) f.canned = std::string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\nDate: "} + date + "\r\n\r\n";
        return f;
    });
    std::string told;
    s3_options o = patient();
    o.failed = [&](const s3_failure& f) { told = f.to_string(); };
    world w{make_s3(o), "s3://bucket?endpoint=http://127.0.0.1:" + std::to_string(proxy.port())};
    BOOST_TEST((w.put("clock", pattern(10)) == sys::errc::permission_denied));
    BOOST_TEST((told.find("RequestTimeTooSkewed") != told.npos), told);
    BOOST_TEST(!w.put("clock", pattern(10)), told);
    BOOST_TEST(!w.remove("clock"));
}

namespace {

/// Shakes hands with one caller after the other and knows nothing else.
class tls_server {
public:
    tls_server(const std::string& certificate, const std::string& key)
        : context_{::SSL_CTX_new(::TLS_server_method()), &::SSL_CTX_free}, door_{::socket(AF_INET, SOCK_STREAM, 0)}
    {
        ::SSL_CTX_use_certificate_chain_file(context_.get(), certificate.c_str());
        ::SSL_CTX_use_PrivateKey_file(context_.get(), key.c_str(), SSL_FILETYPE_PEM);
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof here;
        ::bind(door_, reinterpret_cast<sockaddr*>(&here), size);
        ::listen(door_, 8);
        ::getsockname(door_, reinterpret_cast<sockaddr*>(&here), &size);
        port = ntohs(here.sin_port);
        thread_ = std::thread{[this] {
            for (int fd; (fd = ::accept(door_, nullptr, nullptr)) >= 0; ::close(fd)) {
                const std::unique_ptr<SSL, void (*)(SSL*)> s{::SSL_new(context_.get()), ::SSL_free};
                ::SSL_set_fd(s.get(), fd);
                ::SSL_accept(s.get());
            }
        }};
    }
    ~tls_server()
    {
        ::shutdown(door_, SHUT_RDWR);
        thread_.join();
        ::close(door_);
    }
    std::uint16_t port = 0;

private:
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
    int door_;
    std::thread thread_;
};

/// A server that speaks TLS: a Swift whose clock is half an hour ahead of ours, or what WYE_S3_TLS_SERVER names.
struct secure_server {
    explicit secure_server(const fs::path& folder)
        : certificate{from_environment("WYE_S3_TLS_CA", (folder / "good.pem").c_str())},
          endpoint{from_environment("WYE_S3_TLS_SERVER", "")}
    {
        if (!endpoint.empty()) return;
        const std::string key = folder / "good.key";
        testing::make_certificate(certificate, key, "IP:127.0.0.1");
        swift.emplace(WYE_SWIFT_SERVER, 1800, std::vector<std::string>{certificate, key});
        endpoint = "https://127.0.0.1:" + std::to_string(swift->port());
    }
    std::string certificate, endpoint;
    std::optional<testing::swift_process> swift;
};

} // namespace

BOOST_AUTO_TEST_CASE(certificates, *boost::unit_test::precondition([](boost::unit_test::test_unit_id) {
    return server().swift || std::getenv("WYE_S3_TLS_SERVER");
}))
{
    const temporary_directory here;
    const std::string old = here.path / "old.pem", old_key = here.path / "old.key";
    testing::make_certificate(old, old_key, "IP:127.0.0.1", -60);
    const secure_server secure{here.path};
    const std::string at = "s3://bucket?endpoint=" + secure.endpoint, trusted = "&ca=" + secure.certificate;
    {
        swift_world w{patient(), at + trusted};
        bytes data = pattern(17'000'000);
        BOOST_TEST(!w.put("tls", pattern(100'000)));
        BOOST_TEST((w.get("tls", 100'000, 0, true).data == pattern(100'000)));
        BOOST_TEST(!in_parts(w, "tls", data, 8 << 20));
        BOOST_TEST(reads_back(w, "tls", data));
    }
    world unknown{make_s3(patient()), at};
    BOOST_TEST((unknown.stat("tls").first == s3_errc::certificate));
    BOOST_TEST((unknown.store->why("tls").find("certificate") != std::string::npos), unknown.store->why("tls"));
    const std::string by_name = "s3://bucket?endpoint=https://localhost" + secure.endpoint.substr(secure.endpoint.rfind(':'));
    world other_host{make_s3(patient()), by_name + trusted};
    BOOST_TEST((other_host.stat("tls").first == s3_errc::certificate));
    world careless{make_s3(patient()), at + "&verify=off"};
    BOOST_TEST(!careless.stat("tls").first);
    const tls_server expired{old, old_key};
    world late{make_s3(patient()), "s3://bucket?endpoint=https://127.0.0.1:" + std::to_string(expired.port) + "&ca=" + old};
    BOOST_TEST((late.stat("tls").first == s3_errc::certificate));
    BOOST_TEST((late.store->why("tls").find("expired") != std::string::npos), late.store->why("tls"));
}

// By hand (WYE_S3_CLIENTS=1): what we write others read, and the other way.
BOOST_AUTO_TEST_CASE(other_clients, *boost::unit_test::precondition([](boost::unit_test::test_unit_id) {
    return std::getenv("WYE_S3_CLIENTS") != nullptr;
}))
{
    const temporary_directory here;
    swift_world w;
    bytes large = pattern(20'000'000, 3);
    const bytes small = pattern(5'000, 4);
    const std::string key = "clients/\xc3\xbc +=&";
    BOOST_TEST(!in_parts(w, "clients/large", large, 8 << 20));
    BOOST_TEST(!w.put(key, small));
    const shared_server& s = server();
    const std::string aws = "AWS_ACCESS_KEY_ID='" + s.key + "' AWS_SECRET_ACCESS_KEY='" + s.secret +
                            "' AWS_DEFAULT_REGION=us-east-1 /usr/bin/aws --endpoint-url " + s.endpoint + " s3 cp --quiet ";
    const std::string at = s.endpoint.substr(s.endpoint.find("//") + 2);
    const std::string s3cmd = "/usr/bin/s3cmd -q --no-ssl --host=" + at + " --host-bucket=" + at + " --access_key='" + s.key +
                              "' --secret_key='" + s.secret + "' --region=us-east-1 --no-check-md5 --force ";
    const auto run = [](const std::string& command) { BOOST_TEST(std::system(command.c_str()) == 0, command); };
    const auto content = [](const std::string& path) {
        std::ifstream in{path, std::ios::binary};
        const std::string text{std::istreambuf_iterator<char>{in}, {}};
        bytes b(text.size());
        std::transform(text.begin(), text.end(), b.begin(), [](char c) { return static_cast<std::byte>(c); });
        return b;
    };
    const std::string file = here.path / "file";
    run(aws + "s3://bucket/clients/large " + file);
    BOOST_TEST((content(file) == large));
    run(aws + "'s3://bucket/" + key + "' " + file);
    BOOST_TEST((content(file) == small));
    run(s3cmd + "get s3://bucket/clients/large " + file);
    BOOST_TEST((content(file) == large));
    run(aws + file + " s3://bucket/clients/by_aws");
    BOOST_TEST(reads_back(w, "clients/by_aws", large));
    run(s3cmd + "put " + file + " s3://bucket/clients/by_s3cmd");
    BOOST_TEST(reads_back(w, "clients/by_s3cmd", large));
}
