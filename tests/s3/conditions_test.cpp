// SPDX-License-Identifier: Apache-2.0
// What is done only under a condition, at the S3 driver's seam.
#define BOOST_TEST_MODULE s3_conditions
#include <boost/test/unit_test.hpp>

#include "s3/world.hpp"

using namespace wye;
using namespace wye::seam;
namespace sys = boost::system;
using trouble = testing::fake_s3::trouble;

namespace {

/// Done, and not a word of it comes back.
trouble unheard(const std::string& request)
{
    trouble t{request};
    t.cut = 0;
    return t;
}

} // namespace

// Of several who make an object one does, and whoever replaces a generation knows it.
BOOST_AUTO_TEST_CASE(conditions)
{
    fake_world f;
    const auto named = [&](const char* key, const object_condition& when) { return f.w.store->locate_if(key, when); };
    object_condition absent, tagged;
    absent.absent = true;
    BOOST_TEST(!f.w.put(*named("o", absent), pattern(100)));
    BOOST_TEST((f.w.put(*named("o", absent), pattern(200)) == sys::errc::file_exists));
    tagged.tag = f.w.stat("o").second.tag;
    BOOST_TEST(!tagged.tag.empty());
    BOOST_TEST((f.w.get(*named("o", tagged), 100, 0, true).data == pattern(100)));
    BOOST_TEST(!f.w.put(*named("o", tagged), pattern(300)));
    BOOST_TEST((f.w.put(*named("o", tagged), pattern(400)) == s3_errc::changed));
    BOOST_TEST((f.w.get(*named("o", tagged), 300, 0, true).error == s3_errc::changed));
    BOOST_TEST((f.w.put(*named("none", tagged), pattern(1)) == errc::not_found));
    BOOST_TEST((f.w.get("o", 300, 0, true).data == pattern(300)));
    bytes memory(6 << 20);
    session out{f.w, named("o", tagged), memory};
    BOOST_TEST((out.open_get() == s3_errc::changed));

    // A server that knows generations only without quotes, as Ceph 16 does.
    tagged.tag = f.w.stat("o").second.tag;
    trouble quotes{"PUT /bucket/o"};
    quotes.answer = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
    f.server.plan(quotes);
    f.server.forget_requests();
    f.w.put(*named("o", tagged), pattern(300));
    const auto asked = f.server.requests(); // the second with HEAD
    BOOST_TEST_REQUIRE(asked.size() > 2u);
    BOOST_TEST('"' + asked[2].headers.at("if-match") + '"' == tagged.tag);

    // It was done, and the answer lost: the object that stands in the way is ours. Or it is another's after all.
    f.server.plan(unheard("PUT /bucket/mine"));
    BOOST_TEST(!f.w.put(*named("mine", absent), pattern(500)));
    BOOST_TEST((f.w.get("mine", 500, 0, true).data == pattern(500)));
    trouble late = unheard("PUT /bucket/theirs");
    late.answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    late.first = [](testing::fake_s3& s) { s.put("theirs", "1"); };
    f.server.plan(late);
    BOOST_TEST((f.w.put(*named("theirs", absent), pattern(500)) == sys::errc::file_exists));

    // In pieces: what is one request in the end is one; in parts no server's word is to be relied on.
    session whole{f.w, named("mine", absent), memory};
    BOOST_TEST_REQUIRE(!whole.open_put(1'000));
    auto piece = whole.put_piece(0, 1'000);
    move(*f.w.d, piece);
    BOOST_TEST((!piece.error && whole.commit() == sys::errc::file_exists));
    bytes large(20 << 20);
    session parts{f.w, named("large", absent), large};
    BOOST_TEST((parts.open_put(large.size()) == errc::not_supported));
    BOOST_TEST(f.server.uploads() == 0u);

    // A server that has no conditions says so.
    trouble unable{"PUT /bucket/o"};
    unable.answer = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n";
    f.server.plan(unable);
    BOOST_TEST((f.w.put(*named("o", absent), pattern(1)) == sys::errc::not_supported));
    BOOST_TEST(!f.w.put("o", pattern(10)));
}
