// SPDX-License-Identifier: Apache-2.0
#include "store.hpp"

#include <algorithm>
#include <charconv>

#include "download.hpp"
#include "errors.hpp"
#include "xml.hpp"

namespace wye::storage::s3 {

namespace {

constexpr unsigned patience_with_many = 4; // some servers remove one after the other
constexpr std::size_t longest_key = 1024, most_a_page = 1000, most_listing = 8 * 1024 * 1024;

/// For as long as a flow runs that nobody awaits.
struct running {
    running(flows& f, stop_signal& s) : of{f}, signal{s} { of.begun(signal); }
    ~running() { of.ended(signal); }
    flows& of;
    stop_signal& signal;
};

/// What a page of a listing holds; keys as they are meant.
error_code read_page(std::string_view text, object_page& page)
{
    object_info one;
    std::vector<object_info> all;
    bool encoded = false, good = true;
    const auto leaf = [&](std::string_view at, std::string value) {
        if (at == "ListBucketResult/IsTruncated") page.more = value == "true";
        else if (at == "ListBucketResult/EncodingType") encoded = value == "url";
        else if (at == "ListBucketResult/Contents/Key") one.key = std::move(value);
        else if (at == "ListBucketResult/Contents/ETag") one.tag = std::move(value);
        else if (at == "ListBucketResult/Contents/LastModified") one.modified = read_iso_date(value).value_or(wall_time{});
        else if (at == "ListBucketResult/Contents/Size")
            good = good && std::from_chars(value.data(), value.data() + value.size(), one.size).ec == std::errc{};
    };
    const auto close = [&](std::string_view at) {
        if (at == "ListBucketResult/Contents") all.push_back(std::exchange(one, {}));
    };
    if (!read_xml(text, leaf, close) || !good) return s3_errc::bad_answer;
    for (object_info& o : all) {
        if (!encoded) continue;
        // As forms write it: a space may be a '+'.
        std::replace(o.key.begin(), o.key.end(), '+', ' ');
        auto plain = unpercent(o.key);
        if (!plain) return s3_errc::bad_answer;
        o.key = std::move(*plain);
    }
    page.objects = std::move(all);
    return {};
}

flow<error_code> list_page(client& by, std::string prefix, std::string after, std::size_t most, stop_signal& stop,
                           object_page& page)
{
    call c;
    c.operation = "GET ?list-type=2";
    c.method = "GET";
    c.query.emplace_back("list-type", "2");
    c.query.emplace_back("encoding-type", "url");
    c.query.emplace_back("max-keys", std::to_string(std::min(most, most_a_page)));
    if (!prefix.empty()) c.query.emplace_back("prefix", prefix);
    if (!after.empty()) c.query.emplace_back("start-after", after);
    c.most_text = most_listing;
    result r = co_await by.ask(c, stop);
    if (r.got.error) co_return r.got.error;
    co_return read_page(r.got.text, page);
}

flow<error_code> remove_one(client& by, std::string key, stop_signal& stop)
{
    call c;
    c.operation = c.method = "DELETE";
    c.key = std::move(key);
    result r = co_await by.ask(c, stop);
    if (r.got.error == errc::not_found) co_return error_code{};
    co_return r.got.error;
}

/// At most 1000 keys in one request.
flow<error_code> remove_some(client& by, std::span<const std::string> keys, stop_signal& stop)
{
    std::string list = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>";
    for (const std::string& k : keys) list += "<Object><Key>" + escaped(k) + "</Key></Object>";
    list += "</Delete>";
    call c;
    c.operation = "POST ?delete";
    c.method = "POST";
    c.query.emplace_back("delete", "");
    c.headers.emplace_back("Content-MD5", md5_base64(list));
    c.body = std::as_bytes(std::span{list.data(), list.size()});
    c.body_hash = hex(sha256(list));
    c.most_text = most_listing;
    c.patience = patience_with_many;
    result r = co_await by.ask(c, stop);
    if (r.got.error) co_return r.got.error;
    // Under 200 it says which could not be removed.
    std::string key, code, message;
    const auto leaf = [&](std::string_view at, std::string text) {
        if (at == "DeleteResult/Error/Key") key = std::move(text);
        else if (at == "DeleteResult/Error/Code") code = std::move(text);
        else if (at == "DeleteResult/Error/Message") message = std::move(text);
    };
    const auto close = [&](std::string_view at) {
        if (at != "DeleteResult/Error" || code == "NoSuchKey" || !r.code.empty()) return;
        r.code = code;
        r.got.reason = message;
        c.key = key;
    };
    if (!read_xml(r.got.text, leaf, close)) co_return s3_errc::bad_answer;
    if (r.code.empty()) co_return error_code{};
    r.got.error = status_error(r.code == "AccessDenied" ? 403 : r.code == "InternalError" ? 500 : 400, r.code);
    by.report(c, r);
    co_return r.got.error;
}

// Callbacks of a driver come from `poll`, so a flow's first part, which runs at once, must not end in one: it waits its turn.

detached run_stat(std::shared_ptr<client> by, flows& all, std::string key, std::function<void(error_code, object_info)> done)
{
    stop_signal stop;
    const running here{all, stop};
    next_turn later{by->loop()};
    co_await later;
    generation g;
    error_code e = errc::bad_name;
    if (valid_key(key)) e = co_await look_at(*by, key, false, stop, g);
    object_info info;
    info.key = std::move(key);
    info.size = g.size;
    info.modified = g.modified;
    info.tag = std::move(g.etag);
    done(e, std::move(info));
}

detached run_list(std::shared_ptr<client> by, flows& all, std::string prefix, std::string after, std::size_t most,
                  std::function<void(error_code, object_page)> done)
{
    stop_signal stop;
    const running here{all, stop};
    next_turn later{by->loop()};
    co_await later;
    object_page page;
    const error_code e = co_await list_page(*by, std::move(prefix), std::move(after), most, stop, page);
    done(e, std::move(page));
}

detached run_remove(std::shared_ptr<client> by, flows& all, std::vector<std::string> keys, bool may,
                    std::function<void(error_code)> done)
{
    stop_signal stop;
    const running here{all, stop};
    next_turn later{by->loop()};
    co_await later;
    error_code e;
    if (!may) e = errc::read_only;
    else if (!std::all_of(keys.begin(), keys.end(), [](const auto& k) { return valid_key(k); })) e = errc::bad_name;
    else if (keys.size() == 1) e = co_await remove_one(*by, keys.front(), stop);
    else
        for (std::size_t at = 0; at < keys.size() && !e; at += most_a_page) {
            const std::span<const std::string> some{keys.data() + at, std::min(most_a_page, keys.size() - at)};
            e = co_await remove_some(*by, some, stop);
        }
    done(e);
}

class store final : public object_store {
public:
    store(std::shared_ptr<client> c, flows& f, driver& home, wye::access a)
        : by_{std::move(c)}, flows_{f}, home_{home}, access_{a}
    {
    }
    wye::access access() const noexcept override { return access_; }
    std::unique_ptr<segment> locate(std::string key) override { return locate_if(std::move(key), {}); }
    std::unique_ptr<segment> locate_if(std::string key, object_condition when) override
    {
        if (!valid_key(key)) return nullptr;
        auto s = std::make_unique<s3_object>(by_, std::move(key), std::move(when), access_);
        s->home = &home_;
        return s;
    }
    void stat(std::string key, std::function<void(error_code, object_info)> done) override
    {
        run_stat(by_, flows_, std::move(key), std::move(done));
    }
    void list(std::string prefix, std::string after, std::size_t most,
              std::function<void(error_code, object_page)> done) override
    {
        run_list(by_, flows_, std::move(prefix), std::move(after), most, std::move(done));
    }
    void remove(std::string key, std::function<void(error_code)> done) override
    {
        run_remove(by_, flows_, {std::move(key)}, access_ == access::read_write, std::move(done));
    }
    void remove_all(std::vector<std::string> keys, std::function<void(error_code)> done) override
    {
        run_remove(by_, flows_, std::move(keys), access_ == access::read_write, std::move(done));
    }
    std::string why(std::string_view key) const override { return by_->why(key); }

private:
    const std::shared_ptr<client> by_;
    flows& flows_;
    driver& home_;
    const wye::access access_;
};

} // namespace

bool valid_key(std::string_view key) noexcept
{
    // "." and ".." as a whole component are left to the servers, some of which take them for what they are in a path.
    return !key.empty() && key.size() <= longest_key && key.find('\0') == key.npos;
}

std::unique_ptr<object_store> make_store(std::shared_ptr<client> c, flows& f, driver& home, wye::access a)
{
    return std::make_unique<store>(std::move(c), f, home, a);
}

} // namespace wye::storage::s3
