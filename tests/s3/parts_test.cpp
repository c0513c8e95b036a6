// SPDX-License-Identifier: Apache-2.0
// What the S3 driver is made of that needs no server: signatures, XML, dates, URLs, credentials. In one program with
// client_test.cpp.
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <string>
#include <vector>

#include "credentials.hpp"
#include "encoding.hpp"
#include "s3/environment.hpp"
#include "settings.hpp"
#include "signer.hpp"
#include "xml.hpp"

using namespace wye;
using namespace wye::storage::s3;

namespace {

struct example {
    std::string method, path;
    fields query, headers;
    std::string payload, signature;
};

} // namespace

// The examples of the S3 API reference ("Authenticating Requests").
BOOST_AUTO_TEST_CASE(published_examples)
{
    const key_pair keys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
    const wall_time time = *read_iso_date("2013-05-24T00:00:00Z");
    const std::string host = "examplebucket.s3.amazonaws.com", none{empty_payload};
    const std::string content = hex(sha256("Welcome to Amazon S3."));
    for (const example& e : std::vector<example>{
             {"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, none, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
             {"PUT", "/test$file.text", {}, {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
              content, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
             {"GET", "/", {{"lifecycle", ""}}, {}, none, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
             {"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, none, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}}) {
        fields headers = e.headers;
        headers.emplace_back("Host", host);
        headers.emplace_back("x-amz-content-sha256", e.payload);
        headers.emplace_back("x-amz-date", compact(time));
        const std::string said = authorization({e.method, e.path, &e.query, &headers, e.payload}, keys, time, {"us-east-1"});
        BOOST_TEST(said.substr(said.rfind('=') + 1) == e.signature);
        BOOST_TEST(said.starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "));
    }
    const fields query, headers{{"host", host}};
    const fields all = signed_query({"GET", "/test.txt", &query, &headers, unsigned_payload}, keys, time, std::chrono::seconds{86400}, {"us-east-1"});
    BOOST_TEST(all.back().second == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

BOOST_AUTO_TEST_CASE(texts)
{
    BOOST_TEST(percent("a/b \xc3\xbc+~", true) == "a/b%20%C3%BC%2B~");
    BOOST_TEST(percent("a/b", false) == "a%2Fb");
    BOOST_TEST((unpercent("a%2fb%20") == std::string{"a/b "}));
    BOOST_TEST((!unpercent("%") && !unpercent("%4") && !unpercent("%zz")));
    BOOST_TEST(base64(0x01020304u) == "AQIDBA==");
    BOOST_TEST((read_base64_word("AQIDBA==") == 0x01020304u));
    BOOST_TEST((!read_base64_word("AQIDBA==-3") && !read_base64_word("") && !read_base64_word("????????")));
    BOOST_TEST(md5_base64("") == "1B2M2Y8AsgTpgAmY7PhCfg==");
    BOOST_TEST(compact(*read_http_date("Sun, 06 Nov 1994 08:49:37 GMT")) == "19941106T084937Z");
    for (const char* bad : {"", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 36 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 48:49:37 GMT"})
        BOOST_TEST(!read_http_date(bad));
    for (const char* bad : {"", "2009-13-12T17:50:30.000Z", "2009-10-12 17h50m30s    ", "-009-10-12T17:50:30"}) BOOST_TEST(!read_iso_date(bad));
}

BOOST_AUTO_TEST_CASE(xml)
{
    std::string seen;
    const auto leaf = [&](std::string_view at, std::string text) { seen.append(at).append("=").append(text).append(";"); };
    const auto read = [&](std::string_view text) {
        seen.clear();
        return read_xml(text, leaf);
    };
    BOOST_TEST(read("<?xml version='1.0'?>\n<a x=\"1\"><b>1 &amp; &lt;&#228;&#xE4;</b><!-- no --><c/><d><b>2</b></d></a>\n"));
    BOOST_TEST(seen == "a/b=1 & <\xc3\xa4\xc3\xa4;a/c=;a/d/b=2;");
    for (const char* bad : {"", "text", "<a>", "<a></b>", "</a>", "<a><b></a></b>", "<a>&nbsp;</a>", "<a>&</a>", "<a/><b/>", "<!DOCTYPE a>",
                            "<a>&#xffffffff;</a>", "<a", "<>", "<a><![CDATA[x]]></a>", "x<a/>",
                            "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>"})
        BOOST_TEST(!read(bad), bad);
    BOOST_TEST(escaped("a<b>&\n") == "a&lt;b&gt;&amp;&#10;");
}

BOOST_AUTO_TEST_CASE(where_buckets_are)
{
    wye::seam::forget_environment();
    s3_options o;
    settings s = read_settings("s3://b", o);
    BOOST_TEST(s.host == "b.s3.us-east-1.amazonaws.com");
    BOOST_TEST(s.base == "/");
    BOOST_TEST((s.to.tls && s.to.port == "443" && !s.sign_body && s.verify));
    s = read_settings("s3://b.c?region=eu-north-1", o); // no certificate is good for two levels
    BOOST_TEST(s.host == "s3.eu-north-1.amazonaws.com");
    BOOST_TEST(s.base == "/b.c/");
    s = read_settings("s3://b?region=cn-north-1", o);
    BOOST_TEST(s.host == "b.s3.cn-north-1.amazonaws.com.cn");
    s = read_settings("s3://Up_b?endpoint=http%3A%2F%2F[::1]:9000/sub/&payload=unsigned", o);
    BOOST_TEST(s.host == "[::1]:9000");
    BOOST_TEST(s.to.host == "::1");
    BOOST_TEST(s.base == "/sub/Up_b/");
    BOOST_TEST(!s.sign_body);
    s = read_settings("s3://b?endpoint=http://store&style=virtual", o);
    BOOST_TEST(s.host == "b.store");
    BOOST_TEST(s.sign_body);
    o.endpoint = "https://store:8443";
    o.region = "here";
    s = read_settings("s3://b/", o);
    BOOST_TEST(s.host == "store:8443");
    BOOST_TEST(s.region == "here");

    ::setenv("https_proxy", "http://a%3Ab:c@proxy:3128", 1);
    ::setenv("no_proxy", "other, .example.com,10.0.0.1", 1);
    s = read_settings("s3://b", o);
    BOOST_TEST((s.to.proxy_host == "proxy" && s.to.proxy_port == "3128" && s.to.proxy_login == "a:b:c"));
    BOOST_TEST(read_settings("s3://b?endpoint=http://store", o).to.proxy_host.empty());
    BOOST_TEST(read_settings("s3://b?endpoint=https://x.example.com", o).to.proxy_host.empty());
    BOOST_TEST(!read_settings("s3://b?endpoint=https://xexample.com", o).to.proxy_host.empty());
    o.proxy = "none";
    BOOST_TEST(read_settings("s3://b", o).to.proxy_host.empty());
    ::unsetenv("https_proxy");
    ::unsetenv("no_proxy");
}

BOOST_AUTO_TEST_CASE(credentials)
{
    const std::string file = "# mine\n[other]\naws_access_key_id = no\n\n[ default ]\r\naws_access_key_id = A\r\n"
                             "aws_secret_access_key=b=c\n;x=y\naws_session_token = t\n[last]\naws_access_key_id=only\n";
    const granted g = read_credentials_file(file, "default");
    BOOST_TEST((!g.error && g.keys.access_key == "A" && g.keys.secret_key == "b=c" && g.keys.session_token == "t"));
    BOOST_TEST((read_credentials_file(file, "last").error == s3_errc::no_credentials));
    BOOST_TEST((read_credentials_file(file, "none").error == s3_errc::no_credentials));
    const granted j = read_credentials_json(R"({"Code":"Success","AccessKeyId":"A","SecretAccessKey":"b\/c","Token":"t","Expiration":"2030-01-02T03:04:05Z"})");
    BOOST_TEST((!j.error && j.keys.secret_key == "b/c" && j.until));
    for (const char* bad : {"", "{}", "[", "{\"AccessKeyId\":\"A\"}", "{\"AccessKeyId\":\"A\\", "{\"AccessKeyId\":\"A\n\",\"SecretAccessKey\":\"b\"}"})
        BOOST_TEST((read_credentials_json(bad).error == s3_errc::no_credentials), bad);
}
