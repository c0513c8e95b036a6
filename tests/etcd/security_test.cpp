// SPDX-License-Identifier: Apache-2.0
// etcd that asks who is there, and shows who it is.
#include <boost/test/unit_test.hpp>

#include <fstream>

#include "etcd_world.hpp"
#include "support/certificate.hpp"

using namespace wye;
using namespace wye::testing;
namespace json = boost::json;

namespace {

/// Users root and me (who may what begins with "mine/"), both with the password "pw".
task<> ask_who_is_there(std::shared_ptr<detail::etcd::client> c)
{
    for (const char* name : {"root", "me"}) {
        json::object user, role;
        user["name"] = name;
        user["password"] = "pw";
        role["name"] = name;
        co_await operate(c, "/v3/auth/user/add", user);
        co_await operate(c, "/v3/auth/role/add", role);
        json::object grant;
        grant["user"] = name;
        grant["role"] = name;
        co_await operate(c, "/v3/auth/user/grant", grant);
    }
    json::object may = detail::etcd::key_range::all("mine/").to_json(), permission;
    may["permType"] = "READWRITE";
    permission["name"] = "me";
    permission["perm"] = may;
    co_await operate(c, "/v3/auth/role/grant", permission);
    co_await operate(c, "/v3/auth/enable", {});
}

etcd_options as(std::string user, std::string password)
{
    etcd_options o;
    o.user = std::move(user);
    o.password = std::move(password);
    return o;
}

} // namespace

WYE_CO_TEST(users_and_passwords)
{
    etcd_process etcd;
    const std::string mine = url_of(etcd.port(), "mine"), theirs = url_of(etcd.port(), "theirs");
    const auto early = etcd_directory(rt, mine, as("me", "pw"));
    co_await early->put("a", some(3), {}); // authentication is off yet
    co_await ask_who_is_there(client_of(rt, mine));

    const scratch_folder in;
    std::ofstream{in / "password"} << "pw\n";
    const auto d = open_directory(rt, mine + "?user=me&password_file=" + (in / "password"));
    co_await d->put("a", some(3), least_life);
    const auto w = d->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+a");

    // Tokens are lost with the process, and drawn anew.
    etcd.kill();
    etcd.start();
    const bool kept = co_await d->keep("a", least_life);
    BOOST_TEST(kept);
    co_await d->put("b", some(3), {});
    const std::string news = co_await told_by(*w, 1);
    BOOST_TEST(contains(news, "+b"));

    const auto nobody = open_directory(rt, mine), wrong = etcd_directory(rt, mine, as("me", "guess")),
               elsewhere = etcd_directory(rt, theirs, as("me", "pw"));
    const std::string unnamed = co_await words_of(nobody->get("a"));
    BOOST_TEST(contains(unnamed, "HTTP 400: etcdserver: user name is empty"));
    const std::string guessed = co_await words_of(wrong->get("a"));
    BOOST_TEST(contains(guessed, "authentication failed, invalid user ID or password"));
    const std::string denied = co_await words_of(elsewhere->put("a", some(3), {}));
    BOOST_TEST(contains(denied, "etcd " + etcd.endpoint() + ": HTTP 403: etcdserver: permission denied"));
    const error_code code = co_await failure_of(elsewhere->get("a"));
    BOOST_TEST((code == boost::system::errc::permission_denied));
    const auto peeks = elsewhere->watch("");
    const std::string unseen = co_await words_of(peeks->next(20s));
    BOOST_TEST(contains(unseen, "permission denied"));
}

WYE_CO_TEST(certificates)
{
    const scratch_folder in;
    make_certificate(in / "server.crt", in / "server.key", "IP:127.0.0.1,DNS:localhost");
    make_certificate(in / "other.crt", in / "other.key", "IP:127.0.0.1");
    etcd_process etcd{{"--cert-file=" + (in / "server.crt"), "--key-file=" + (in / "server.key")}};
    const std::string url = "etcds://" + etcd.endpoint() + "/tls";

    const auto good = open_directory(rt, url + "?ca=" + (in / "server.crt"));
    co_await good->put("a", some(30'000), least_life);
    const auto w = good->watch("");
    const auto first = co_await w->next(20s);
    BOOST_TEST(told(first) == "+a");
    BOOST_TEST((first.at(0).entry.metadata == some(30'000)));
    const bool kept = co_await good->keep("a", least_life);
    BOOST_TEST(kept);
    co_await good->remove("a");
    const auto left = co_await w->next(20s);
    BOOST_TEST(told(left) == "-a");

    const auto began = std::chrono::steady_clock::now();
    const auto unknown = open_directory(rt, url + "?ca=" + (in / "other.crt")), system = open_directory(rt, url);
    const auto elsewhere = open_directory(rt, url + "?host=etcd.example&ca=" + (in / "server.crt"));
    for (directory* d : {unknown.get(), system.get(), elsewhere.get()}) {
        const std::string why = co_await words_of(d->get("a"));
        BOOST_TEST(contains(why, "etcd " + etcd.endpoint() + ": certificate verify failed"));
        const auto blind = d->watch("");
        const std::string unseen = co_await words_of(blind->next(20s));
        BOOST_TEST(contains(unseen, "certificate verify failed"));
    }
    BOOST_TEST((std::chrono::steady_clock::now() - began < 5s)); // it is not tried again
    const auto careless = open_directory(rt, url + "?verify=off");
    const auto none = co_await careless->get("a");
    BOOST_TEST(!none.has_value());
    const auto plain = etcd_directory(rt, url_of(etcd.port(), "tls"), [] {
        etcd_options o;
        o.give_up_after = 300ms;
        return o;
    }());
    const std::string mistaken = co_await words_of(plain->get("a"));
    BOOST_TEST(contains(mistaken, "etcd " + etcd.endpoint()));
}

WYE_CO_TEST(certificates_of_ours)
{
    const scratch_folder in;
    make_certificate(in / "server.crt", in / "server.key", "IP:127.0.0.1");
    etcd_process etcd{{"--cert-file=" + (in / "server.crt"), "--key-file=" + (in / "server.key"), "--client-cert-auth",
                       "--trusted-ca-file=" + (in / "server.crt")}};
    const std::string url = "etcds://" + etcd.endpoint() + "/tls?ca=" + (in / "server.crt");
    const auto known = open_directory(rt, url + "&cert=" + (in / "server.crt") + "&key=" + (in / "server.key"));
    co_await known->put("a", some(3), {});
    const auto there = co_await known->get("a");
    BOOST_TEST(there.has_value());
    const auto unknown = open_directory(rt, url);
    const std::string why = co_await words_of(unknown->get("a"));
    BOOST_TEST(contains(why, "certificate"));
}
