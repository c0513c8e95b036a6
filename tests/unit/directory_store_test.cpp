// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE directory_store
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <set>
#include <string>

#include <sys/stat.h>
#include <sys/wait.h>

#include "support/directory_world.hpp"

using namespace wye;
using namespace wye::seam;
namespace sys = boost::system;
using boost::test_tools::per_element;

namespace {

void drive_to_end(driver& d, const std::vector<seam::chunk>& chunks)
{
    const auto ended = [](const seam::chunk& c) { return c.ends == 1; };
    seam::drive(d, [&] { return std::all_of(chunks.begin(), chunks.end(), ended); });
}

const std::vector<std::string> odd_keys{
    "plain", "a", "a/b", "a/b/c", "a//b", "a/", "a//", "/lead", "/", "//", ".", "..", "../x", "a/../b",
    "a/./b", ".wye", ".wye/x", ".hidden", "x.y", "+", "=", "&", "@", ":", ";", "%", "~", "a%2Fb", "a%",
    "a%/b", "%~", "%_", "%c", "a%c", "a b", " ", "\xc3\xbc/\xe6\x97\xa5", "tab\there", "new\nline", "del\x7f",
    "\xff\xfe", "\\back", "*?[]\"'$`", std::string(240, 'x'), std::string(241, 'x'), std::string(255, 'x'),
    std::string(1024, 'x'), std::string(1024, '/'), std::string(1024, '%'), std::string(1024, '.'),
    std::string(240, 'x') + "%\xff", std::string(300, 'y') + "/" + std::string(300, 'z'),
    std::string(300, 'y') + "/",
};

} // namespace

// Any key holds its own bytes, and all of them at once.
BOOST_AUTO_TEST_CASE(every_key_is_an_object)
{
    const temporary_directory at;
    world w{at.url()};
    for (std::size_t i = 0; i < odd_keys.size(); ++i)
        BOOST_TEST(!w.put(odd_keys[i], pattern(100 + i, static_cast<unsigned>(i))), "key " << odd_keys[i]);
    for (std::size_t i = 0; i < odd_keys.size(); ++i) {
        const auto r = w.get(odd_keys[i], 100 + i);
        BOOST_TEST((!r.error && r.data == pattern(100 + i, static_cast<unsigned>(i))), "key " << odd_keys[i]);
        BOOST_TEST(w.stat(odd_keys[i]).second.size == 100 + i);
    }
    const std::set<std::string> expected{odd_keys.begin(), odd_keys.end()};
    BOOST_TEST(w.list() == std::vector<std::string>(expected.begin(), expected.end()), per_element());
    for (const std::string& key : odd_keys) BOOST_TEST(!w.remove(key));
    BOOST_TEST(w.list().empty());
    w.store.reset();
    BOOST_TEST(fs::is_empty(at.path)); // no directories, no temporaries
}

// Nothing lands outside of the root.
BOOST_AUTO_TEST_CASE(keys_do_not_escape)
{
    const temporary_directory at;
    {
        world w{at.url() + "/inner/root"};
        for (const std::string& key : odd_keys) w.put(key, pattern(1));
    }
    for (const auto& e : fs::directory_iterator{at.path}) BOOST_TEST(e.path().filename() == "inner");
    for (const auto& e : fs::directory_iterator{at.path / "inner"}) BOOST_TEST(e.path().filename() == "root");
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_key)
{
    const temporary_directory at;
    world w{at.url()};
    for (const std::string& key : {std::string{}, std::string(1025, 'x'), std::string("a\0b", 3)}) {
        BOOST_TEST(!w.store->locate(key));
        BOOST_TEST((w.stat(key).first == errc::bad_name));
        BOOST_TEST((w.remove(key) == errc::bad_name));
    }
}

// Listings agree with a model, for any keys, prefixes and page sizes.
BOOST_AUTO_TEST_CASE(lists_in_order_by_prefix_and_page)
{
    const temporary_directory at;
    world w{at.url()};
    std::mt19937 random{11};
    const std::string long_part(130, 'q');
    const std::array<std::string, 10> parts{"a", "b", "/", "/", "%", ".", "-", "~", "\xc3\xbc", long_part};
    const auto any = [&] {
        std::string key;
        for (auto n = 1 + random() % 7; n > 0; --n) key += parts[random() % parts.size()];
        return key.substr(0, 1024);
    };
    std::set<std::string> model;
    for (int i = 0; i < 300; ++i) {
        const std::string key = any();
        model.insert(key);
        BOOST_TEST_REQUIRE(!w.put(key, pattern(1)));
    }
    for (int i = 0; i < 100; ++i) {
        const std::string prefix = i == 0 ? "" : any().substr(0, 1 + random() % 4);
        std::vector<std::string> expected;
        for (const auto& key : model)
            if (key.starts_with(prefix)) expected.push_back(key);
        BOOST_TEST(w.list(prefix, 1 + random() % 20) == expected, per_element());

        const std::string after = any();
        std::erase_if(expected, [&](const auto& key) { return key <= after; });
        expected.resize(std::min<std::size_t>(expected.size(), 5));
        std::vector<std::string> given;
        for (const auto& o : w.page(prefix, after, 5).objects) given.push_back(o.key);
        BOOST_TEST(given == expected, per_element());
    }
    BOOST_TEST(w.list(std::string("a\0b", 3)).empty());
    BOOST_TEST(w.list(std::string(2000, 'a')).empty());
}

// What others put into the directory is neither listed nor in the way.
BOOST_AUTO_TEST_CASE(ignores_foreign_files)
{
    const temporary_directory at;
    world w{at.url()};
    BOOST_TEST(!w.put("mine", pattern(10)));
    fs::create_directories(at.path / "lost+found" / "x");
    fs::create_directories(at.path / "dir");
    std::ofstream{at.path / "bad%escape"} << "x";
    std::ofstream{at.path / "low%2fcase"} << "x";
    std::ofstream{at.path / "needless%41"} << "x";
    std::ofstream{at.path / ".dotfile"} << "x";
    fs::create_symlink(at.path / "mine", at.path / "link");
    BOOST_TEST_REQUIRE(::mkfifo((at.path / "fifo").c_str(), 0600) == 0);
    BOOST_TEST(w.list() == std::vector<std::string>{"mine"}, per_element());
    BOOST_TEST((w.get("fifo", 10).error == errc::not_found));
    BOOST_TEST((w.get("dir", 10).error == errc::not_found));
    BOOST_TEST((w.stat("dir").first == errc::not_found));
    BOOST_TEST(bool(w.get("link", 10).error));
}

BOOST_AUTO_TEST_CASE(missing_objects_are_said)
{
    const temporary_directory at;
    world w{at.url()};
    bytes memory(10);
    for (const char* key : {"none", "none/of/these"}) {
        BOOST_TEST((w.get(key, 10).error == errc::not_found));
        BOOST_TEST((w.stat(key).first == errc::not_found));
        BOOST_TEST(!w.remove(key));
        session s{w, key, memory};
        BOOST_TEST((s.open_get() == errc::not_found));
    }
}

// A whole object has one right length; a part ends where the object does.
BOOST_AUTO_TEST_CASE(lengths)
{
    const temporary_directory at;
    world w{at.url()};
    const bytes data = pattern(10'000);
    BOOST_TEST(!w.put("o", data));
    BOOST_TEST((w.get("o", 10'000, 0, true).data == data));
    BOOST_TEST((w.get("o", 9'999, 0, true).error == errc::length_mismatch));
    BOOST_TEST(w.get("o", 10'001, 0, true).data.size() == 10'000u);
    BOOST_TEST((w.get("o", 1, 10'000, true).data.empty()));
    BOOST_TEST((w.get("o", 1'000, 500).data == bytes(data.begin() + 500, data.begin() + 1'500)));
    BOOST_TEST(w.get("o", 1'000, 9'500).data.size() == 500u);
    BOOST_TEST(!w.put("empty", {}));
    BOOST_TEST((!w.stat("empty").first && w.stat("empty").second.size == 0));

    const auto age = std::chrono::system_clock::now() - w.stat("o").second.modified;
    BOOST_TEST((age > -std::chrono::minutes{1} && age < std::chrono::minutes{10}));
    BOOST_TEST(w.stat("o").second.key == "o");
}

// An object in pieces appears at the commit, whatever their order; a reader in pieces keeps one generation.
BOOST_AUTO_TEST_CASE(puts_and_gets_in_pieces)
{
    const temporary_directory at;
    world w{at.url()};
    BOOST_TEST(!w.put("big", pattern(5, 9)));
    bytes data = pattern(5'000'000), back(5'000'000);
    session in{w, "big", data};
    BOOST_TEST_REQUIRE(!in.open_put(data.size()));

    std::vector<seam::chunk> pieces;
    for (std::size_t at_byte = 0; at_byte < data.size(); at_byte += 300'000)
        pieces.push_back(in.put_piece(at_byte, std::min<std::size_t>(300'000, data.size() - at_byte)));
    std::shuffle(pieces.begin(), pieces.end(), std::mt19937{5});
    for (auto& p : pieces) w.d->submit(p);
    drive_to_end(*w.d, pieces);
    for (auto& p : pieces) BOOST_TEST((!p.error && p.bytes == p.from.length));
    BOOST_TEST((w.get("big", 5).data == pattern(5, 9)));
    BOOST_TEST(w.list() == std::vector<std::string>{"big"}, per_element());
    BOOST_TEST(!in.commit(77));

    session out{w, "big", back};
    BOOST_TEST_REQUIRE(!out.open_get());
    BOOST_TEST(out.total == data.size());
    BOOST_TEST((out.sum == 77u));
    // A new generation in mid-read does not mix with the old one.
    auto first = out.get_piece(0, 2'500'000), second = out.get_piece(2'500'000, 2'500'000);
    seam::move(*w.d, first);
    BOOST_TEST(!w.put("big", pattern(5'000'000, 3)));
    seam::move(*w.d, second);
    BOOST_TEST((back == data));
    BOOST_TEST(!out.abandon());
    BOOST_TEST((w.get("big", 5'000'000).data == pattern(5'000'000, 3)));
}

// Abandoned or incomplete, it was never there.
BOOST_AUTO_TEST_CASE(what_is_not_committed_leaves_nothing)
{
    const temporary_directory at;
    world w{at.url()};
    BOOST_TEST(!w.put("o", pattern(10)));
    bytes data = pattern(1'000'000, 2);
    for (const bool abandon : {true, false}) {
        session s{w, "o", data};
        BOOST_TEST_REQUIRE(!s.open_put(data.size()));
        auto half = s.put_piece(0, data.size() / 2);
        seam::move(*w.d, half);
        BOOST_TEST(!half.error);
        if (abandon) BOOST_TEST(!s.abandon());
        else BOOST_TEST((s.commit() == errc::short_transfer));
        BOOST_TEST(at.files() == 1u);
        BOOST_TEST((w.get("o", 10, 0, true).data == pattern(10)));
    }
}

// Of many writers of one key one wins, whole; readers meanwhile see one of them, whole.
BOOST_AUTO_TEST_CASE(writers_of_one_key)
{
    const temporary_directory at;
    world w{at.url(), access::read_write, {.threads = 4}};
    const std::size_t n = 200'000;
    const auto object = w.store->locate("dir/contended");
    std::vector<bytes> from, to;
    for (int i = 0; i < 16; ++i) {
        from.emplace_back(n, static_cast<std::byte>(i));
        to.emplace_back(n, std::byte{0xff});
    }
    BOOST_TEST(!w.put("dir/contended", from[0]));

    std::vector<std::unique_ptr<memory_segment>> memory;
    std::vector<seam::chunk> chunks;
    for (std::size_t i = 0; i < 16; ++i) {
        memory.push_back(std::make_unique<memory_segment>(from[i]));
        chunks.push_back(world::chunk_of({memory.back().get(), 0, n}, {object.get(), 0, n}));
        memory.push_back(std::make_unique<memory_segment>(to[i]));
        chunks.push_back(world::chunk_of({object.get(), 0, n}, {memory.back().get(), 0, n}));
    }
    for (int round = 0; round < 20; ++round) {
        for (auto& c : chunks) {
            c.ends = 0;
            c.sole = true;
            w.d->submit(c);
        }
        drive_to_end(*w.d, chunks);
        for (auto& c : chunks) BOOST_TEST_REQUIRE((!c.error && c.bytes == n));
        for (const bytes& read : to)
            BOOST_TEST_REQUIRE((read[0] < std::byte{16} && read == bytes(n, read[0])));
    }
    BOOST_TEST(at.files() == 1u);
}

// Removing the last object of a directory and putting another into it at once both succeed.
BOOST_AUTO_TEST_CASE(removal_and_puts_share_directories)
{
    const temporary_directory at;
    world w{at.url(), access::read_write, {.threads = 4}};
    bytes data = pattern(10);
    memory_segment memory{data};
    for (int round = 0; round < 500; ++round) {
        const auto object = w.store->locate("a/b/new");
        auto c = world::chunk_of({&memory, 0, 10}, {object.get(), 0, 10});
        c.sole = true;
        error_code removed;
        bool over = false;
        BOOST_TEST_REQUIRE(!w.put("a/b/old", data));
        w.store->remove("a/b/old", [&](error_code e) {
            removed = e;
            over = true;
        });
        w.d->submit(c);
        seam::drive(*w.d, [&] { return over && c.ends == 1; });
        BOOST_TEST_REQUIRE((!removed && !c.error));
        BOOST_TEST_REQUIRE(w.list() == std::vector<std::string>{"a/b/new"}, per_element());
        BOOST_TEST_REQUIRE(!w.remove("a/b/new"));
    }
}

namespace {

void check_sums(const temporary_directory& at)
{
    world w{at.url()};
    const bytes data = pattern(1'000);
    BOOST_TEST(!w.put("d/o", data, 0xdeadbeef));
    BOOST_TEST((w.get("d/o", 1'000).sum == 0xdeadbeefu));
    BOOST_TEST((w.get("d/o", 2'000).sum == 0xdeadbeefu));
    BOOST_TEST(!w.get("d/o", 999).sum);    // not of these bytes
    BOOST_TEST(!w.get("d/o", 999, 1).sum);
    BOOST_TEST(w.list() == std::vector<std::string>{"d/o"}, per_element());

    BOOST_TEST(!w.put("d/o", pattern(1'000, 2), 1));
    BOOST_TEST((w.get("d/o", 1'000).sum == 1u));
    BOOST_TEST(!w.put("d/o", pattern(1'000, 3))); // without: the old one must not speak for it
    BOOST_TEST(!w.get("d/o", 1'000).sum);
    BOOST_TEST((w.get("d/o", 1'000).data == pattern(1'000, 3)));

    bytes big = pattern(3'000'000);
    {
        session s{w, "d/o", big};
        BOOST_TEST(!s.open_put(big.size()));
        auto c = s.put_piece(0, big.size());
        seam::move(*w.d, c);
        BOOST_TEST(!s.commit(0));
    }
    BOOST_TEST((w.get("d/o", big.size()).sum == 0u));
    BOOST_TEST(!w.remove("d/o"));
    w.store.reset();
    BOOST_TEST(fs::is_empty(at.path));
}

} // namespace

// The checksum lives and dies with the bytes that it speaks for.
BOOST_AUTO_TEST_CASE(keeps_checksums)
{
    check_sums(temporary_directory{});
}

BOOST_AUTO_TEST_CASE(keeps_checksums_without_attributes, *boost::unit_test::precondition(may_mount))
{
    const mounted_directory at{"ramfs", nullptr};
    BOOST_TEST_REQUIRE(at.mounted);
    check_sums(at);
    {
        world w{at.url()};
        BOOST_TEST(!w.put("o", pattern(10), 5));
        BOOST_TEST(at.files() == 2u); // it does take the way without attributes
    }
    // A sum that speaks for another file, as a crash between the two renames leaves it, is not believed.
    fs::copy_file(at.path / "o", at.path / "copy");
    fs::rename(at.path / "copy", at.path / "o");
    BOOST_TEST(!world{at.url()}.get("o", 10).sum);
}

// A full disk is an error, the old object stays as it was, and nothing is left of the new one.
BOOST_AUTO_TEST_CASE(no_space, *boost::unit_test::precondition(may_mount))
{
    const mounted_directory at{"tmpfs", "size=1m"};
    BOOST_TEST_REQUIRE(at.mounted);
    world w{at.url()};
    const bytes old = pattern(400'000);
    bytes big = pattern(4'000'000);
    BOOST_TEST(!w.put("o", old));
    const error_code e = w.put("o", bytes(big.begin(), big.begin() + 1'000'000));
    BOOST_TEST((e == sys::errc::no_space_on_device));
    BOOST_TEST((e.category() == object_category()));
    session s{w, "o", big};
    BOOST_TEST((s.open_put(big.size()) == sys::errc::no_space_on_device)); // before the first byte
    BOOST_TEST(at.files() == 1u);
    BOOST_TEST((w.get("o", old.size(), 0, true).data == old));
    BOOST_TEST(!w.put("o", pattern(500'000)));
}

// A write that fails for want of a directory leaves no temporary.
BOOST_AUTO_TEST_CASE(failed_put_leaves_nothing)
{
    const temporary_directory at;
    world w{at.url()};
    BOOST_TEST(!w.put("o", pattern(10)));
    std::ofstream{at.path / "blocked%"} << "a file where a directory must be";
    BOOST_TEST((w.put("blocked/o", pattern(10)) == sys::errc::not_a_directory));
    BOOST_TEST(at.files() == 2u);
}

BOOST_AUTO_TEST_CASE(read_only_stores_are_not_written)
{
    const temporary_directory at;
    BOOST_TEST(!world{at.url()}.put("o", pattern(10)));
    world w{at.url(), access::read_only};
    BOOST_TEST_REQUIRE(bool(w.store));
    BOOST_TEST((w.store->access() == access::read_only));
    BOOST_TEST((w.store->locate("o")->access == access::read_only));
    BOOST_TEST((w.put("o", pattern(20)) == errc::read_only));
    BOOST_TEST((w.remove("o") == errc::read_only));
    bytes data(100);
    session s{w, "o", data};
    BOOST_TEST((s.open_put(100) == errc::read_only));
    BOOST_TEST((w.get("o", 10, 0, true).data == pattern(10)));
    BOOST_TEST(!fs::exists(at.path / ".wye"));
}

BOOST_AUTO_TEST_CASE(opens_by_url)
{
    const temporary_directory at;
    world w{at.url() + "/made/on/the/way/"};
    BOOST_TEST((!w.failed && w.store));
    error_code e;
    BOOST_TEST((w.d->serves("dir:x") && !w.d->serves("s3://b") && !w.d->serves("directory")));
    BOOST_TEST((!w.open("dir:", access::read_write, e) && e == errc::bad_name));
    BOOST_TEST((!w.open(at.url() + "/missing", access::read_only, e) && e == errc::not_found));
    BOOST_TEST(!fs::exists(at.path / "missing"));
    std::ofstream{at.path / "file"} << "x";
    BOOST_TEST((!w.open(at.url() + "/file", access::read_write, e) && e == sys::errc::not_a_directory));
    BOOST_TEST((!w.open(at.url() + "/file/below", access::read_write, e) && e == sys::errc::not_a_directory));

    const fs::path before = fs::current_path();
    fs::current_path(at.path);
    const auto relative = w.open("dir:here", access::read_write, e);
    fs::current_path(before);
    BOOST_TEST((relative && fs::exists(at.path / "here")));
}

// An object that is named outlives its store, and the listing that is under way outlives it too.
BOOST_AUTO_TEST_CASE(the_store_may_go_first)
{
    const temporary_directory at;
    world w{at.url()};
    bytes data = pattern(100);
    for (const char* key : {"a", "b", "c"}) BOOST_TEST(!w.put(key, data));
    const auto object = w.store->locate("a");
    std::size_t listed = 0;
    w.store->list({}, {}, 2, [&](error_code e, object_page p) { listed = e ? 0 : p.objects.size(); });
    w.store.reset();
    seam::drive(*w.d, [&] { return listed != 0; });
    BOOST_TEST(listed == 2u);
    bytes back(100);
    memory_segment memory{back};
    auto c = world::chunk_of({object.get(), 0, 100}, {&memory, 0, 100});
    seam::move(*w.d, c);
    BOOST_TEST((back == data));
}

// Stores in one directory do not take each other's temporaries for leftovers.
BOOST_AUTO_TEST_CASE(stores_share_a_directory)
{
    const temporary_directory at;
    world w{at.url()};
    bytes data = pattern(2'000'000);
    session s{w, "o", data};
    BOOST_TEST(!s.open_put(data.size()));
    auto all = s.put_piece(0, data.size());
    seam::move(*w.d, all);
    {
        world other{at.url()};
        BOOST_TEST(!other.put("p", pattern(10)));
    }
    BOOST_TEST(!s.commit());
    BOOST_TEST((w.get("o", data.size()).data == data));
}

BOOST_AUTO_TEST_CASE(durable_stores_keep_the_same_promises)
{
    const temporary_directory at;
    world w{at.url(), access::read_write, {.durable = true}};
    BOOST_TEST(!w.put("new/directories/o", pattern(1'000), 3));
    BOOST_TEST(!w.put("new/directories/o", pattern(2'000), 4));
    BOOST_TEST((w.get("new/directories/o", 2'000, 0, true).data == pattern(2'000)));
    BOOST_TEST(at.files() == 1u);
}

namespace {

/// Runs `body(pipe)` in a child until `told` bytes came through the pipe, then kills it with SIGKILL.
template <class Body>
void kill_in(Body body, int told)
{
    int ends[2];
    BOOST_TEST_REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    BOOST_TEST_REQUIRE(child >= 0);
    if (child == 0) {
        body(ends[1]);
        ::_exit(0);
    }
    ::close(ends[1]);
    char byte;
    for (int i = 0; i < told; ++i) BOOST_TEST_REQUIRE(::read(ends[0], &byte, 1) == 1);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
}

void tell(int pipe)
{
    if (::write(pipe, "x", 1) != 1) ::_exit(1);
}

} // namespace

// A writer killed at any moment leaves the object whole, old or new, and the next to open clears up after it.
BOOST_AUTO_TEST_CASE(killed_writers_leave_whole_objects)
{
    const std::size_t n = 1'000'000;
    for (int round = 0; round < 15; ++round) {
        const temporary_directory at;
        const auto put_for_ever = [&](int pipe) {
            world w{at.url()};
            for (int i = 0;; ++i) {
                w.put("victim", bytes(n, static_cast<std::byte>(i)));
                tell(pipe);
            }
        };
        kill_in(put_for_ever, 1 + round);
        world w{at.url()};
        const auto r = w.get("victim", n, 0, true);
        BOOST_TEST_REQUIRE((!r.error && r.data.size() == n));
        BOOST_TEST_REQUIRE((r.data == bytes(n, r.data[0])));
        BOOST_TEST(at.files() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(killed_in_mid_upload_leaves_nothing)
{
    const temporary_directory at;
    const auto upload_half = [&](int pipe) {
        world w{at.url()};
        bytes data(2'000'000);
        session s{w, "half", data};
        s.open_put(data.size());
        auto half = s.put_piece(0, data.size() / 2);
        seam::move(*w.d, half);
        tell(pipe);
        while (true) ::pause();
    };
    kill_in(upload_half, 1);
    BOOST_TEST(at.files() == 1u); // there was something to leave
    world w{at.url()};
    BOOST_TEST(w.list().empty());
    BOOST_TEST(at.files() == 0u);
}
